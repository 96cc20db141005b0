# skipped.sh DIRECTORY - says after a run of ctest which cases were skipped, and why: the cases for
# each reason, from the log in the build directory. ctest runs it itself when it has run the tests,
# and calls the log by another name until then.
log=$1/Testing/Temporary/LastTest.log
if [ -f "$log.tmp" ]; then
    log=$log.tmp
fi
awk '
    /^[0-9]+\/[0-9]+ Test: / { test = $3 }
    /^skipped: / {
        sub(/^skipped: /, "")
        if (!($0 in tests)) {
            reasons[++count] = $0
        }
        tests[$0] = tests[$0] "\n    " test
    }
    END {
        print count ? "\nSkipped, by reason:" : "\nNothing was skipped."
        for (i = 1; i <= count; i++) {
            print "  " reasons[i] tests[reasons[i]]
        }
    }' "$log"
