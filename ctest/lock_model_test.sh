# lock_model_test.sh - spin tries every interleaving of lock_model.pml.
. "$(dirname "$0")/test.sh"

# search BROKEN: says what spin found in the model with that mistake, and leaves its report here.
search() {
    spin -DBROKEN="$1" -a "$here/lock_model.pml" >report || fail "$(cat report)"
    $CC -w -DSAFETY -o pan pan.c
    ./pan -m1000000 >report
    # A search that was cut short has found nothing out.
    grep -q -e 'search depth too small' -e 'out of memory' report && fail "$(cat report)"
    sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' report
}

test_no_interleaving_breaks_a_lock() {
    need spin --with-tools
    found=$(search 0)
    same "found" "$found" ""
    grep -q 'errors: 0$' report || fail "$(cat report)"
    sed -n 's/, stored.*/ tried, no errors/p' report
}

test_each_mistake_is_found() {
    need spin --with-tools
    mistakes=$(sed -n 's/^#define \([A-Z_]*\) [1-9] .*/\1/p' "$here/lock_model.pml")
    [ -n "$mistakes" ] || fail "the model knows no mistakes"
    for mistake in $mistakes; do
        found=$(search "$mistake")
        [ -n "$found" ] || fail "$mistake: not found"
        echo "$mistake: $found"
    done
}

main "$@"
