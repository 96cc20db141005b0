# pylock_model_test.sh - spin tries every interleaving of pylock_model.pml.
. "$(dirname "$0")/test.sh"
. "$here/model.sh"

test_no_interleaving_breaks_a_mutex() {
    no_interleaving_breaks pylock_model
}

test_each_mistake_is_found() {
    each_mistake_is_found pylock_model
}

main "$@"
