#!/bin/sh
# docs.sh SOURCE VERSION - makes the documentation in the current directory, from the comments in
# the headers and a section of docs/limits.md: man/ has a page for each name and pythread(7), and
# html/index.html has the names as anchors.
set -eu
source=$1
export PYTHREAD_VERSION="$2"
export PYTHREAD_DOCS="$source/cmake/docs"

rm -rf man html doxygen_man doxygen_html
mkdir -p man/man3 man/man7 html
awk -v document="$source/docs/limits.md" -v section="What Go asks of a C program" \
    -f "$PYTHREAD_DOCS/header.awk" "$source/include/pythread.h" "$source/include/pylock.h" >pythread.h
doxygen "$PYTHREAD_DOCS/Doxyfile"

(cd man && awk -v version="$PYTHREAD_VERSION" -f "$PYTHREAD_DOCS/man.awk" \
    ../doxygen_man/man3/pythread.h.3)

# The anchors of doxygen are hashes of declarations, and its tag file has the name of each. The hash
# of a constant begins with the hash of its enum, so the longest hashes go first.
awk '
    /<compound kind="/ { scope = ""; struct = /"struct"/ }
    /<name>/ { gsub(/.*<name>|<\/name>.*/, ""); name = scope $0; if (struct && scope == "") scope = $0 "." }
    /<anchor>/ { gsub(/.*<anchor>|<\/anchor>.*/, ""); print length($0), "s/" $0 "/" name "/g" }
    ' names.xml | sort -rn | sed 's/^[0-9]* //' >anchors.sed
sed -f anchors.sed -e 's/pythread_8h\.html/index.html/g' -e '/<script /d' \
    -e 's/pythread\.h File Reference/pythread.h/' doxygen_html/pythread_8h.html >html/index.html
cp doxygen_html/*.css doxygen_html/*.png doxygen_html/*.svg html
