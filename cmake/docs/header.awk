# header.awk - turns the comments of pythread.h and pylock.h into what doxygen reads. It adds a section
# of a Markdown file to the comment at the top. The variables document and section name these.
#
#   name  text, behind " * "          a parameter
#   value   text, further in          a line of the table of return values
#   CPython: text                     a paragraph of its own
#
# A comment before a declaration goes to all declarations up to the next blank line.

# Prints the section without its links, which lead nowhere from an installed page.
function print_section(    line, inside, link, name) {
    while ((getline line <document) > 0) {
        if (line ~ /^## /) inside = substr(line, 4) == section
        if (!inside) continue
        while (match(line, /\[[^]]*\]\([^)]*\)/)) {
            link = substr(line, RSTART, RLENGTH)
            name = substr(link, 2, index(link, "](") - 2)
            line = substr(line, 1, RSTART - 1) name substr(line, RSTART + RLENGTH)
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
/^#define [A-Za-z_]*_H$/ { next } # an include guard
/^#ifdef __cplusplus/ && group { print "/** @} */"; group = 0 }
/^\/\*/ && !/clang-format/ {
    inside = 1
    comment = ""
    sub(/^\/\*/, "/**")
}
inside {
    if (!opened && /\*\/$/) { # the comment at the top
        printf "%s *\n", comment
        print_section()
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
