# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of bench.py as tables of docs/measurements.rst.

Each is between two comments there: ".. figures: NAME" and ".. end of figures".
"""

import re
import textwrap

import pages
import telling
import tracing
from figures import to_the_best

BLOCK = re.compile(r'^\.\. figures: ([^\n]*)\n.*?^\.\. end of figures\n',
                   re.M | re.S)
WIDTH = 79
ACTIONS = ('reset', 'pause', 'continue')
# what there is room for
SHORT = {'SPICE by spice-gtk': 'spice-gtk', 'SPICE, managed': 'managed',
         'XVP by gvnc': 'gvnc', 'virsh, started for it': 'virsh, started'}


def short(way):
    return SHORT.get(way, way)


class UnknownTable(Exception):
    """There are no such figures."""


def table(header, rows):
    rows = [[str(cell) or '\\' for cell in row] for row in rows]
    header = [name or '..' for name in header]
    widths = [max(len(row[column]) for row in (header, *rows))
              for column in range(len(header))]
    line = '  '.join('=' * width for width in widths)

    def text(row):
        return '  '.join(f'{cell:{width}}' for cell, width
                         in zip(row, widths)).rstrip()
    return '\n'.join((line, text(header), line, *map(text, rows), line)) + '\n'


def paragraph(text, indent=''):
    return '\n'.join(textwrap.wrap(text, WIDTH, break_on_hyphens=False,
                                   subsequent_indent=indent)) + '\n'


def sure(goal, places=2):
    return (f'{goal["figure"]:.{places}f} ({goal["low"]:.{places}f} to '
            f'{goal["high"]:.{places}f})')


def run(figures):
    anew = ''.join(f', {name} of {run["date"]} (load '
                   f'{run["load before"]:.1f} before)'
                   for name, run in figures.get('anew', {}).items())
    return paragraph(
        f'Of {figures["date"]}{anew}; {figures["machine"]}; load '
        f'{figures["load before"]:.1f} before and {figures["load after"]:.1f} '
        f'after; {figures["latency"]["rounds"]} rounds. Medians in ms, the '
        "ratio of medians with its 95% interval, and what that makes of the "
        'goal.')


def latency(ways, transports):
    """A function that makes the table of these ways, the first is ours."""
    def function(figures):
        rows = telling.by_key(figures['latency'])
        lines = []
        for load in 'idle', 'drawing':
            for action in ACTIONS:
                for transport in transports:
                    key = load, transport, action
                    if (*key, ways[0]) not in rows:
                        continue
                    goal = telling.to_others(rows, (*key, ways[0]))
                    lines.append(
                        (f'{load}: {action}',
                         *([transport] if len(transports) > 1 else ()),
                         *(f'{rows[(*key, way)]["median"]:.2f}'
                           if (*key, way) in rows else '' for way in ways),
                         sure(goal), goal['verdict']))
        return table(('', *(['over'] if len(transports) > 1 else ()),
                      *map(short, ways), 'ratio', 'goal'), lines)
    return function


def drawing(figures):
    rows = telling.by_key(figures['latency'])
    lines = []
    for way, others in telling.RIVALS.items():
        for action in ACTIONS:
            for transport in 'unix', 'tcp', 'tls', 'libvirt':
                key = 'drawing', transport, action, way
                if key not in rows:
                    continue
                goal = telling.to_idle(rows, key)
                like = []
                for other in others:
                    if (*key[:-1], other) in rows:
                        ratio = telling.grown(rows, (*key[:-1], other))
                        like.append(f'{short(other)} {ratio:.2f}')
                lines.append((f'{short(way)}: {action}', transport, sure(goal),
                              ', '.join(like), goal['verdict']))
    return table(('drawing to idle', 'over', 'ratio', 'like ways', 'goal'),
                 lines)


def display(figures):
    return table(
        ('drawing', 'updates a second', 'the least', 'MB a second'),
        [(row['transport'], f'{row["updates a second"]:.0f}',
          f'{row["at least"]:.0f}', f'{row["MB a second"]:.2f}')
         for row in figures['latency']['display']
         if row['load'] == 'drawing'])


def browser(figures):
    found = figures['browser']
    goal = pages.goal(found)
    return table(
        ('a click, ms', 'n', 'median', 'p95', 'p99'),
        [(name, *(row['n'], *(f'{row[key]:.2f}'
                              for key in ('median', 'p95', 'p99'))))
         for name, row in found['ways'].items()]) + '\n' + paragraph(
            f'In {found["browser"]}; ratio of the medians: {sure(goal)}, '
            f'{goal["verdict"]}.')


def cost(figures):
    return table(
        ('a client', 'instructions a message', 'memory, bytes'),
        [(name, f'{row["instructions per message"]:.1f}',
          row['memory per client (bytes)'])
         for name, row in figures['cost'].items()])


def broadcast(figures):
    messages = ('power state', 'mouse mode')
    rows = {(row['message'], row['clients']): row
            for row in figures['broadcast']}
    counts = sorted({count for _, count in rows})
    lines = []
    for before, count in zip((None, *counts), counts):
        line = [f'{count:,}']
        for message in messages:
            row = rows[message, count]
            line.append(f'{row["cost per client (us)"]:.1f}')
            line.append('' if before is None else '{:.1f}'.format(
                (row['median'] - rows[message, before]['median']) * 1000
                / (count - before)))
        lines.append(line)
    goals = telling.flat_goals(figures['broadcast'])
    return table(('clients', 'power state, us each', 'one more',
                  'mouse mode, us each', 'one more'), lines) + (
        '\n' + paragraph(f'One more client, ratio: {sure(goals[0])}, '
                         f'{goals[0]["verdict"]}.') if goals else '')


def cycles(figures):
    found = figures['cycles']
    tenth = found['a tenth']

    def row(name, values):
        sizes = values['tenths (kB)']
        drift = to_the_best(values['ms'][-tenth:],
                            values['ms'][tenth:2 * tenth])
        return (name, f'{values["median"]:.2f}', f'{values["p99"]:.2f}',
                f'{drift:.2f}', sizes[-11] - sizes[0], sizes[-1] - sizes[-11])
    sizes = table(
        ('by', 'median, ms', 'p99, ms', 'last to second tenth',
         f'{found["warm-up"]:,} before, kB', f'{found["cycles"]:,}, kB'),
        [row(*item) for item in found['ways'].items()])
    return '\n'.join((sizes, *(
        paragraph(f'- {goal["what"]}: {sure(goal)}, at most {goal["goal"]:g}: '
                  f'{goal["verdict"]}', '  ')
        for goal in telling.cycle_goals(found))))


def goals(figures):
    verdicts = [goal['verdict'] for goal in figures['goals']]
    count = {name: verdicts.count(name) for name in
             ('met', 'undecided', 'MISSED')}
    return paragraph(f'Of {len(verdicts)} goals {count["met"]} are met, '
                     f'{count["MISSED"]} are missed, and {count["undecided"]} '
                     'are within the interval of what was measured.')


def trace(load):
    def function(figures):
        header, rows = tracing.table(figures['trace']['loads'][load])
        return table(header, [(title, *('' if value is None else
                                        f'{value:.0f}' for value in values))
                              for title, *values in rows])
    return function


# what it takes, and what makes it
TABLES = {
    'run': ('latency', run),
    'sockets': ('latency', latency(('SPICE', 'QMP', 'XVP'),
                                   ('unix', 'tcp', 'tls'))),
    'libraries': ('latency', latency(('SPICE by spice-gtk', 'XVP by gvnc'),
                                     ('unix', 'tcp'))),
    'libvirt': ('latency', latency(('SPICE, managed', 'virsh',
                                    'virsh, started for it'), ('libvirt',))),
    'drawing': ('latency', drawing),
    'display': ('latency', display),
    'browser': ('browser', browser),
    'cost': ('cost', cost),
    'broadcast': ('broadcast', broadcast),
    'cycles': ('cycles', cycles),
    'trace, idle': ('trace', trace('idle')),
    'trace, drawing': ('trace', trace('drawing')),
    'goals': ('goals', goals),
}


def write(figures, text):
    """The text with these figures in place of what is between the comments.

    What has not been measured stays.
    """
    def block(found):
        name = found.group(1)
        if name not in TABLES:
            raise UnknownTable(f"there are no figures '{name}'")
        needed, function = TABLES[name]
        if needed not in figures:
            return found.group(0)
        return (f'.. figures: {name}\n\n{function(figures)}\n'
                '.. end of figures\n')
    return BLOCK.sub(block, text)
