# skipped.sh DIRECTORY - says after a run of ctest which cases were skipped, and why: the cases for
# each reason, from the log in the build directory, and at the end what to install for more of them.
# ctest runs it itself when it has run the tests, and calls the log by another name until then. After a
# mere list of the tests, which a program may read, it says nothing.
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
