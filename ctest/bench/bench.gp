# Draws bench.svg, the picture of the benchmarks, from data that report.go writes before this script.
panels_height = 530.0
height = lines * 15 + panels_height + 105
set terminal svg size 880, height font "Arial,11" background "white"
set output "bench.svg"
set datafile separator "\t"
set encoding utf8
set termoption noenhanced
set multiplot

faster = 0x4477aa
slower = 0xee7733

# The ratios, in lines of 15 pixels.
set label "How many times as fast as others, or as small (memory): median and quartiles" \
    at screen 0.5, screen 1 - 18 / height center font ",14"
set lmargin at screen 0.47
set rmargin at screen 0.97
set tmargin at screen 1 - 70 / height
set bmargin at screen (panels_height + 35) / height
set logscale x
stats $bars using 3 name "ratio" nooutput
set xrange [(ratio_min < 0.5 ? ratio_min : 0.5) / 1.3:ratio_max * 2]
set yrange [-lines + 0.7:0.7]
set xtics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) scale 0
set ytics out nomirror scale 0
set grid xtics linetype 1 linecolor "#dddddd"
set border 1
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor "black" linewidth 1.5 front
set style fill solid noborder
set key at screen 0.97, screen 1 - 48 / height right center horizontal maxcols 4 samplen 1 width -4
@titles
plot $bars using 3:(-$1):(1):3:(-$1 - 0.38):(-$1 + 0.38):($3 < 1 ? slower : faster):ytic(2) \
         with boxxyerror linecolor rgb variable notitle, \
     $bars using 3:(-$1):4:5 with xerrorbars pointtype 0 linecolor "black" notitle, \
     $bars using ($5 > 1 ? $5 : 1):(-$1):6 with labels left offset 0.6, 0 font ",10" notitle, \
     NaN with boxes linecolor rgb faster title "CLEAN, or libpythread", \
     NaN with boxes linecolor rgb slower title "where it is slower", \
     $bars using 7:(-$1) with points pointtype 6 pointsize 0.6 linewidth 1.5 linecolor "black" \
         title "ALWAYS"

# That what one takes does not grow with the number of all.
unset label
unset arrow
unset key
set border 3
set yrange [*:*]
set xrange [*:*]
set logscale y
set xtics autofreq scale 1 nomirror rotate by 0
set ytics autofreq scale 1
set grid ytics
set format x "%.0s%c"
set format y "%.0s %cs"
set style data linespoints
set style line 1 linecolor "#4477aa" linewidth 2.5 pointtype 7 pointsize 0.5
set style line 2 linecolor "black" linewidth 1.5 pointtype 6 pointsize 0.5
set style line 3 linecolor "#aa3377" linewidth 1.5 pointtype 7 pointsize 0.3
set style line 4 linecolor "#ccbb44" linewidth 1.5 pointtype 7 pointsize 0.3
set style line 5 linecolor "#66ccee" linewidth 1.5 pointtype 7 pointsize 0.3
set style line 6 linecolor "#bbbbbb" linewidth 1.5 pointtype 7 pointsize 0.3

# Panel i of 6, in two rows.
left(i) = 0.08 + 0.33 * (i % 3)
above(i) = (i < 3 ? panels_height - 30 : panels_height / 2 - 30) / height
place = "set title title font ',11'; set xlabel items; \
set lmargin at screen left(i); set rmargin at screen left(i) + 0.235; \
set tmargin at screen above(i); set bmargin at screen above(i) - 165 / height"
i = 0; title = title_0; items = items_0
@place
plot @plots_0
i = 1; title = title_1; items = items_1
@place
plot @plots_1
i = 2; title = title_2; items = items_2
@place
plot @plots_2
i = 3; title = title_3; items = items_3
@place
plot @plots_3
i = 4; title = title_4; items = items_4
@place
plot @plots_4

i = 5; title = ""; items = ""
@place
unset title
unset xlabel
unset border
unset tics
unset grid
set xrange [0:1]
set yrange [1:2]
set key default
set key inside left top Left reverse
plot NaN linestyle 1 title "CLEAN, or libpythread", NaN linestyle 2 title "ALWAYS", \
     NaN linestyle 3 title "CPython", NaN linestyle 4 title "pthreads", NaN linestyle 5 title "PyMutex", \
     NaN linestyle 6 title "nsync_mu"
unset multiplot
