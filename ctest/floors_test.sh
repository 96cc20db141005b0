# floors_test.sh - the files of capi call only files of the floors below their own, and no circle of them
# call each other. CONTRIBUTING.md has the floors, highest first: the table that begins "| floor |".
. "$(dirname "$0")/test.sh"

# files: the sources of the library, by their paths in capi.
files() {
    (cd "$source_dir/capi" && find . -name '*.[ch]' -o -name '*.go' ! -name '*_test.go') |
        sed 's|^\./||; /\/capitest\//d' | sort
}

# floors: FILE NUMBER for each source, 1 is the highest. A name of the table is that of a file or, with
# a slash at its end, of a folder; * stands for anything.
floors() {
    awk '/^\| floor \|/ { inside = 1; next }
        inside && !/^\|/ { exit }
        inside && !/^\|-/ {
            number++
            for (i = 2; i <= split($0, part, "`"); i += 2) print number, part[i]
        }' "$source_dir/CONTRIBUTING.md" >table
    files | while read -r file; do
        while read -r number name; do
            case $file in
            $name | */$name) echo "$file $number" && break ;;
            esac
            case $name in
            */) case $file in $name* | */$name*) echo "$file $number" && break ;; esac ;;
            esac
        done <table
    done
}

# calls: FILE FILE, the second of which has a function or a variable that the first uses.
calls() {
    (cd objects && find . -name '*.o' | sed 's|^\./*||' | while read -r object; do
        nm -g "$object" | awk -v file="${object%.o}" '
            $1 == "U" || $1 == "w" { print "uses", $2, file }
            NF == 3 && $2 != "w" && $2 != "v" { print "has", $3, file }'
    done)
    (cd "$source_dir/capi" && files | grep '\.go$' | while read -r file; do
        sed -n "s|^//export \([a-z_]*\)$|has \1 $file|p" "$file"
        grep -o '\<C\.[a-zA-Z_]*(' "$file" | sed "s|C\.\(.*\)(|uses \1 $file|"
    done)
}

# includes: FILE FILE, the second of which the first includes.
includes() {
    cd "$source_dir/capi"
    files | while read -r file; do
        sed -n 's|^\(// \)\{0,1\}#include "\([^"]*\)".*|\2|p' "$file" | while read -r header; do
            path=$(realpath -m --relative-to=. "$(dirname "$file")/$header")
            [ -f "$path" ] || path=internal/$header
            [ ! -f "$path" ] || echo "$file $path"
        done
    done
    cd "$scratch"
}

# units: the same lines by what a file is part of: a header belongs to its C file, and a file for one
# system to the file for all.
units() {
    sed 's/\.[ch] / /g; s/_\(windows\|linux\|posix\) / /g' | awk '$1 != $2' | sort -u
}

# Writes FILE FILE NAME to edges: the first uses that name, or header, of the second.
look() {
    compile_capi "$CC" -w
    calls >symbols
    {
        awk '$1 == "has" { has[$2] = $3 } $1 == "uses" { uses[$3 " " $2] }
            END { for (i in uses) { split(i, by); if (by[2] in has) print by[1], has[by[2]], by[2] } }
            ' symbols
        includes | sed 's|\(.*\) \(.*\)|\1 \2 \2|'
    } | units >edges
}

test_each_file_has_a_floor() {
    floors | cut -d ' ' -f 1 | sort >have
    files | grep '\.c$' >want
    same "without a floor" "$(comm -13 have want)" ""
}

test_no_file_uses_one_of_a_floor_above() {
    look
    floors | units >unit_floors
    awk 'NR == FNR { floor[$1] = $2; next }
        ($1 in floor) && ($2 in floor) && floor[$2] < floor[$1] { print $1 " uses " $3 " of " $2 }
        ' unit_floors edges >upwards
    [ ! -s upwards ] || fail "$(cat upwards)"
}

test_no_files_use_each_other_in_a_circle() {
    look
    cut -d ' ' -f 1,2 edges | sort -u | tsort >order 2>circles || fail "$(sed 's/^tsort: //' circles)"
}

# The opening comment of x.c says who includes x.h, as in "Callers: thread.c, thread.go.".
test_each_file_names_its_callers() {
    includes | sed 's|[^ ]*/||g' | grep -v '^[^ ]*\.h ' | sort -u >callers
    files | grep '\.c$' | while read -r file; do
        name=${file##*/}
        want=$(awk -v name="$name" -v header="${name%.c}.h" '$2 == header && $1 != name {
            printf "%s%s", comma, $1; comma = ", " }' callers)
        have=$(awk '/^\/\*/ { inside = 1 } inside { sub(/^ \* */, ""); printf "%s ", $0 } /\*\// { exit }' \
            "$source_dir/capi/$file")
        case $have in
        *"Callers: $want."* | *"Callers: C programs, $want."*) ;;
        *) [ -z "$want" ] || echo "$file: $want" ;;
        esac
    done >wrong
    same "files that name other callers" "$(cat wrong)" ""
}

main "$@"
