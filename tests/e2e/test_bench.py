#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack bench measures what it says, of every way, each time.

What the figures are does not matter here. Its part "cost" is left out: that
builds two more libraries, and counts with valgrind.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places                          # noqa: E402

BENCH = places.ROOT / 'tests' / 'bench' / 'bench.py'
ENDPOINTS = BENCH.with_name('endpoints.py')
DOCUMENT = places.ROOT / 'docs' / 'measurements.rst'
FIGURES = DOCUMENT.with_suffix('.json')
ALL = {'reset', 'pause', 'continue'}
WAYS = {
    'unix': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'},
             'SPICE by spice-gtk': {'reset'}, 'XVP by gvnc': {'reset'}},
    'tcp': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'},
            'SPICE by spice-gtk': {'reset'}, 'XVP by gvnc': {'reset'}},
    'tls': {'SPICE': ALL, 'QMP': ALL, 'XVP': {'reset'}},
    'libvirt': {'SPICE, managed': ALL, 'virsh': ALL,
                'virsh, started for it': {'reset'}},
}


class Bench(case.PowerTestCase):
    def bench(self, *arguments, script=BENCH, status=0, may_lack=False):
        done = subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE='1'),
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        (self.log_dir / 'bench.log').write_text(done.stdout + done.stderr)
        if may_lack and done.stderr.startswith('error: no '):
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, status, done.stderr[-2000:])
        return done.stderr if status == 2 else done.stdout

    def test_whole(self):
        """All that it measures is there, and told"""
        path = self.log_dir / 'bench.json'
        said = self.bench('latency', 'broadcast', 'cycles', '--quick',
                          '--json', path)
        figures = json.loads(path.read_text())

        with self.subTest('latency'):
            found = {}
            for row in figures['latency']['ways']:
                self.assertEqual(row['n'], 2, row)
                self.assertEqual(len(row['ms']), 2, row)
                self.assertLess(0, row['median'], row)
                self.assertLessEqual(row['median'], row['p95'], row)
                self.assertLessEqual(row['p95'], row['p99'], row)
                found.setdefault(row['load'], {}).setdefault(
                    row['transport'], {}).setdefault(
                        row['way'], set()).add(row['action'])
            self.assertEqual(found, {'idle': WAYS, 'drawing': WAYS})

        with self.subTest('the display is read where there is one'):
            for row in figures['latency']['display']:
                if row['load'] == 'drawing':
                    self.assertLess(30, row['at least'], row)

        with self.subTest('broadcast'):
            self.assertEqual(
                [(row['clients'], row['message'])
                 for row in figures['broadcast']],
                [(count, message) for count in (1, 5, 10)
                 for message in ('power state', 'mouse mode')])
            for row in figures['broadcast']:
                self.assertLess(0, row['median'], row)

        with self.subTest('cycles'):
            self.assertEqual(figures['cycles']['cycles'], 10)
            self.assertEqual(set(figures['cycles']['ways']), {'SPICE', 'QMP'})
            for row in figures['cycles']['ways'].values():
                self.assertEqual(len(row['tenths (ms)']), 40)
                self.assertEqual(len(row['tenths (kB)']), 41)

        with self.subTest('the goals are judged'):
            self.assertTrue(figures['goals'])
            for goal in figures['goals']:
                self.assertEqual(
                    goal['verdict'],
                    'met' if goal['high'] <= goal['goal'] else
                    'MISSED' if goal['goal'] < goal['low'] else 'undecided')
                self.assertIn(goal['what'], said)
            for like in ('SPICE to the better of QMP and XVP',
                         'SPICE by spice-gtk to XVP by gvnc',
                         'SPICE, managed to virsh'):
                self.assertIn(f'reset: {like}\n', said)

        with self.subTest('the same figures again, from the file'):
            self.assertEqual(self.bench('--from', path), said)

        with self.subTest('and they go into the tables of the documentation'):
            copy = self.log_dir / 'measurements.rst'
            shutil.copy(DOCUMENT, copy)
            self.bench('--from', path, '--rst', copy)
            self.assertIn(f'Of {figures["date"]}; ', copy.read_text())
            row = next(row for row in figures['latency']['ways'] if
                       (row['load'], row['transport'], row['action'],
                        row['way']) == ('idle', 'tls', 'reset', 'SPICE'))
            self.assertRegex(copy.read_text(), r'(?m)^idle: reset +tls +'
                             + re.escape(f'{row["median"]:.2f} '))

        with self.subTest('a goal that is missed is an error if one says so'):
            figures['broadcast'][-2]['ms'] = [1e6, 1e6]
            path.write_text(json.dumps(figures))
            self.assertIn('MISSED', self.bench('--from', path))
            self.bench('--from', path, '--strict', status=1)

    def test_document(self):
        """The tables of the documentation are those of its figures"""
        if not FIGURES.exists():
            self.skipTest(f'there is no {places.rel(FIGURES)}')
        copy = self.log_dir / 'measurements.rst'
        shutil.copy(DOCUMENT, copy)
        self.bench('--from', FIGURES, '--rst', copy)
        self.assertEqual(copy.read_text(), DOCUMENT.read_text())

    def test_trace(self):
        """How far QEMU gets when"""
        path = self.log_dir / 'bench.json'
        said = self.bench('trace', '--quick', '--json', path, may_lack=True)
        figures = json.loads(path.read_text())
        for load in 'idle', 'drawing':
            ways = figures['trace']['loads'][load]
            self.assertEqual(list(ways), ['SPICE', 'QMP', 'XVP',
                                          'SPICE by spice-gtk', 'XVP by gvnc'])
            for name, found in ways.items():
                with self.subTest(f'{load}: {name}'):
                    steps = found['steps (us)']
                    self.assertIn('it reads the request', steps)
                    self.assertIn('qemu_system_reset_request()', steps)
                    self.assertEqual('power_request()' in steps,
                                     name.startswith('SPICE'))
                    # they are medians, of two
                    self.assertLess(0, steps['it reads the request'])
                    self.assertLess(steps['it reads the request'],
                                    steps['RESET is to be written'])
                    self.assertLess(0, found['RESET without probes (us)'])
        self.assertIn('the same without probes', said)

    def test_browser(self):
        """From a click to the reset, beside the figures of an earlier run"""
        path = self.log_dir / 'bench.json'
        said = self.bench('browser', '--quick', '--from', FIGURES, '--json',
                          path, may_lack=True)
        earlier, figures = (json.loads(file.read_text())
                            for file in (FIGURES, path))
        ways = figures['browser']['ways']
        self.assertEqual(set(ways), {'SPICE by spice-html5', 'XVP by noVNC'})
        for name, row in ways.items():
            with self.subTest(name):
                self.assertEqual(len(row['ms']), 2)
                self.assertLess(0, min(row['ms']))
        self.assertIn('SPICE by spice-html5 to XVP by noVNC\n', said)
        for name in 'date', 'latency', 'cycles':
            self.assertEqual(figures[name], earlier[name])
        self.assertIn('browser', figures['anew'])

    def test_endpoints(self):
        """What many hosts of a spice-gateway behind one address take"""
        if not shutil.which('haproxy'):
            self.skipTest('there is no haproxy')
        path = self.log_dir / 'endpoints.json'
        self.bench('--quick', '--json', path, script=ENDPOINTS)
        found = json.loads(path.read_text())
        self.assertEqual(found['endpoints'], 3)
        self.assertEqual(found['channels'], 4)
        # a connection for each channel, what its SPICE server has, which is
        # made for it, and perhaps a poll at that moment; in HAProxy two
        self.assertAlmostEqual(found['session']['descriptors'], 10, delta=3)
        self.assertEqual(found['session in proxy']['descriptors'], 8)
        # there is a picture, of 720x400 with 4 bytes
        self.assertLess(1000, found['session']['memory'])

    def test_output(self):
        """It does not measure what it could not write"""
        for option in '--json', '--plot':
            with self.subTest(option):
                if option == '--plot' and not shutil.which('gnuplot'):
                    continue
                said = self.bench(option, self.log_dir / 'none' / 'file',
                                  status=2)
                self.assertIn('none/file could not be written', said)


if __name__ == '__main__':
    case.main()
