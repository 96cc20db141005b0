# header.awk - makes of pythread.h, and of pylock.h behind it, what doxygen reads: the comments in the header's form become those
# of doxygen, and the sections of README.md named in the variable sections (separated by |) join the
# comment at the top.
#
#   name  text, behind " * "          a parameter
#   value   text, further in          a line of the table of return values
#   CPython: text                     a paragraph of its own
#
# A comment before a declaration goes to all declarations up to the next blank line.

# Prints the sections of README.md: without the links, which lead nowhere from an installed page, and a
# row of a table as an item of a list, since man pages have no tables.
function print_readme(    line, inside, link, name, cells, heads, count, i) {
    while ((getline line <readme) > 0) {
        if (line ~ /^## /) inside = index("|" sections "|", "|" substr(line, 4) "|")
        if (!inside) continue
        while (match(line, /\[[^]]*\]\([^)]*\)/)) {
            link = substr(line, RSTART, RLENGTH)
            name = substr(link, 2, index(link, "](") - 2)
            line = substr(line, 1, RSTART - 1) name substr(line, RSTART + RLENGTH)
        }
        if (line !~ /^\|/) {
            delete heads
        } else if (line ~ /^\|-/) {
            continue
        } else {
            count = split(line, cells, / *\| */)
            if (!(3 in heads)) {
                for (i = 3; i < count; i++) heads[i] = cells[i]
                continue
            }
            gsub(/`/, "", cells[2])
            line = "- **" cells[2] "**."
            for (i = 3; i < count; i++) {
                line = line " " toupper(substr(heads[i], 1, 1)) substr(heads[i], 2) ": " cells[i] "."
            }
        }
        print " *" (line == "" ? "" : " " line)
    }
}

# The lines of a comment, in doxygen's form.
function converted(line,    value) {
    if (line ~ /^ \* @(end)?code/) code = !code
    if (code) return line
    if (line ~ /^ \* [A-Za-z_]+  +[^ ]/) {
        sub(/^ \* /, " * @param ", line)
    } else if (line ~ /^ \*   +[^ ]([^ ]| [^ ])*  +[^ ]/) {
        sub(/^ \* +/, "", line)
        match(line, /  +/)
        value = substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        gsub(/ /, "\302\240", value) # one word for doxygen
        line = " * @retval " value " " line
    }
    if (match(line, /CPython: /)) {
        line = substr(line, 1, RSTART - 1) "\n * @par CPython\n * " substr(line, RSTART + RLENGTH)
    }
    return line
}

# A line across begins and ends the title of a section, whose names form a group.
/^\/\* -+$/ {
    getline
    if (group) print "/** @} */"
    print "/** @name " substr($0, 4) " */\n/** @{ */"
    group = 1
    getline
    next
}
/^#ifdef __cplusplus/ && group { print "/** @} */"; group = 0 }
/^\/\*/ && !/clang-format/ {
    inside = 1
    comment = ""
    sub(/^\/\*/, "/**")
}
inside {
    if (!opened && /\*\/$/) { # the comment at the top
        printf "%s *\n", comment
        print_readme()
        print " */"
        opened = 1
        inside = 0
        comment = ""
        next
    }
    comment = comment converted($0) "\n"
    if (!opened && comment ~ /^\/\*\*\n$/) comment = comment " * @file\n"
    if (/\*\/$/) inside = 0
    else next
    fresh = 1
    next
}
/^$/ || /^#if/ { comment = "" } # also one that explains an #if
/^#define / || fresh {
    printf "%s", comment
    fresh = 0
}
/^    .*\/\* .*\*\/$/ { sub(/\/\* /, "/**< ") } # a constant's or a field's
{ print }
