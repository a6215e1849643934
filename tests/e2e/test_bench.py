#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack bench measures what it says, of every way, each time.

What the figures are does not matter here. Its part "cost" is left out: that
builds two more libraries, and counts with valgrind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places                          # noqa: E402

BENCH = places.ROOT / 'tests' / 'bench' / 'bench.py'
ALL = {'reset', 'pause', 'continue'}
WAYS = {
    'unix': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'},
             'XVP by gvnc': {'reset'}},
    'tcp': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'},
            'XVP by gvnc': {'reset'}},
    'tls': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'}},
    'libvirt': {'SPICE, managed': ALL, 'virsh': ALL,
                'virsh, started for it': {'reset'}},
}


class Bench(case.PowerTestCase):
    def bench(self, *arguments):
        done = subprocess.run(
            [sys.executable, str(BENCH), *map(str, arguments)],
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE='1'),
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        (self.log_dir / 'bench.log').write_text(done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return done.stdout

    def test_whole(self):
        """All that it measures is there, and told"""
        path = self.log_dir / 'bench.json'
        said = self.bench('latency', 'broadcast', 'cycles', '--quick',
                          '--json', path)
        figures = json.loads(path.read_text())

        with self.subTest('latency'):
            found = {}
            for row in figures['latency']:
                self.assertEqual(row['n'], 2, row)
                self.assertLess(0, row['median'], row)
                self.assertLessEqual(row['median'], row['p95'], row)
                self.assertLessEqual(row['p95'], row['p99'], row)
                found.setdefault(row['load'], {}).setdefault(
                    row['transport'], {}).setdefault(
                        row['way'], set()).add(row['action'])
            self.assertEqual(found, {'idle': WAYS, 'drawing': WAYS})

        with self.subTest('broadcast'):
            self.assertEqual(
                [(row['clients'], row['message'])
                 for row in figures['broadcast']],
                [(count, message) for count in (1, 10)
                 for message in ('power state', 'mouse mode')])
            for row in figures['broadcast']:
                self.assertLess(0, row['cost']['median'], row)

        with self.subTest('cycles'):
            self.assertEqual(figures['cycles']['cycles'], 10)
            self.assertEqual(len(figures['cycles']['tenths (ms)']), 10)

        with self.subTest('the goals are judged'):
            self.assertTrue(figures['goals'])
            for goal in figures['goals']:
                self.assertEqual(goal['met'], goal['ratio'] <= goal['goal'])
                self.assertIn(goal['what'], said)

        with self.subTest('the same figures again, from the file'):
            self.assertEqual(self.bench('--from', path), said)


if __name__ == '__main__':
    case.main()
