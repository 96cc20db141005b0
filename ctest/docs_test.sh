# docs_test.sh - the documentation that doxygen makes of the headers is whole, and no link is dead,
# neither there nor in the Markdown files.
. "$(dirname "$0")/test.sh"

# Makes man/ and html/ here. A warning of doxygen is an error.
make_docs() {
    need doxygen --with-tools
    sh "$source_dir/cmake/docs/docs.sh" "$source_dir" test
}

# The public names: what is left of the headers' own lines by the preprocessor, which keeps the
# definitions of macros, but for those that only the headers need.
names() {
    echo '#include <pylock.h>' | "$CC" -E -dD -I"$source_dir/include" -x c - | awk '
        /^# [0-9]+ "/ { ours = $3 ~ /\/py(thread|lock)\.h"$/; next }
        !ours || /^#undef/ { next }
        /^#define/ { print $2; next }
        { gsub(/"[^"]*"/, ""); gsub(/[^A-Za-z0-9_]+/, "\n"); print }
        ' | sed 's/(.*//' | grep -E '^(_?PyThread_|Py_|PyLock|PyMutex|PyCritical|PY_|PYTHREAD_|pythread_|(NO)?WAIT_LOCK)' |
        grep -vE '^(PYTHREAD_(API|NORETURN|NODISCARD|DEPRECATED)|Py_(PYTHREAD|LOCK|CRITICAL_SECTION)_H)$' | sort -u >names
    [ "$(wc -l <names)" -gt 60 ] || fail "the header has but these names: $(cat names)"
}

test_each_name_has_a_page() {
    make_docs
    names
    for name in $(cat names); do
        [ -f "man/man3/$name.3" ] || fail "$name has no page"
    done
    ls man/man3 | sed 's/\.3$//' | sort | diff -u names -
}

test_man_warns_about_no_page() {
    make_docs
    need man --with-tools
    # Debian images without documentation have another program with this name.
    man --version >/dev/null 2>&1 || skip "man is not man-db"
    for page in man/man*/*; do
        (cd man && man --warnings -E UTF-8 -l -Tutf8 -P cat "${page#man/}") >text 2>warnings
        [ ! -s warnings ] || fail "$page: $(cat warnings)"
        [ -s text ] || fail "$page is empty"
    done
    same "how many pages" "$(man -M "$PWD/man" -w PyThread_acquire_lock_timed PY_LOCK_INTR pythread |
        wc -l)" 3
    LC_ALL=C.UTF-8 man -M "$PWD/man" -P cat PyThread_handle_t | grep -F 'says %d\n"' ||
        fail "the program in PyThread_handle_t(3) has lost a backslash"
}

test_html_has_the_names_as_anchors() {
    make_docs
    names
    for name in $(cat names); do
        grep -q "id=\"$name\"" html/index.html || fail "there is no anchor $name"
    done
}

test_html_has_no_dead_link() {
    make_docs
    sed 's/<a /\n&/g; s/<img /\n&/g; s/<link /\n&/g' html/index.html |
        sed -nE 's/.* (href|src)="([^"]*)".*/\2/p' | sort -u >links
    grep -q '^index.html#PyThread_join_thread$' links || fail "the links are wrong: $(cat links)"
    while read -r link; do
        file=${link%%#*} anchor=
        [ "$file" = "$link" ] || anchor=${link#*#}
        case $link in http*) continue ;; esac
        [ -f "html/${file:-index.html}" ] || fail "$link: no such file"
        [ -z "$anchor" ] || grep -qE "(id|name)=\"$anchor\"" "html/${file:-index.html}" ||
            fail "$link: no such anchor"
    done <links
}

# What stands between backticks in the column of docs/names.md with that number, one a line; the last
# section is not about the header's names.
column() {
    awk -F '|' -v column="$1" '/^## Between/ { exit } /^\| `/ { print $(column + 1) }' \
        "$source_dir/docs/names.md" | grep -oE '`[^`]+`' | tr -d '`'
}

test_each_name_stands_once_in_names_md() {
    names
    column 1 | sort >found
    diff -u names found
}

test_each_go_name_in_names_md_exists() {
    column 2 >found
    sed -n '/^## Between/,$p' "$source_dir/docs/names.md" | grep -oE '`(\*?pythread|capi)\.[^`]+`' |
        tr -d '`*' >>found
    cd "$source_dir"
    grep -E '^([a-z]+\.)?[A-Z]' "$scratch/found" | sort -u >"$scratch/names"
    [ "$(wc -l <"$scratch/names")" -gt 30 ] || fail "found but: $(cat "$scratch/names")"
    while read -r name; do
        case $name in
        runtime.* | time.*) "$go" doc "$name" >/dev/null ;;
        capi.* | pythread.*) "$go" doc "./${name%%.*}" "${name#*.}" >/dev/null ;;
        *) "$go" doc ./pythread "$name" >/dev/null ;;
        esac || fail "Go has no $name"
    done <"$scratch/names"
}

