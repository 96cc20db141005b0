# man.awk - takes doxygen's one man page of the headers apart: a page in section 3 for each name, in
# the directory man3, and what is about the whole in man7/pythread.7. The variable version is the
# library's.
#
# doxygen lists all names first (.RI "declaration", .br, .RI "first sentence"), and describes each
# below a heading with its declaration (.SS, for structs .SH). What is between is the whole's.

function page(file, name, section, brief, synopsis,    header) {
    header = name ~ /^(PyMutex|PyCritical|Py_(BEGIN|END)_|pythread_mutex)/ ? "pylock.h" : "pythread.h"
    if (out) close(out)
    out = file
    printf ".TH \"%s\" %s \"\" \"libpythread %s\" \"libpythread\"\n", name, section, version >out
    printf ".nh\n.ad l\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", name, brief >out
    print ".B #include <" header ">\n.PP\n" synopsis "\n.SH DESCRIPTION" >out
}

# Ends a page by the names that it mentions.
function see_also(self,    i, count, names, list) {
    if (!self) return
    count = split(body, names, /[^A-Za-z_]+/)
    list = ".BR pythread (7)"
    split("", seen)
    seen[self]
    for (i = 1; i <= count; i++) {
        if (names[i] in brief_of && !(names[i] in seen)) {
            list = list ",\n.BR " names[i] " (3)"
            seen[names[i]]
        }
    }
    print ".SH SEE ALSO\n" list >out
}

# The name that a line declares.
function declared(line) {
    gsub(/\\f[A-Z]/, "", line)
    sub(/ \[.*/, "", line)
    sub(/(   | \{|\().*/, "", line)
    sub(/ +$/, "", line)
    sub(/.*[ *]/, "", line)
    return line
}

function begin_item(line) {
    see_also(item)
    item = declared(line)
    if (!(item in brief_of)) {
        print "man.awk: no first sentence for " item >"/dev/stderr"
        exit failed = 1
    }
    body = ""
    page("man3/" item ".3", item, 3, brief_of[item], declaration_of[item])
    paragraph = 0
    skip = 1 # the empty lines below the heading
}

function write(line) {
    if (line ~ /^\.PP/) { paragraph = 1; return } # of which doxygen has more than it takes
    if (paragraph && line !~ /^\.(SH|TP)/) line = ".PP\n" line
    paragraph = 0
    if (line ~ /^'/) line = "\\&" line # no request
    body = body "\n" line
    print line >out
    if (item == "pythread_set_reuse") reuse = reuse line "\n"
}

NR == 1 { next }
/^\.SH "Detailed Description"/ { part = "whole"; next }
/^\.SH .*Documentation"$/ { part = "items"; next }
/^\.SH "Author"/ { part = "end"; next }

# The whole: its first paragraph becomes the page's line of the index.
part == "whole" && !whole_begun {
    if (/^\.PP/) next
    sub(/.* - /, "")
    sub(/: .*/, "")
    page("man7/pythread.7", "pythread", 7, $0, ".B cc prog.c -lpythread")
    whole_begun = 1
    next
}
part == "whole" && /^\.SS "/ {
    heading = substr($0, 6, length($0) - 6)
    next
}
part == "whole" && !/^ *$/ {
    if (heading != "") print ".SH \"" toupper(heading) "\"" >out
    heading = ""
    if (/^\.in \+1c/) part = "list"
    else print >out
}

# The lists.
part == "list" && /^\.in -1c/ { part = "whole"; next }
part == "list" && /^\.RI "/ {
    text = substr($0, 6, length($0) - 6)
    if (text ~ /\\fB/ && !waiting) {
        # The name in bold is the one declared: of the others, types, it is the last before "(".
        name = declared(text)
        if (text ~ /^#define/) gsub(/'/, "\\(dq", text) # which doxygen has made of "
        declaration_of[name] = text
        waiting = name
    } else {
        gsub(/\\&/, "", text)
        sub(/\.? *$/, "", text)
        brief_of[waiting] = text
        if (length(text) > 60) sub(/: .*/, "", brief_of[waiting])
        print ".TP\n.BR " waiting " (3)\n" text "." >out
        waiting = ""
    }
}

# The items.
part == "items" && /^\.S[SH] "/ { begin_item(substr($0, 6, length($0) - 6)); next }
part == "items" && item {
    if (/^\.fi$/) { write(".EE"); code = 0; next }
    if (code_begins) { # a program, or a table
        write(/#include/ ? ".SH EXAMPLE\n.EX" : ".EX")
        code_begins = 0
    }
    if (code) {
        gsub(/\\&/, "")
        gsub(/\\/, "\\e")
        sub(/^[.']/, "\\\\\\&&")
        write($0)
        next
    }
    if (/^ *$/ || (skip && /^\.PP *$/)) next
    skip = 0
    sub(/ +$/, "")
    if (/^\\fBParameters\\fP$/) { table = "PARAMETERS" }
    else if (/^\\fBReturn values\\fP$/) { table = "RETURN VALUE" }
    else if (/^\\fBData Fields:\\fP$/) { table = "FIELDS" }
    else if (/^\\fBEnumerator\\fP$/) { write(".SH VALUES"); next }
    else if (/^\\fBCPython\\fP$/) { write(".SH HISTORY\nCPython:"); indented = 1; next }
    else if (/^\.nf$/) { code = 1; code_begins = 1; next }
    else if (/^\.(in|br)/ || (indented && /^\.RS/)) { next }
    else if (indented && /^\.RE/) { indented = 0; next }
    else if (table && match($0, /\\fI.*\\fP ?/)) {
        label = substr($0, 1, RSTART + RLENGTH - 1)
        gsub(/\302\240/, " ", label)
        write(".TP\n" label "\n" substr($0, RSTART + RLENGTH))
        next
    } else if (/^\.RE/) { table = ""; next }
    else {
        if (match($0, /^\\fB\\fI[A-Za-z_]+ \\fP/)) { # a constant of an enum
            link = "man3/" substr($0, 7, RLENGTH - 10) ".3"
            print ".so man3/" item ".3" >link
            close(link)
        }
        write($0)
        next
    }
    write(".SH " table)
    getline # .RS 4
}
END {
    if (failed) exit 1
    see_also(item)
    sub(/\n\.SH.*/, "", reuse)
    print ".SH \"REUSE OF OS THREADS\"\n" reuse >>"man7/pythread.7"
}
