# Prints the bars of a trace of pythread_trace, for trace.gp: kind, begin and end in ms, and the row of
# the OS thread. It prints `most` ms, beginning `from` ms after the first thread.

function field(name) {
    return match($0, "\"" name "\":[^,}]*") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : ""
}

/"ph":"X"/ {
    name = field("name")
    count++
    kind[count] = name ~ /^"thread / ? "run" : name ~ /^"start / ? "start" : "wait"
    begin[count] = field("ts") / 1000
    end[count] = begin[count] + field("dur") / 1000
    on[count] = field("tid")
    if (kind[count] == "run" && (first == "" || begin[count] < first)) {
        first = begin[count]
    }
}

END {
    first += from
    for (i = 1; i <= count; i++) {
        if (end[i] > first && begin[i] - first < most) {
            if (!(on[i] in row)) {
                row[on[i]] = ++rows
            }
            print kind[i], begin[i] - first, end[i] - first, row[on[i]]
        }
    }
}
