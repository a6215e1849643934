#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Old and new client, SPICE library and QEMU: all that can meet.

Old is Debian's own, unpatched; new is ours. Where one of the three does not
know power control there is none, and all goes on as it did before: the
programs do what they are for, stay connected, and have nothing more to
complain about; on the wire nothing is said that was not said before.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places, spicypower, wire, x11   # noqa: E402
from powertest.machine import Machine, StartError       # noqa: E402
from powertest.record import Record, reader             # noqa: E402
from powertest.wiretap import Wiretap                   # noqa: E402

HERE = Path(__file__).parent
# A screen, and a firmware that writes on it; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
          '-device', 'VGA', '-name', 'skew')
CHANNELS = {1, 2, 3, 4}         # main, display, inputs, cursor
# What people report, of all that a program may say on standard error
COMPLAINT = re.compile(r'critical|warning|error|fail|unknown|unhandled|'
                       r'unexpected|invalid|report a bug|assert|parse', re.I)
# and what differs in it from one run to the next
VARIABLE = re.compile(r'(?<=:)\d+(?=\):)|\d\d:\d\d:\d\d\.\d+|0x[0-9a-f]+|'
                      r'/tmp/spice-power-\w+|\S+\.(c|cpp):\d+')
# The main channel's capabilities before there was power control
BEFORE = {wire.CAP_SEMI_SEAMLESS_MIGRATE, wire.CAP_NAME_AND_UUID,
          wire.CAP_AGENT_CONNECTED_TOKENS, wire.CAP_SEAMLESS_MIGRATE}
POWER = {wire.CAP_POWER_CONTROL, wire.CAP_CONTROL_ONLY,
         *wire.POWER_CAPS.values()}

OLD, NEW = 'old', 'new'
PROGRAMS = {OLD: places.STOCK / 'usr/bin', NEW: places.PREFIX / 'bin'}
SCREENSHOT = 'spicy-screenshot'
# remote-viewer is of a project of its own, and there is no new one yet
VIEWERS = {OLD: ('spicy-stats', 'spicy', 'remote-viewer'),
           NEW: ('spicy-stats', 'spicy')}
WINDOWS = {'spicy': 'spice display', 'remote-viewer': 'skew'}


