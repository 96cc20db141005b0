# model.sh - what the tests of models in Promela share. They source it after test.sh.

# search MODEL BROKEN: prints what spin finds in the model with that mistake, and leaves its report in a
# file of this name.
search() {
    spin -DBROKEN="$2" -a "$here/$1.pml" >report || fail "$(cat report)"
    $CC -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c
    ./pan -m1000000 >report
    # A search that was cut short proves nothing.
    grep -q -e 'search depth too small' -e 'out of memory' report && fail "$(cat report)"
    sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' report
}

# no_interleaving_breaks MODEL
no_interleaving_breaks() {
    need spin --with-tools
    found=$(search "$1" 0)
    same "found" "$found" ""
    grep -q 'errors: 0$' report || fail "$(cat report)"
    sed -n 's/, stored.*/ tried, no errors/p' report
}

# each_mistake_is_found MODEL
each_mistake_is_found() {
    need spin --with-tools
    mistakes=$(sed -n 's/^#define \([A-Z_]*\) [1-9] .*/\1/p' "$here/$1.pml")
    [ -n "$mistakes" ] || fail "the model has no mistakes"
    for mistake in $mistakes; do
        found=$(search "$1" "$mistake")
        [ -n "$found" ] || fail "$mistake: not found"
        echo "$mistake: $found"
    done
}
