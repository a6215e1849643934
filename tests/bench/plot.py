# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of bench.py as a picture, by gnuplot."""

import subprocess

# what there is room for below a bar
SHORT = {'SPICE by spice-gtk': 'gtk', 'XVP by gvnc': 'gvnc',
         'SPICE, managed': 'SPICE',
         'virsh, started for it': 'virsh+'}

START = '''
set terminal svg size 900,{height} font 'sans-serif,12' background '#ffffff'
set multiplot layout {rows},1
set style line 1 lc rgb '#1f6fb4' pt 7
set style line 2 lc rgb '#d95f02' pt 5
set style line 3 lc rgb '#7f7f7f' pt 9
set grid y lc rgb '#dddddd'
set border 3
set tics nomirror
'''


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def block(name, rows):
    return f'${name} << EOD\n' + ''.join(
        ' '.join(map(str, row)) + '\n' for row in rows) + 'EOD\n'


def latency(found):
    """One group for each transport, a bar for each way: median, p95."""
    text = "set xtics scale 0\n"
    for load in ('idle', 'drawing'):
        mine = [row for row in found['ways'] if row['load'] == load
                and row['action'] == 'reset']
        mine.sort(key=lambda row: (
            ('unix', 'tcp', 'tls', 'libvirt').index(row['transport']),
            not row['way'].startswith('SPICE'), row['way']))
        points, labels, last, place = [], [], None, 0
        for row in mine:
            place += 1 + (last is not None and last != row['transport'])
            last = row['transport']
            color = 0x1f6fb4 if row['way'].startswith('SPICE') else 0x9f9f9f
            points.append((place, row['median'], row['median'], row['p95'],
                           color))
            way = SHORT.get(row['way'], row['way'])
            labels.append(f'"{way}\\n{last}" {place}')
        name = f'latency_{load}'
        text += block(name, points) + f'''
set title 'Reset, {load}: median, and p95 (ms)'
set style fill solid 0.8
set boxwidth 0.8
set yrange [0.3:*]
set logscale y
set xrange [0:{place + 1}]
set xtics norotate font ',10' ({', '.join(labels)})
unset key
set label 1 'virsh+: a whole process' at graph 0.02,0.95
plot ${name} using 1:2:5 with boxes lc rgb variable, \\
     ${name} using 1:3:3:4 with yerrorbars lc rgb '#000000' pt 7 ps 0
unset logscale
unset xtics
unset label 1
'''
    return text, 2


def broadcast(rows):
    names = ('power state', 'mouse mode')
    text = ''
    for number, name in enumerate(names):
        text += block(f'broadcast{number}', [
            (row['clients'], row['cost per client (us)']) for row in rows
            if row['message'] == name])
    return text + '''
set title 'To tell N clients of a change: QEMU''s main thread, us a client'
set logscale xy
set xrange [0.8:1300]
set yrange [1:*]
set xtics auto norotate
set key top right
plot ''' + ', '.join(
        f'$broadcast{number} using 1:2 with linespoints ls {number + 1} '
        f'title {quoted(name)}' for number, name in enumerate(names)) + '''
unset logscale
''', 1


def cycles(found):
    tenth, text = found['a tenth'], ''
    for number, row in enumerate(found['ways'].values()):
        # sizes begin with that before the first cycle
        points = zip(row['tenths (ms)'], row['tenths (kB)'][1:])
        text += block(f'cycles{number}', [
            (place * tenth, time / row['median'],
             size / row['tenths (kB)'][0])
            for place, (time, size) in enumerate(points, 1)])
    last = found['warm-up']
    return text + f'''
set title 'Power cycles: latency to its median, memory to the first'
set xrange [0:{last + found['cycles']}]
set yrange [0:2]
set xtics auto norotate
set key bottom left
set arrow 1 from {last}, graph 0 to {last}, graph 1 nohead lc rgb '#7f7f7f'
set label 1 'judged' at {last}, graph 0.95 offset 1
plot ''' + ', \\\n     '.join(
        f'$cycles{number} using 1:{column} with lines lw 2 '
        f'lc {1 + 2 * number + column - 2} title {quoted(f"{what}, {name}")}'
        for number, name in enumerate(found['ways'])
        for column, what in ((2, 'latency'), (3, 'memory'))) + '''
unset arrow 1
unset label 1
''', 1


def draw(figures, path):
    text, rows = '', 0
    for name, function in (('latency', latency), ('broadcast', broadcast),
                           ('cycles', cycles)):
        if name in figures:
            more, count = function(figures[name])
            text += more
            rows += count
    if not rows:
        return
    start = START.format(height=320 * rows, rows=rows)
    done = subprocess.run(['gnuplot'], input=start + text, text=True,
                          stdout=subprocess.PIPE, check=True)
    head, rest = done.stdout.split('\n', 1)
    path.write_text(f'{head}\n<!-- SPDX-License-Identifier: '
                    f'GPL-2.0-or-later -->\n{rest}')