# Prints the cases of all tests, as ctest names them.
cases() {
    for file in "$here"/*_test.c; do
        concept=$(basename "$file" _test.c)
        sed -n "s/^TEST(\([A-Za-z0-9_]*\)).*/$concept.\1/p" "$file"
    done
    for file in "$here"/*_test.sh; do
        sh "$file" --list | sed "s/^/$(basename "$file" _test.sh)./"
    done
}

test_each_promise_has_its_cases() {
    cases >cases
    awk -F '|' '/^\|/ { print $(NF - 1) }' "$source_dir/docs/contexts.md" | grep -oE '`[a-z_]+\\?\.[^`]*`' |
        tr -d '`' >patterns
    [ "$(wc -l <patterns)" -gt 10 ] || fail "found but: $(cat patterns)"
    while read -r pattern; do
        grep -qE "$pattern" cases || fail "no case is named $pattern"
    done <patterns
}

# anchors FILE: prints the anchors of its headings.
anchors() {
    awk '/^```/ { code = !code } !code && /^#+ /' "$1" | sed -E 's/^#+ //' |
        tr '[:upper:] ' '[:lower:]-' | sed 's/[^a-z0-9_-]//g'
}

test_markdown_has_no_dead_link() {
    cd "$source_dir"
    for file in *.md docs/*.md examples/*/*.md; do
        awk '/^```/ { code = !code } !code' "$file" | grep -oE '\]\([^)]+\)' |
            sed 's/^](//; s/)$//' >"$scratch/links" || continue
        while read -r link; do
            case $link in http*) continue ;; esac
            target=$(dirname "$file")/${link%%#*}
            [ "${link%%#*}" ] || target=$file
            [ -e "$target" ] || fail "$file: $link: no such file"
            case $link in
            *'#'*) anchors "$target" | grep -qx "${link#*#}" || fail "$file: $link: no such heading" ;;
            esac
        done <"$scratch/links"
        cat "$scratch/links" >>"$scratch/all"
    done
    [ "$(wc -l <"$scratch/all")" -ge 5 ] || fail "found but $(wc -l <"$scratch/all") links"
}

test_installs_with_the_library() {
    need doxygen --with-tools
    "$CMAKE" -S "$source_dir" -B build -DPYTHREAD_DOCS=ON -DBUILD_TESTING=OFF >/dev/null
    "$CMAKE" --build build --target docs
    "$CMAKE" --install build --prefix "$scratch/installed" --component docs >/dev/null
    [ -f installed/share/man/man3/PyThread_join_thread.3 ] || fail "no PyThread_join_thread(3)"
    [ -f installed/share/man/man7/pythread.7 ] || fail "no pythread(7)"
    [ -f installed/share/doc/pythread/html/index.html ] || fail "no html/index.html"
}

main "$@"
