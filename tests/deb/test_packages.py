#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages that ./stack deb makes, on a Debian as it is installed.

A host with Debian's QEMU, SPICE and libvirt gets ours in their place, runs a
domain of the stock libvirt with them, and goes back. The tests are steps: each
finds the host as the one before it has left it.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import chroot                                           # noqa: E402
import deb                                              # noqa: E402
import deb_patched                                      # noqa: E402
import tap                                              # noqa: E402
from core import Layout                                 # noqa: E402
from fetch import Apt                                   # noqa: E402

LAYOUT = Layout(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build'))
PLACE = deb.Place(LAYOUT)
LOG = LAYOUT.log / 'deb-test.log'
TIMEOUT = 120
# Beside what is replaced: what an administrator has with it
LIBVIRT = ['libvirt-clients', 'libvirt-daemon-system']
# These bring GTK's development packages, which is all that there is to see
NOT_INSTALLED = ['libspice-client-glib-2.0-dev', 'libspice-client-gtk-3.0-dev']
# No disk: the firmware looks for one, and that is all that is needed
DOMAIN = '''
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <devices>
    <graphics type='spice' autoport='yes' listen='127.0.0.1'/>
    <video><model type='qxl'/></video>
    <memballoon model='none'/>
  </devices>
  {more}
</domain>
'''
POWER_ON = '''<qemu:commandline>
    <qemu:arg value='-spice'/><qemu:arg value='power=on'/>
  </qemu:commandline>'''


class Failed(AssertionError):
    pass


class Host:
    """A freshly installed Debian, in which commands are run."""

    def __init__(self, apt, name='host', log=LOG):
        self.log = log
        directory = PLACE.work / name
        if directory.exists():
            shutil.rmtree(directory)
        chroot.copy(PLACE.minbase, directory)
        self.dir = directory
        self.root = chroot.Root(directory, {
            '/var/cache/apt/archives': PLACE.archives, '/stack': PLACE.out})
        self.root.apt_from(apt)
        self.root.use_network()
        self.power_list = directory / 'etc/apt/sources.list.d/power.list'

    def run(self, *words, check=True, entered=None):
        """Run a command; return (status, what it printed)."""
        env = [f'{k}={v}' for k, v in chroot.environment().items()]
        command = ['env', '-i', *env, *words]
        done = subprocess.run(
            entered.command(*command) if entered else self.root.enter(command),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors='replace')
        with open(self.log, 'a') as log:
            log.write(f'$ {" ".join(map(str, words))}\n{done.stdout}'
                      f'[{done.returncode}]\n')
        if check and done.returncode:
            raise Failed(f'{" ".join(map(str, words))[:300]}: exit status '
                         f'{done.returncode}\n' + done.stdout[-3000:])
        return done.returncode, done.stdout

    def out(self, *words, **more):
        return self.run(*words, **more)[1]

    def apt(self, *words):
        # what apt downloads is all hosts', and apt does not wait for another
        with open(PLACE.work / 'apt.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self.out('apt-get', '-y', '-q', *words)

    def versions(self):
        """{package: version} of all that is installed."""
        return dict(line.split() for line in self.out(
            'dpkg-query', '-W', '-f',
            '${db:Status-Abbrev}|${Package} ${Version}\\n').replace(
                'ii |', '').splitlines())

    def files(self, packages):
        """{package: its files}."""
        return {package: set(self.out('dpkg', '-L', package).splitlines())
                for package in packages}

    def paths(self):
        """All that is there, but for what apt and dpkg write down."""
        notes = {'var/cache', 'var/log', 'var/backups', 'var/lib/apt',
                 'var/lib/dpkg', 'tmp', 'run'}
        found = set()
        for folder, folders, files in os.walk(self.dir):
            here = os.path.relpath(folder, self.dir)
            folders[:] = [name for name in folders
                          if os.path.normpath(f'{here}/{name}') not in notes]
            found |= {os.path.normpath(f'/{here}/{name}')
                      for name in (*folders, *files)}
        return found

    def unclean(self):
        """What dpkg finds to say about what is installed."""
        return (self.out('dpkg', '--audit')
                + self.run('dpkg', '--verify', check=False)[1])


class Libvirt:
    """The stock libvirtd of the host, with its daemon for logs."""

    MONITOR = '/var/log/libvirt/monitor.log'

    def __init__(self, host):
        self.host = host

    def __enter__(self):
        self.entered = chroot.Entered(self.host.root, network=False)
        self.entered.__enter__()
        try:
            self.run('virtlogd', '-d')
            self.run('env', 'LIBVIRT_LOG_FILTERS=1:qemu.qemu_monitor',
                     f'LIBVIRT_LOG_OUTPUTS=1:file:{self.MONITOR}',
                     'libvirtd', '-d')
            self.wait(lambda: not self.run('virsh', 'list', check=False)[0],
                      'libvirtd does not answer')
        except BaseException:
            self.entered.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.entered.__exit__(*exc)

    def run(self, *words, **more):
        return self.host.run(*words, entered=self.entered, **more)

    def out(self, *words, **more):
        return self.run(*words, **more)[1]

    def start(self, name, more=''):
        """A domain of that name, running; return its URI for a client."""
        (self.host.dir / 'root' / f'{name}.xml').write_text(
            DOMAIN.format(name=name, more=more))
        self.run('virsh', 'undefine', name, check=False)
        self.out('virsh', 'define', '--validate', f'/root/{name}.xml')
        self.out('virsh', 'start', name)
        return self.out('virsh', 'domdisplay', name).strip()

    def client(self, uri, *actions):
        """(exit status, output) of spicy-power."""
        return self.run('spicy-power', f'--uri={uri}', *actions, check=False)

    def state(self, name):
        return self.out('virsh', 'domstate', name).strip()

    def wait_event(self, event):
        """Wait until QEMU has told libvirt that."""
        log = Path(f'{self.host.dir}{self.MONITOR}')
        self.wait(lambda: f'"event": "{event}"' in log.read_text(
            errors='replace'), f'{event} did not come')

    def wait_state(self, name, state):
        self.wait(lambda: self.state(name) == state,
                  f'{name} is not {state}')

    @staticmethod
    def wait(true, complaint):
        deadline = time.monotonic() + TIMEOUT
        while not true():
            if time.monotonic() > deadline:
                raise Failed(complaint)
            time.sleep(0.1)


def setUpModule():
    global STATE, HOST, DEBS, STOCK
    STATE = PLACE.state()
    missing = [name for name in deb.PATCHED if name not in STATE]
    if missing:
        raise unittest.SkipTest(
            'not built: ./stack deb' + (f' ({", ".join(missing)})'
                                        if len(missing) < len(deb.PATCHED)
                                        else ''))
    if os.geteuid() != 0:
        raise unittest.SkipTest('needs root')
    LOG.unlink(missing_ok=True)
    # {package: (its file, the version it replaces, its own)}
    DEBS = {package: (file, STATE[name]['stock'], STATE[name]['version'])
            for name in deb.PATCHED
            for package, file in STATE[name]['packages'].items()}
    HOST = Host(Apt(LAYOUT, deb.RELEASE, updates=True))
    STOCK = {}


class Packages(unittest.TestCase):
    def need(self, what):
        if what not in STOCK:
            self.fail('a step before this has failed')
        return STOCK[what]

    def test_1_versions(self):
        """Ours come after Debian's, and before its next one."""
        def is_less(a, b):
            return not subprocess.run(
                ['dpkg', '--compare-versions', a, 'lt', b]).returncode
        for package, (_, stock, ours) in DEBS.items():
            with self.subTest(package=package):
                following = re.sub(r'(\d+)$', lambda m: str(int(m[1]) + 1),
                                   stock)
                for older in stock, f'{stock}+b1', f'{stock}+b11':
                    self.assertTrue(is_less(older, ours), (older, ours))
                for newer in (following, f'{stock}+deb13u1', f'{stock}.1',
                              deb.our_version(stock, 1000)):
                    self.assertTrue(is_less(ours, newer), (ours, newer))

    def test_2_stock(self):
        """A host with Debian's own packages."""
        names = [name for name in DEBS if name not in NOT_INSTALLED]
        HOST.apt('update')
        HOST.apt('upgrade')
        HOST.apt('install', '--no-install-recommends', *names, *LIBVIRT)
        versions = HOST.versions()
        self.assertEqual([], [p for p in names
                              if not versions[p].startswith(DEBS[p][1])])
        self.assertEqual('', HOST.unclean())
        STOCK['files'] = HOST.files(names)
        STOCK['versions'] = versions

    def test_3_replace(self):
        """An upgrade puts ours in their place, and changes nothing else."""
        stock = self.need('versions')
        HOST.power_list.write_text('deb [trusted=yes] file:/stack ./\n')
        HOST.apt('update')
        HOST.apt('upgrade')
        ours = HOST.versions()
        self.assertEqual(
            {p: DEBS[p][2] for p in STOCK['files']},
            {p: v for p, v in ours.items() if stock.get(p) != v})
        self.assertEqual(set(stock), set(ours))
        self.assertEqual('', HOST.unclean())
        for package, files in HOST.files(STOCK['files']).items():
            with self.subTest(package=package):
                missing = STOCK['files'][package] - files
                # those with an architecture are of a rebuild by Debian
                self.assertEqual([], [path for path in missing if not
                                      re.search(r'/changelog\.Debian\.\w+\.gz$',
                                                path)])
                STOCK.setdefault('added', set()).update(
                    files - STOCK['files'][package])
        STOCK['ours'] = ours

    def test_4_domain(self):
        """Stock libvirt's domain runs as ever, and offers nothing."""
        self.need('ours')
        with Libvirt(HOST) as libvirt:
            uri = libvirt.start('plain')
            status, text = libvirt.client(uri, 'status')
            self.assertEqual(3, status, text)
            self.assertEqual('running', libvirt.state('plain'))
            libvirt.out('virsh', 'reset', 'plain')
            libvirt.out('virsh', 'destroy', 'plain')

    def test_5_power(self):
        """With power=on a client presses the buttons."""
        self.need('ours')
        with Libvirt(HOST) as libvirt:
            uri = libvirt.start('power', POWER_ON)
            status, text = libvirt.run(
                'spicy-power', f'--uri={uri}', '--json', 'status', check=False)
            self.assertEqual(0, status, text)
            self.assertIn('"on"', text)
            for action, event in (('reset', 'RESET'), ('pause', 'STOP'),
                                  ('continue', 'RESUME'), ('off', 'SHUTDOWN')):
                status, text = libvirt.client(uri, action)
                self.assertEqual(0, status, f'{action}: {text}')
                libvirt.wait_event(event)
            libvirt.wait_state('power', 'shut off')

    def test_6_back(self):
        """Without our packages the host is what it was."""
        ours = self.need('ours')
        HOST.power_list.unlink()
        HOST.apt('update')
        HOST.apt('install', '--allow-downgrades', *(
            f'{p}/{deb.RELEASE}' for p, v in ours.items()
            if deb_patched.SUFFIX in v))
        HOST.apt('upgrade')
        self.assertEqual(STOCK['versions'], HOST.versions())
        self.assertEqual('', HOST.unclean())
        self.assertEqual(STOCK['files'], HOST.files(STOCK['files']))
        with Libvirt(HOST) as libvirt:
            libvirt.start('plain')
            with self.assertRaisesRegex(Failed, "Invalid parameter 'power'"):
                libvirt.start('power', POWER_ON)

    def test_7_purge(self):
        """Of ours nothing more is left than of Debian's own."""
        names = sorted(self.need('files'))
        left = {}
        for whose in 'stock', 'ours':
            if whose == 'ours':
                HOST.power_list.write_text(
                    'deb [trusted=yes] file:/stack ./\n')
                HOST.apt('update')
                HOST.apt('install', '--no-install-recommends', *names)
                self.assertEqual({p: DEBS[p][2] for p in names}, {
                    p: v for p, v in HOST.versions().items() if p in names})
            HOST.apt('purge', *names)
            HOST.power_list.unlink(missing_ok=True)
            left[whose] = HOST.paths()
        self.assertEqual([], sorted(left['ours'] - left['stock']))
        self.assertEqual([], sorted(left['stock'] - left['ours']))
        # nor configuration files, which dpkg keeps of what is only removed
        self.assertNotIn(deb_patched.SUFFIX, HOST.out(
            'dpkg-query', '-W', '-f', '${Package} ${Version}\\n'))
        self.assertEqual('', HOST.unclean())

    def test_8_lintian(self):
        """lintian finds no error that it does not find in Debian's own."""
        self.need('versions')
        HOST.power_list.unlink(missing_ok=True)
        HOST.apt('update')
        HOST.apt('install', '--no-install-recommends', 'lintian')
        stock, ours = HOST.dir / 'stock', HOST.dir / 'ours'
        for path in stock, ours:
            path.mkdir()
        HOST.out('sh', '-c', 'cd /stock && exec apt-get download -q "$@"', 'sh',
                 *DEBS)
        for name in deb.PATCHED:
            entry = STATE[name]
            for file in entry['files']:
                if not file.endswith(('.changes', '.buildinfo')):
                    os.link(PLACE.out / file, ours / file)
            source = Path(entry['stock-source'])
            for line in source.read_text().splitlines():
                m = re.fullmatch(r' [0-9a-f]{64} \d+ (\S+)', line)
                if m:
                    shutil.copy(source.parent / m[1], stock)
            shutil.copy(source, stock)
        found = {name: self.errors(name) for name in ('stock', 'ours')}
        for error in sorted(found['ours'] & found['stock']):
            tap.note(f"in Debian's own package, too: {error}")
        self.assertEqual(set(), found['ours'] - found['stock'])
        # none at all in what is new
        added = {path.lstrip('/') for path in self.need('added')}
        self.assertEqual([], [error for error in found['ours']
                              if added & set(re.split(r'[][\s]+', error))])

    @staticmethod
    def errors(directory):
        text = HOST.out('sh', '-c', f'cd /{directory} && lintian --allow-root '
                        '--fail-on none --display-level error *.deb *.dsc')
        return set(re.findall(r'^E: (.*)$', text, re.M))


if __name__ == '__main__':
    tap.main()
