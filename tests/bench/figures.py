# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said of figures, and how sure that is.

Each figure that is judged has an interval that has it in 95 of 100 runs: the
measurements are drawn again, with replacement, a thousand times (bootstrap).
Those of one round go together, so that what hit all of a round is no
difference. The seed is always the same: the same measurements say the same.
"""

import itertools
import math
import random
import statistics

DRAWN = 1000


class Unavailable(Exception):
    """Something cannot be measured here; the text says why."""


def summary(values):
    """Median and tails of some values; below 100, p99 is the maximum."""
    ordered = sorted(values)

    def quantile(part):
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return {'n': len(ordered), 'median': statistics.median(ordered),
            'p95': quantile(0.95), 'p99': quantile(0.99)}


def interval(function, *samples, rounds=False):
    """Where 95% of what function(*samples) may be are.

    With rounds, what has the same place in the samples is of one round.
    """
    drawing = random.Random(1)
    found = []
    for _ in range(DRAWN):
        if rounds:
            places = drawing.choices(range(len(samples[0])),
                                     k=len(samples[0]))
            drawn = [[values[place] for place in places]
                     for values in samples]
        else:
            drawn = [drawing.choices(values, k=len(values))
                     for values in samples]
        found.append(function(*drawn))
    found.sort()
    return found[round(0.025 * DRAWN)], found[round(0.975 * DRAWN) - 1]


def to_the_best(ours, *others):
    """Our median to that of the quickest of the others."""
    return (statistics.median(ours)
            / min(statistics.median(values) for values in others))


def slope(values):
    """(How much they grow from one to the next, and its interval.)

    The median of the slopes between any two (Theil and Sen), and the interval
    by their ranks (Kendall): a single step is no slope.
    """
    slopes = sorted((later - earlier) / (place - before)
                    for (before, earlier), (place, later)
                    in itertools.combinations(enumerate(values), 2))
    n, count = len(values), len(slopes)
    wide = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return (statistics.median(slopes),
            (slopes[max(0, math.floor((count - wide) / 2))],
             slopes[min(count - 1, math.ceil((count + wide) / 2))]))


def judge(what, figure, goal, sure=None):
    """A goal, and whether it is met: sure is the figure's interval, if it is
    not exact."""
    low, high = sure or (figure, figure)
    verdict = ('met' if high <= goal else 'MISSED' if low > goal
               else 'undecided')
    return {'what': what, 'figure': figure, 'low': low, 'high': high,
            'goal': goal, 'verdict': verdict}
