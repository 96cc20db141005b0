# lock_model_test.sh - spin tries every interleaving of lock_model.pml.
. "$(dirname "$0")/test.sh"
. "$here/model.sh"

test_no_interleaving_breaks_a_lock() {
    no_interleaving_breaks lock_model
}

test_each_mistake_is_found() {
    each_mistake_is_found lock_model
}

main "$@"