def unpack():
    """Debian's programs, and our QEMU with Debian's library."""
    places.need_stock()
    done = subprocess.run([sys.executable, str(HERE / 'oldspice.py'),
                           '--build-dir', str(places.BUILD)], text=True,
                          stdin=subprocess.DEVNULL, errors='replace',
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise places.Missing(done.stderr.strip())


def complaints(lines):
    return {VARIABLE.sub('*', line).strip() for line in lines
            if COMPLAINT.search(line)}


def library_of(process, name):
    """Which file a running program has loaded as this library."""
    maps = Path(f'/proc/{process.pid}/maps').read_text()
    found = {line.split(maxsplit=5)[5] for line in maps.splitlines()
             if f'/{name}.so' in line}
    return {Path(path) for path in found}


class Seen(NamedTuple):
    """How a client and a server got on with each other."""
    said: dict              # by program: what it complains about
    talks: list             # the conversations on the wire of one of them


class SkewCase(case.PowerTestCase):
    screen = None           # the X server's DISPLAY, for all tests

    @classmethod
    def tearDownClass(cls):
        cls.doClassCleanups()

    @classmethod
    def display(cls):
        """An X server of our own; its DISPLAY."""
        if cls.screen is None:
            cls.screen = cls.enterClassContext(
                x11.server(places.LOG / 'Xvfb.log'))
        return cls.screen

    def environment(self, client, libraries=None):
        """A client's; with other libraries than its own, if they are given."""
        home = self.log_dir / 'home'
        home.mkdir(exist_ok=True)
        env = (places.stock_environment() if client == OLD
               else places.environment())
        if libraries:
            env['LD_LIBRARY_PATH'] = ':'.join(map(str, libraries))
        return dict(env, HOME=str(home), XDG_RUNTIME_DIR=str(home),
                    GSETTINGS_BACKEND='memory', NO_AT_BRIDGE='1',
                    DBUS_SESSION_BUS_ADDRESS='disabled:',
                    GDK_BACKEND='x11', DISPLAY=self.display())

    # --- the server ----------------------------------------------------------

    def server(self, library, qemu, spice=None, name='qemu', **options):
        """Power control is on where both know it."""
        if qemu == NEW:
            which = None if library == NEW else places.oldspice_qemu()
        else:
            which = places.stock_qemu([places.PREFIX / 'lib']
                                      if library == NEW else [])
        if spice is None:
            spice = 'power=on' if (library, qemu) == (NEW, NEW) else ''
        vm = self.machine(spice, qemu=which, hardware=SCREEN, name=name,
                          extra=('-action', 'shutdown=pause'), **options)
        expected = (places.PREFIX / 'lib' if library == NEW
                    else places.STOCK_LIBRARIES[0])
        loaded, = library_of(vm.process, 'libspice-server')
        self.assertEqual(loaded.parent, expected)
        return vm

    def act(self, vm, power):
        """All that can happen to a machine while others look at it."""
        mark = vm.qmp.mark()
        if power:
            run = spicypower.run(vm.uri, 'pause', 'continue', 'reset', 'off',
                                 'on', 'pause', 'reset', 'continue')
            self.assertEqual(run.code, 0, run.err + run.out)
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
        for command, event in (('stop', 'STOP'), ('cont', 'RESUME'),
                               ('system_reset', 'RESET')):
            mark = vm.qmp.mark()
            vm.qmp.execute(command)
            vm.qmp.wait_event(event, mark)

    # --- the clients ---------------------------------------------------------

    def screenshot(self, vm, client):
        """Take a picture; what it says, and what is said on the wire."""
        picture = self.log_dir / 'screenshot.ppm'
        mark = vm.qmp.mark()
        picture.unlink(missing_ok=True)
        with Wiretap(vm) as tap:
            done = subprocess.run(
                [PROGRAMS[client] / SCREENSHOT, f'--uri={tap.uri}', '-o',
                 picture], env=self.environment(client), text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=60)
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(picture.read_bytes().startswith(b'P6'))
        return complaints(done.stdout.splitlines()), tap.conversations()

    @contextlib.contextmanager
    def viewer(self, vm, client, program, libraries=None):
        """A client that stays connected; it goes when QEMU does.

        Gives a Record of what it says.
        """
        output = Record(program)
        mark = vm.qmp.mark()
        viewer = subprocess.Popen(
            [PROGRAMS[client] / program,
             ('' if program == 'remote-viewer' else '--uri=') + vm.uri],
            env=self.environment(client, libraries), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            reader(viewer.stdout, output,
                   lambda line: line.decode(errors='replace').rstrip())
            for channel in CHANNELS:
                vm.qmp.events.wait(
                    lambda e: e['event'] == 'SPICE_INITIALIZED'
                    and e['data']['client'].get('channel-type') == channel,
                    f'the viewer on channel {channel}', mark)
            if program in WINDOWS:
                x11.wait_window(self.display(), WINDOWS[program])
            expected = (libraries or [places.STOCK_LIBRARIES[0]
                                      if client == OLD
                                      else places.PREFIX / 'lib'])[0]
            loaded = library_of(viewer, 'libspice-client-glib-2.0')
            self.assertEqual({path.parent for path in loaded}, {expected})
            connections = vm.main_connections()
            yield output
            self.assertEqual(vm.main_connections(), connections)
            # it reads all that it was sent before it sees the end, and goes
            vm.qmp.execute('quit')
            self.assertEqual(viewer.wait(30), 0, output.since())
        finally:
            viewer.kill()
            viewer.wait()
            output.wait_end()
            viewer.stdout.close()
            (self.log_dir / f'{vm.name}-{program}.log').write_text(
                '\n'.join(output.since()) + '\n')

    def get_on(self, client, library, qemu):
        """Run all clients of a kind with a server; return what was Seen."""
        power = (library, qemu) == (NEW, NEW)
        vm = self.server(library, qemu)
        said = {}
        said[SCREENSHOT], talks = self.screenshot(vm, client)
        self.leave(vm)
        if client == NEW:
            self.spicy_power(vm, power)
            self.python(vm, power)
        self.assertEqual(vm.qmp.status, 'running')
        logs = []
        for program in VIEWERS[client]:
            if logs:                    # each viewer sees the end of a server
                vm = self.server(library, qemu, name=f'qemu-{program}')
            logs.append(self.log_dir / f'{vm.name}.log')
            with self.viewer(vm, client, program) as output:
                self.act(vm, power)
            said[program] = complaints(output.since())
        said['qemu'] = set()
        for log in logs:                # the first line is how it was started
            said['qemu'] |= complaints(log.read_text().splitlines()[1:])
        return Seen(said, talks)

    def leave(self, vm):
        """Go without having read what there is: QEMU has a word for that.

        spicy-power does it where it finds no power control.
        """
        mark = vm.qmp.mark()
        with wire.Client(vm.connect(), caps=()) as client:
            client.send(wire.MSGC_ATTACH_CHANNELS)
            client.sock.recv(1, socket.MSG_PEEK)
        vm.qmp.wait_event('SPICE_DISCONNECTED', mark)

    def spicy_power(self, vm, power):
        """spicy-power tells that there is no power control: exit code 3."""
        if power:
            run = spicypower.run(vm.uri, 'status', 'pause', 'continue')
            self.assertEqual((run.code, run.err), (0, ''))
            return
        for word in ('status', *spicypower.ACTIONS, 'monitor', '-'):
            with self.subTest(word):
                run = spicypower.run(vm.uri, word, json_output=False)
                self.assertEqual(run.code, spicypower.NO_POWER_CONTROL)
                self.assertIn('power control', run.err)
                self.assertEqual(complaints(run.err.splitlines()), set())
                self.assertEqual(run.out, '')

    def python(self, vm, power):
        """The library tells that there is no power control: UNSUPPORTED."""
        done = subprocess.run(
            [sys.executable, HERE / 'gi_client.py', vm.uri, 'continue'],
            env=places.python_environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        report = json.loads(done.stdout)
        self.assertEqual(report['before'], report['after'])
        if power:
            self.assertEqual(report['result'], 'ok')
            self.assertEqual(report['before'], {
                'state': 'on', 'allowed': ['reset', 'off', 'on', 'pause',
                                              'continue']})
        else:
            domain, code, message = report['result']
            unsupported = 3
            self.assertEqual((domain, code),
                             ('spice-power-error-quark', unsupported))
            self.assertIn('power control', message)
            self.assertEqual(report['before'], {'state': 'unknown',
                                                'allowed': []})


class Matrix(SkewCase):
    """Each combination, compared with the one that is all old."""

    reference = None

    def all_old(self):
        if Matrix.reference is None:
            Matrix.reference = self.get_on(OLD, OLD, OLD)
        return Matrix.reference

    def combine(self, client, library, qemu):
        old = self.all_old()
        seen = self.get_on(client, library, qemu)
        for program, said in seen.said.items():
            with self.subTest(f'{program} complains'):
                self.assertLessEqual(said, old.said[program])
        self.compare(old.talks, seen.talks, client == NEW,
                     (library, qemu) == (NEW, NEW))

    def compare(self, before, now, new_client, power):
        """Only capability bits are new."""
        self.assertEqual([talk.channel for talk in now],
                         [talk.channel for talk in before])
        self.assertIn(wire.CHANNEL_MAIN, [talk.channel[0] for talk in now])
        for old, talk in zip(before, now):
            main = talk.channel[0] == wire.CHANNEL_MAIN
            self.assertEqual(talk.client_words[0], old.client_words[0])
            self.assertEqual(talk.server_words[0], old.server_words[0])
            client, server = wire.caps_of(old.client_words[1]), \
                wire.caps_of(old.server_words[1])
            if main:
                self.assertEqual(server, BEFORE)
                client |= {wire.CAP_POWER_CONTROL} if new_client else set()
                server |= POWER if power else set()
            self.assertEqual(wire.caps_of(talk.client_words[1]), client)
            self.assertEqual(wire.caps_of(talk.server_words[1]), server)
            self.assertEqual(len(talk.client_words[1]),
                             len(old.client_words[1]))
            self.assertEqual(len(talk.server_words[1]),
                             len(old.server_words[1]))
            if not main:
                continue        # what is drawn depends on when
            told = [m for m in talk.server if m[0] == wire.MSG_POWER_STATE]
            self.assertEqual(len(told), int(new_client and power))
            self.assertEqual([m for m in talk.server if m not in told],
                             old.server)
            self.assertEqual(talk.client, old.client)

    def test_old_client_old_library_old_qemu(self):
        """As it was before: what the others are compared with."""
        self.combine(OLD, OLD, OLD)

    def test_old_client_old_library_new_qemu(self):
        """Only QEMU is new."""
        self.combine(OLD, OLD, NEW)

    def test_old_client_new_library_old_qemu(self):
        """Only the SPICE library is new."""
        self.combine(OLD, NEW, OLD)

    def test_old_client_new_library_new_qemu(self):
        """There is power control, and a client that does not know it."""
        self.combine(OLD, NEW, NEW)

    def test_new_client_old_library_old_qemu(self):
        """Only the client is new."""
        self.combine(NEW, OLD, OLD)

    def test_new_client_old_library_new_qemu(self):
        """Only the SPICE library is old."""
        self.combine(NEW, OLD, NEW)

    def test_new_client_new_library_old_qemu(self):
        """Only QEMU is old."""
        self.combine(NEW, NEW, OLD)

    def test_new_client_new_library_new_qemu(self):
        """All know power control, and there is."""
        self.combine(NEW, NEW, NEW)

    def test_power_off(self):
        """All know power control, and it is off: as before."""
        old = self.all_old()
        for number, option in enumerate(('', 'power=off')):
            vm = self.server(NEW, NEW, option, name=f'qemu{number}')
            for client in (OLD, NEW):
                with self.subTest(f'{client} client, {option or "default"}'):
                    said, talks = self.screenshot(vm, client)
                    self.assertLessEqual(said, old.said[SCREENSHOT])
                    self.compare(old.talks, talks, client == NEW, False)

    def test_request_without_power_control(self):
        """A request is a message that no server knows where there is none."""
        outcomes = []
        for name, library, qemu, option in (
                ('theirs', OLD, OLD, ''), ('library', NEW, OLD, ''),
                ('qemu', OLD, NEW, ''), ('default', NEW, NEW, ''),
                ('off', NEW, NEW, 'power=off')):
            vm = self.server(library, qemu, option, name=name)
            outcome = []
            for action in wire.ACTIONS:
                client = self.client(vm)
                self.assertEqual(client.caps, BEFORE)
                client.request(action, 1)
                outcome.append([m.type for m in client.until_end()])
            outcomes.append(outcome)
            self.assertEqual(vm.qmp.status, 'running')
        for outcome in outcomes[1:]:
            self.assertEqual(outcome, outcomes[0])


class Libraries(SkewCase):
    """A program with the other one's library, as after half an upgrade."""

    def test_new_qemu_needs_the_new_library(self):
        """Our QEMU does not start with the old one, and the loader says why."""
        machine = Machine(self.log_dir, qemu=places.Qemu(
            places.QEMU, places.stock_environment()))
        with self.assertRaises(StartError) as caught:
            with machine:
                pass
        self.assertRegex(str(caught.exception),
                         r"libspice-server\.so\.1: version "
                         r"`SPICE_SERVER_POWER_1' not found")

    def test_new_qemu_made_with_the_old_library(self):
        """power=on is an error at start that says why; power=off is not."""
        power = 'power=on needs a spice-server library with power control'
        home = 'home=a needs a spice-server library that can hand clients over'
        proxies = 'proxies= needs a spice-server library that reads'
        for number, (option, error) in enumerate((
                ('power=on', power), ('power=on,actions=reset', power),
                ('home=a,home-port=1', home), ('proxies=::1', proxies))):
            machine = Machine(self.log_dir, option, name=f'qemu{number}',
                              qemu=places.oldspice_qemu())
            with self.assertRaises(StartError) as caught:
                with machine:
                    pass
            self.assertEqual(machine.process.returncode, 1)
            self.assertRegex(str(caught.exception), error)
        vm = self.server(OLD, NEW, 'power=off')
        self.assertFalse({'power', 'home', 'proxies'} & vm.spice().keys())
        self.assertNotIn('power', vm.qmp.human('info spice'))

    def test_old_spicy_with_the_new_library(self):
        """Debian's spicy works with our client library."""
        vm = self.server(OLD, OLD)
        with self.viewer(vm, OLD, 'spicy') as output:
            self.act(vm, False)
        before = complaints(output.since())
        for name, library, qemu in (('theirs', OLD, OLD), ('ours', NEW, NEW)):
            vm = self.server(library, qemu, name=name)
            with self.viewer(vm, OLD, 'spicy',
                             [places.PREFIX / 'lib',
                              *places.STOCK_LIBRARIES]) as output:
                self.act(vm, qemu == NEW)
            self.assertLessEqual(complaints(output.since()), before)

    def test_new_spicy_power_needs_the_new_library(self):
        """spicy-power does not start with Debian's client library."""
        vm = self.server(NEW, NEW)
        mark = vm.qmp.mark()
        for words in (('status',), ('pause',), ('--help',)):
            with self.subTest(words):
                done = subprocess.run(
                    spicypower.command(vm.uri, *words), text=True,
                    env=self.environment(OLD), stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    timeout=60)
                self.assertEqual((done.returncode, done.stdout), (1, ''))
                self.assertRegex(done.stderr,
                                 r"libspice-client-glib-2\.0\.so\.8: version "
                                 r"`SPICEGTK_POWER_1' not found")
        self.assertEqual(vm.qmp.event_names(mark), [])


def prepare():
    if not shutil.which('Xvfb'):
        raise places.Missing('there is no Xvfb: install the package xvfb')
    unpack()


if __name__ == '__main__':
    case.main(prepare)
