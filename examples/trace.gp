# Draws the bars of trace.awk: gnuplot -c trace.gp BARS PICTURE MS
bars = ARG1
set terminal svg size 800,260 font "sans-serif,12" background "white"
set output ARG2
set xlabel "ms"
set ylabel "OS thread"
set xrange [0:ARG3]
set yrange [0.4:*] reverse
set ytics 1 out nomirror
set xtics out nomirror
set border 3
set key outside top center horizontal
set style fill solid border lc rgb "white"
of(kind) = sprintf("< awk '$1 == \"%s\"' %s", kind, bars)
plot of("run") using 2:4:2:3:($4-0.35):($4+0.35) with boxxyerror lc rgb "#4c78a8" title "a thread", \
     of("start") using 2:4:2:3:($4-0.35):($4+0.35) with boxxyerror lc rgb "#54a24b" title "starts a thread", \
     of("wait") using 2:4:2:3:($4-0.35):($4+0.35) with boxxyerror lc rgb "#e45756" title "waits for a thread or a lock"
