# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints the figures of bench.py, and judges them: returns the goals."""

import statistics
import textwrap

from figures import interval, judge, slope, to_the_best

# a plain socket is compared with plain sockets, a library with a library
RIVALS = {'SPICE': ('QMP', 'XVP'), 'SPICE by spice-gtk': ('XVP by gvnc',),
          'SPICE, managed': ('virsh',)}


def by_key(found):
    return {(row['load'], row['transport'], row['action'], row['way']): row
            for row in found['ways']}


def latency(found):
    goals, rows = [], by_key(found)
    title = f'latency in {found["rounds"]} rounds, in ms'
    print(f'\n{title:52} {"median":>8} {"p95":>8} {"p99":>8} {"ratio":>6}  '
          f'95% interval')
    for key in sorted(rows, key=lambda key: (key[0] == 'drawing', *key)):
        row, way = rows[key], key[-1]
        where = ', '.join(key[:-1])
        line = (f'{where + ": " + way:52} {row["median"]:8.3f} '
                f'{row["p95"]:8.3f} {row["p99"]:8.3f}')
        if way in RIVALS:
            goal = to_others(rows, key)
            line += (f' {goal["figure"]:6.2f}  {goal["low"]:.2f} to '
                     f'{goal["high"]:.2f}')
            goals.append(goal)
        print(line)
    for key in sorted(rows):
        if key[0] == 'drawing' and key[-1] in RIVALS:
            goals.append(to_idle(rows, key))
    if found['rounds'] < 100:
        print('of fewer than 100 rounds p99 is the maximum')
    print(f'\n{"display, read by a client":30} {"updates/s":>10} '
          f'{"at least":>9} {"MB/s":>8} {"rounds again":>13}')
    for row in found['display']:
        print(f'{row["load"] + ", " + row["transport"]:30} '
              f'{row["updates a second"]:10.0f} {row["at least"]:9.0f} '
              f'{row["MB a second"]:8.2f} {row["rounds again"]:13}')
    return goals


def to_others(rows, key):
    """The goal that the medians are at most those of like ways."""
    *where, way = key
    others = [other for other in RIVALS[way] if (*where, other) in rows]
    samples = [rows[key]['ms'],
               *(rows[(*where, other)]['ms'] for other in others)]
    the_best = ' and '.join(others)
    if len(others) > 1:
        the_best = 'the better of ' + the_best
    return judge(f'{", ".join(where)}: {way} to {the_best}',
                 to_the_best(*samples), 1.00,
                 interval(to_the_best, *samples, rounds=True))


def to_idle(rows, key):
    """The goal that a way takes hardly longer when the guest draws."""
    load, *where, way = key
    samples = rows[key]['ms'], rows[('idle', *where, way)]['ms']
    others = ', '.join(
        f'{other} {grown(rows, (load, *where, other)):.2f}'
        for other in RIVALS[way] if (load, *where, other) in rows)
    return judge(f'{", ".join(where)}: {way}, drawing to idle ({others})',
                 to_the_best(*samples), 1.2,
                 interval(to_the_best, *samples, rounds=True))


def grown(rows, key):
    """How much longer a way takes when the guest draws."""
    return rows[key]['median'] / rows[('idle', *key[1:])]['median']


def flatness(counts):
    """A function of the times for three numbers of clients: what one more
    client costs between the last two, to that between the first two."""
    few, some, many = counts

    def function(*samples):
        low, middle, high = map(statistics.median, samples)
        return ((high - middle) / (many - some)
                / ((middle - low) / (some - few)))
    return function


def broadcast(rows):
    print(f'\n{"told of":12} {"clients":>8} {"n":>4} {"cost, ms":>10} '
          f'{"a client, us":>13} {"one more, us":>13} {"memory, kB":>11}')
    before = {}
    for row in rows:
        message, count = row['message'], row['clients']
        more = ''
        if message in before:
            last = before[message]
            more = (row['median'] - last['median']) / (
                count - last['clients']) * 1000
            more = f'{more:.1f}'
        before[message] = row
        print(f'{message:12} {count:8} {row["n"]:4} {row["median"]:10.3f} '
              f'{row["cost per client (us)"]:13.1f} {more:>13} '
              f'{row["memory per client (kB)"]:11.1f}')
    return flat_goals(rows)


def flat_goals(rows):
    last = [row for row in rows if row['message'] == 'power state'][-3:]
    if len(last) < 3:
        return []
    few, some, many = counts = [row['clients'] for row in last]
    samples = [row['ms'] for row in last]
    flat = flatness(counts)
    return [judge(f'power state, one more client: from {some} to {many} to '
                  f'that from {few} to {some}', flat(*samples), 1.2,
                  interval(flat, *samples))]


def cycles(found):
    print(f'\n{found["cycles"]} times off and on, after {found["warm-up"]} '
          'that are not judged')
    for name, row in found['ways'].items():
        print(f'{name}: median {row["median"]:.2f} ms, p99 {row["p99"]:.2f} '
              'ms')
        for what, places in (('tenths (ms)', 2), ('tenths (kB)', 0)):
            values = [f'{value:.{places}f}' for value in row[what]]
            for title, some in (('warm-up', values[:-10]),
                                ('then', values[-10:])):
                for line in textwrap.wrap(
                        f'{title}, {what}: ' + ' '.join(some), 77,
                        initial_indent='  ', subsequent_indent='    '):
                    print(line)
    return cycle_goals(found)


def cycle_goals(found):
    tenth = found['a tenth']
    ours, theirs = found['ways']['SPICE'], found['ways']['QMP']

    def ends(row):
        return row['ms'][-tenth:], row['ms'][tenth:2 * tenth]
    goals = [judge('latency, the last tenth of the cycles to the second '
                   f'(QMP {to_the_best(*ends(theirs)):.2f})',
                   to_the_best(*ends(ours)), 1.1,
                   interval(to_the_best, *ends(ours)))]
    for what, values in (
            ('memory, bytes for each cycle', ours['tenths (kB)'][-11:]),
            ('memory, bytes for each cycle more than by QMP, warm-up and all',
             [our - their for our, their in zip(ours['tenths (kB)'],
                                                theirs['tenths (kB)'])])):
        figure, sure = slope([value * 1024 / tenth for value in values])
        goals.append(judge(what, figure, 64, sure))
    return goals


def verdicts(goals):
    if not goals:
        return
    print('\ngoals, and where 95% of what the figure may be are')
    for goal in goals:
        print(f'  {goal["verdict"]:9} {goal["figure"]:7.3f} '
              f'({goal["low"]:.3f} to {goal["high"]:.3f}, at most '
              f'{goal["goal"]:g}): {goal["what"]}')
