# The picture of the benchmarks: bench.svg, from the blocks of data that main.go puts before this.
set terminal svg size 1000,1280 font "Arial,12" background "white"
set output "bench.svg"
set datafile separator "\t"
set encoding utf8
set termoption noenhanced
set multiplot title "How many times as fast as others (memory: how many times as little), median and quartiles" font ",15"

cpython = 0x4477aa
pthreads = 0xee8866
others = 0x99aa55
pythread = 0x228833

# $bars: number, label, against, ratio, its quartiles, target, ratio as text.
stats $bars using 1 name "rows" nooutput
stats $bars using 5 name "lower" nooutput
stats $bars using 6 name "upper" nooutput
set lmargin at screen 0.44
set rmargin at screen 0.96
set tmargin at screen 0.94
set bmargin at screen 0.26
set logscale x
set xrange [(lower_min < 0.5 ? lower_min : 0.5) / 1.2:upper_max * 2.5]
set yrange [-rows_max - 1:1]
set xtics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) scale 0
set ytics out nomirror scale 0
set grid xtics linetype 1 linecolor "#dddddd"
set border 1
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor "black" linewidth 1.5 front
set style fill solid noborder
set key at screen 0.96, 0.965 right top horizontal samplen 1
color(against) = against eq "CPython" ? cpython : against eq "pthreads" ? pthreads : others
plot $bars using 4:(-$1):(1):4:(-$1 - 0.38):(-$1 + 0.38):(color(strcol(3))):ytic(2) \
         with boxxyerror linecolor rgb variable notitle, \
     $bars using 4:(-$1):5:6 with xerrorbars pointtype 0 linecolor "black" notitle, \
     $bars using ($6 > 1 ? $6 : 1):(-$1):8 with labels left offset 0.6, 0 font ",11" notitle, \
     NaN with boxes linecolor rgb cpython title "against CPython", \
     NaN with boxes linecolor rgb pthreads title "against pthreads", \
     NaN with boxes linecolor rgb others title "against others", \
     $bars using 7:(-$1 - 0.5):(0):(1) with vectors nohead linecolor "#bb0000" linewidth 2.5 \
         title "target"

# That the cost of one does not grow with the number of all.
unset arrow
set key inside right center vertical samplen 2
set tmargin at screen 0.195
set bmargin at screen 0.055
set border 3
set yrange [*:*]
set ytics in autofreq scale 1
set xtics scale 1 nomirror ("1" 1, "10" 10, "100" 100, "1,000" 1000, "10,000" 10000, "100,000" 100000)
set grid ytics
set logscale y
set format y "%g"
set style data linespoints
set style line 1 linecolor rgb pythread linewidth 3 pointtype 7 pointsize 0.6
set style line 2 linecolor rgb cpython linewidth 1.5 pointtype 7 pointsize 0.5
set style line 3 linecolor rgb pthreads linewidth 4 pointtype 7 pointsize 0.3

set title "start and join, each (µs)" font ",13"
set xlabel "threads"
set lmargin at screen 0.06
set rmargin at screen 0.31
set xrange [10:100000]
plot $threads_pythread using 1:($2 / 1000) linestyle 1 title "pythread", \
     $threads_pthreads using 1:($2 / 1000) linestyle 3 title "pthreads", \
     $threads_CPython using 1:($2 / 1000) linestyle 2 title "CPython"

set title "lock and unlock (ns)"
set xlabel "threads that contend"
set xtics (1, 2, 4, 8, 16, 32, 64)
set lmargin at screen 0.39
set rmargin at screen 0.64
set xrange [1:64]
plot $locks_pythread linestyle 1 title "pythread", \
     $locks_pthreads linestyle 3 title "pthreads", \
     $locks_CPython linestyle 2 title "CPython"

set title "tss_get (ns)"
set xlabel "keys"
set xtics ("1" 1, "10" 10, "100" 100, "1,000" 1000, "10,000" 10000, "100,000" 100000)
set lmargin at screen 0.71
set rmargin at screen 0.96
set xrange [1:100000]
set key top
set yrange [0.5:20]
plot $keys_pythread linestyle 1 title "pythread", \
     $keys_CPython linestyle 2 title "CPython"
unset multiplot
