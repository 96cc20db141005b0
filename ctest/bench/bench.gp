# Draws bench.svg, the picture of the benchmarks, from data that report.go writes before this script.
height = lines * 18 + 60
set terminal svg size 760, height font "Arial,12" background "white"
set output "bench.svg"
set datafile separator "\t"
set encoding utf8
set termoption noenhanced

set title "How many times as fast as others, median of all rounds"
set lmargin at screen 0.47
set rmargin at screen 0.96
set logscale x
stats $bars using 3 name "ratio" nooutput
set xrange [(ratio_min < 0.5 ? ratio_min : 0.5) / 1.2:ratio_max * 2]
set yrange [-lines + 0.4:0.6]
set xtics (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) scale 0
set ytics out nomirror scale 0
set border 1
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor "black" front
set style fill solid noborder
unset key
plot $bars using 3:(-$1):(1):3:(-$1 - 0.38):(-$1 + 0.38):($3 < 1 ? 0xee7733 : 0x4477aa):ytic(2) \
         with boxxyerror linecolor rgb variable, \
     $bars using ($3 > 1 ? $3 : 1):(-$1):4 with labels left offset 0.6, 0
