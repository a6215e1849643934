#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages of spice-gateway and spice-endpoints, on a Debian as it comes.

The tests are steps: each finds the host as the one before it has left it.
"""

import os
import re
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'scripts'),
                str(HERE.parent / 'lib')]

import deb                                              # noqa: E402
import deb_own                                          # noqa: E402
import deb_patched                                      # noqa: E402
import tap                                              # noqa: E402
import test_packages as packages                        # noqa: E402
from fetch import Apt                                   # noqa: E402

PLACE = packages.PLACE
NAMES = list(deb_own.FOLDERS)
UNITS = ['spice-gateway.service', 'spice-gateway.socket',
         'spice-endpoints.service']
# what the tests use beside
TOOLS = ['dpkg-dev', 'ipmitool', 'lintian', 'openssl', 'systemd']
# as the services have it; who runs in it has no rights
SANDBOX = ('mount -t proc -o hidepid=invisible,subset=pid proc /proc && '
           'exec setpriv --reuid=65534 --regid=65534 --clear-groups '
           '--no-new-privs --bounding-set=-all --inh-caps=-all "$0" "$@"')


def setUpModule():
    global STATE, HOST, DONE
    STATE = PLACE.state()
    missing = [name for name in NAMES if name not in STATE]
    if missing:
        raise unittest.SkipTest(
            f'not built: ./stack deb {" ".join(missing)}')
    if os.geteuid() != 0:
        raise unittest.SkipTest('needs root')
    log = packages.LAYOUT.log / 'deb-own-test.log'
    log.unlink(missing_ok=True)
    HOST = packages.Host(Apt(packages.LAYOUT, deb.RELEASE, updates=True),
                         'host-own', log)
    DONE = {}


def text(path):
    return (HOST.dir / path.lstrip('/')).read_text()


def write(path, content):
    path = HOST.dir / path.lstrip('/')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


class Own(unittest.TestCase):
    def need(self, what):
        if what not in DONE:
            self.fail('a step before this has failed')
        return DONE[what]

    def test_1_install(self):
        """apt installs them with our server library; nothing is started."""
        HOST.power_list.write_text('deb [trusted=yes] file:/stack ./\n')
        HOST.apt('update')
        HOST.apt('upgrade')
        HOST.apt('install', '--no-install-recommends', *TOOLS)
        planned = HOST.out('apt-get', 'install', '-s',
                           '--no-install-recommends', *NAMES)
        found = re.findall(r'^Inst (\S+)', planned, re.M)
        HOST.apt('install', '--no-install-recommends',
                 *(name for name in found if name not in NAMES))
        DONE['before'] = HOST.paths()
        DONE['users'] = text('/etc/passwd'), text('/etc/group')
        HOST.apt('install', '--no-install-recommends', *NAMES)
        versions = HOST.versions()
        self.assertEqual({name: STATE[name]['version'] for name in NAMES},
                         {name: versions[name] for name in NAMES})
        self.assertIn(deb_patched.SUFFIX, versions['libspice-server1'])
        self.assertEqual('', HOST.unclean())
        # systemd makes the users of the services while they run
        self.assertEqual(DONE['users'], (text('/etc/passwd'),
                                         text('/etc/group')))
        enabled = [path for path in HOST.paths()
                   if path.startswith('/etc/systemd')
                   and path.endswith(tuple(UNITS))]
        self.assertEqual([], enabled)
        DONE['installed'] = True

    def test_2_programs(self):
        """They run, and say what is missing."""
        self.need('installed')
        for name in 'spice-gateway', 'spice-bmc':
            self.assertRegex(HOST.out(name, '--version'), r'^\S+ 0\.1\n$')
        status, said = HOST.run('spice-gateway', '--check-config', check=False)
        self.assertEqual(2, status, said)
        self.assertIn('/etc/spice-gateway', said)
        self.assertIn('--follow', HOST.out('spice-endpoints', '--help'))
        for page in 'spice-gateway', 'spice-bmc', 'spice-endpoints':
            self.assertTrue((HOST.dir / 'usr/share/man/man1'
                             / f'{page}.1.gz').exists(), page)

    def test_3_example(self):
        """The example is right, with a secret of the kind that it has."""
        self.need('installed')
        example = '/usr/share/doc/spice-gateway/examples'
        write('/run-credentials/secrets_ipmi-password', 'secret\n')
        secret = HOST.dir / 'run-credentials/secrets_ipmi-password'
        secret.chmod(0o600)
        try:
            HOST.out('env', 'CREDENTIALS_DIRECTORY=/run-credentials',
                     'spice-gateway', '--config', example, '--check-config')
        finally:
            secret.unlink()
            secret.parent.rmdir()
        status, said = HOST.run('spice-gateway', '--config', example,
                                '--check-config', check=False)
        self.assertEqual(2, status, said)
        self.assertIn('secrets_ipmi-password', said)

    def test_4_units(self):
        """systemd finds no fault with them, nor much that they may do."""
        self.need('installed')
        for unit in UNITS:
            with self.subTest(unit=unit):
                self.assertEqual('', HOST.out(
                    'systemd-analyze', 'verify', '--man=no',
                    f'/usr/lib/systemd/system/{unit}'))
                if unit.endswith('.service'):
                    HOST.out('systemd-analyze', 'security', '--offline=yes',
                             '--threshold=25', '--no-pager', unit)

    def test_5_sandbox(self):
        """A process finds its own program by /proc, as the unit has that."""
        self.need('installed')
        for words in (['spice-gateway', '--version'],
                      ['sh', '-c', 'exec /proc/self/exe -c "exit 7"']):
            status, said = HOST.run('sh', '-c', SANDBOX, *words, check=False)
            self.assertEqual(7 if 'sh' in words else 0, status, said)

    def test_6_haproxy(self):
        """HAProxy takes spice.cfg, with the map that there is at first."""
        self.need('installed')
        config = ('-f', '/etc/haproxy/haproxy.cfg', '-f',
                  '/etc/haproxy/spice.cfg')
        HOST.out('haproxy', '-c', *config)
        write('/root/list', 'vm1.example.org 192.0.2.1 5901\n')
        try:
            HOST.out('spice-endpoints', '--list', '/root/list',
                     '/var/lib/spice-endpoints/spice.map')
        finally:
            (HOST.dir / 'root/list').unlink()
        self.assertIn('vm1.example.org 192.0.2.1/5901',
                      text('/var/lib/spice-endpoints/spice.map'))
        HOST.out('haproxy', '-c', *config)

    def test_6_web(self):
        """And web.cfg, with what it wants: a page, and certificates."""
        self.need('installed')
        page = '/usr/share/spice-html5/console.html'
        there = HOST.paths()
        write(page, '<html></html>\n')
        try:
            HOST.out('sh', '-ec', 'cd /etc/haproxy; openssl req -x509 '
                     '-newkey rsa:2048 -nodes -days 1 -subj /CN=a '
                     '-keyout spice-web.pem -out spice-ca.pem; '
                     'cat spice-ca.pem >> spice-web.pem')
            for more in (), ('-f', '/etc/haproxy/spice.cfg'):
                HOST.out('haproxy', '-c', '-f', '/etc/haproxy/haproxy.cfg',
                         *more, '-f', '/etc/haproxy/web.cfg')
        finally:
            HOST.out('rm', '-rf', str(Path(page).parent),
                     '/etc/haproxy/spice-web.pem', '/etc/haproxy/spice-ca.pem')
        self.assertEqual(there, HOST.paths())

    def test_7_upgrade(self):
        """What has been changed stays, what has not is the new one's."""
        self.need('installed')
        changed = ['/etc/spice-gateway/defaults.conf',
                   '/etc/default/spice-endpoints']
        for path in changed:
            write(path, text(path) + '# changed here\n')
        new = {'spice-gateway': 'usr/share/doc/spice-gateway/examples/'
                                'defaults.conf',
               'spice-endpoints': 'etc/haproxy/spice-name.lua'}
        for name, file in new.items():
            self.repack(name, file)
        HOST.apt('install', *(f'/new/{name}.deb' for name in NAMES))
        versions = HOST.versions()
        for name, file in new.items():
            self.assertEqual(STATE[name]['version'] + '.1', versions[name])
            self.assertIn('# of the new one', text(file))
        for path in changed:
            self.assertIn('# changed here', text(path))
        left = [path for path in HOST.paths()
                if re.search(r'\.dpkg-\w+$', path)]
        self.assertEqual([], left)

    def repack(self, name, file):
        """A newer package, with another file."""
        tree = f'/new/{name}'
        HOST.out('mkdir', '-p', '/new')
        HOST.out('dpkg-deb', '-R', f'/stack/{STATE[name]["packages"][name]}',
                 tree)
        control = f'{tree}/DEBIAN/control'
        write(control, re.sub(r'^(Version: .*)$', r'\1.1', text(control),
                              flags=re.M))
        write(f'{tree}/{file}', text(f'{tree}/{file}') + '# of the new one\n')
        HOST.out('dpkg-deb', '-b', tree, f'{tree}.deb')
        HOST.out('rm', '-r', tree)

    def test_8_purge(self):
        """Nothing is left of them but what is not theirs."""
        before = self.need('before')
        own = '/etc/spice-gateway/machines/own.conf'
        write(own, '[machine]\n')
        HOST.out('rm', '-rf', '/new')
        HOST.apt('purge', *NAMES)
        left = HOST.paths() - before
        self.assertEqual([str(path) for path in (
            *reversed(Path(own).parents[:2]), own)], sorted(left))
        self.assertEqual([], sorted(before - HOST.paths()))
        self.assertEqual(DONE['users'], (text('/etc/passwd'),
                                         text('/etc/group')))
        self.assertEqual('', HOST.unclean())

    def test_9_lintian(self):
        """lintian has nothing to say, neither errors nor warnings."""
        self.need('installed')
        for name in NAMES:
            with self.subTest(package=name):
                files = [f'/stack/{file}' for file in STATE[name]['files']
                         if file.endswith(('.deb', '.dsc'))]
                said = HOST.out('lintian', '--allow-root', '--fail-on', 'none',
                                *files)
                self.assertEqual([], re.findall(r'^[EW]: .*$', said, re.M))


if __name__ == '__main__':
    tap.main()
