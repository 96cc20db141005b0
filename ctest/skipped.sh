# skipped.sh DIRECTORY - prints the cases that a run of ctest has skipped, for each reason. At the end it
# prints what to install to skip fewer. It reads the log in the build directory. ctest runs this script after
# the tests, when the log still has another name. After a list of the tests (ctest -N) it prints nothing.
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
        if (match($0, /\.\/setup\.sh( --with-[a-z]+)?/)) {
            installable++
            option = substr($0, RSTART + 10, RLENGTH - 10)
            if (!index(options " ", option " ")) {
                options = options option
            }
        }
    }
    END {
        if (test == "") {
            exit
        }
        print count ? "\nSkipped, by reason:" : "\nNothing was skipped."
        for (i = 1; i <= count; i++) {
            print "  " reasons[i] tests[reasons[i]]
        }
        if (installable) {
            print "\n" installable " of them need packages, which this installs: ./setup.sh" options
        } else if (count) {
            print "\nNone of them needs a package."
        }
    }' "$log"
