# SPDX-License-Identifier: GPL-2.0-or-later
"""A desktop that a test has for itself.

An X server without a screen, a bus for the session and for AT-SPI, and a
window manager, so that dialogs, focus and keys are as a person has them.
Nothing of it is the user's: it has a home directory of its own, which ends with
it, and nothing is started that is not started here.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import places, x11
from .accessible import REGISTRY, Application, Bus
from .record import TIMEOUT, Record, reader
from .running import Running

# GTK 3 answers AT-SPI about a dialog's header bar, about a popover, and about a
# notebook's page, that are just going (GtkHeaderBarAccessible counts the children
# of what is not there, GtkNotebookPageAccessible asks the notebook that it has
# forgotten)
GOING = re.compile("gtk_container_forall: assertion 'GTK_IS_CONTAINER|"
                   'gtk_popover_get_modal|'
                   "gtk_accessible_get_widget: assertion 'GTK_IS_ACCESSIBLE")
PROGRAMS = {'Xvfb': 'xvfb', 'dbus-daemon': 'dbus-daemon', 'jwm': 'jwm'}
ENGLISH = Path('/usr/share/i18n/locales/en_US')         # package locales
A11Y_REGISTRY = Path('/usr/libexec/at-spi2-registryd')

# One bus for both; nothing on it can be started by asking for it.
BUS = '''<busconfig>
  <type>session</type>
  <listen>unix:path={0}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
'''
WINDOW_MANAGER = '''<JWM>
  <WindowStyle>
    <Font>DejaVu Sans-9</Font>
    <Width>3</Width>
    <Height>22</Height>
    <Active><Background>#35506b</Background></Active>
  </WindowStyle>
  <Desktops width="1" height="1">
    <Background type="solid">#8a9aa8</Background>
  </Desktops>
  <FocusModel>click</FocusModel>
  <SnapMode>none</SnapMode>
  <Key mask="A" key="F4">close</Key>
</JWM>
'''
# What moves by itself makes no two pictures the same
GTK_SETTINGS = '''[Settings]
gtk-cursor-blink=0
gtk-enable-animations=0
gtk-theme-name=Adwaita
'''
# What a user's session may have set, and must not reach a test
FOREIGN = ('XDG_', 'GTK_', 'GDK_', 'QT_', 'AT_SPI_', 'DBUS_', 'NO_AT_BRIDGE',
           'WAYLAND_', 'SESSION_MANAGER', 'DESKTOP_', 'XAUTHORITY', 'LANG',
           'LC_')


def need():
    """Complain unless all is there that a desktop is made of."""
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            raise places.Missing(f'there is no {program}: install the package '
                                 f'{package}')
    if not A11Y_REGISTRY.exists():
        raise places.Missing('there is no AT-SPI: install the package '
                             'at-spi2-core')


class Desktop(Running):
    def __init__(self, log_dir):
        self.log_dir = Path(log_dir)
        self.stack = contextlib.ExitStack()
        self.directory = None
        self.screen = None              # an x11.Display
        self.bus = None                 # an accessible.Bus
        self.env = {}

    def close(self):
        self.stack.close()

    def _spawn(self, *command, **options):
        name = Path(command[0]).name
        with open(self.log_dir / f'{name}.log', 'w') as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.env, cwd=self.directory, **options)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def _until(self, ready, process):
        """Wait until a process that has just been started is ready."""
        deadline = time.monotonic() + TIMEOUT
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f'{process.args[0]} did not start; see '
                                   f'{places.rel(self.log_dir)}')
            time.sleep(0.01)

    def start(self):
        need()
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-desktop-'))
        self.stack.callback(shutil.rmtree, self.directory, True)
        home = self.directory / 'home'
        settings = home / '.config' / 'gtk-3.0'
        settings.mkdir(parents=True)
        (settings / 'settings.ini').write_text(GTK_SETTINGS)
        self.env = {key: value for key, value in os.environ.items()
                    if not key.startswith(FOREIGN)}
        self.env.update(
            HOME=str(home), XDG_RUNTIME_DIR=str(self.directory),
            LC_ALL='C.UTF-8', GDK_BACKEND='x11', GSETTINGS_BACKEND='memory',
            GIO_USE_VFS='local')

        self.env['DISPLAY'] = self.stack.enter_context(
            x11.server(self.log_dir / 'Xvfb.log'))
        self.screen = x11.Display(self.env['DISPLAY'])
        self.stack.callback(self.screen.close)

        config = self.directory / 'bus.conf'
        config.write_text(BUS.format(self.directory))
        address = x11.told(self._spawn, 'dbus-daemon', '--nofork',
                           '--nopidfile', '--config-file', str(config),
                           '--print-address')
        self.env['DBUS_SESSION_BUS_ADDRESS'] = address
        self.env['AT_SPI_BUS_ADDRESS'] = address
        self.bus = Bus(address)
        self.stack.callback(self.bus.close)
        registry = self._spawn(str(A11Y_REGISTRY))
        self._until(lambda: self.bus.has_owner(REGISTRY), registry)

        config = self.directory / 'jwm.xml'
        config.write_text(WINDOW_MANAGER)
        manager = self._spawn('jwm', '-f', str(config))
        self._until(self.screen.managed, manager)

    # --- programs on it ------------------------------------------------------

    def run(self, *command, **options):
        """Start a program; it ends with the desktop, if not before."""
        return self.stack.enter_context(Program(self, *command, **options))

    def language(self, name):
        """The environment of a program that speaks this language.

        No other locale needs to be there than one in which words are
        translated: the C locale may not be.
        """
        locales = self.directory / 'locales'
        if not ENGLISH.exists():
            return {'LANGUAGE': name}
        if not locales.exists():
            locales.mkdir()
            subprocess.run(
                ['localedef', '-i', ENGLISH.name, '-f', 'UTF-8',
                 locales / 'en_US.UTF-8'], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, check=True)
        return {'LANGUAGE': name, 'LOCPATH': str(locales),
                'LC_ALL': 'en_US.UTF-8'}

    def screenshot(self, path, box=None):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.screen.picture(box).save(path)


class Program:
    """A graphical program of those that we have built."""

    def __init__(self, desktop, *command, name=None, env=None, log_dir=None,
                 excused=None):
        """excused, a regular expression, is what libraries may complain of."""
        self.desktop = desktop
        self.excused = excused
        self.name = name or Path(command[0]).name
        self.output = Record(self.name)
        self.env = {**desktop.env, 'LD_LIBRARY_PATH': places.environment()[
            'LD_LIBRARY_PATH'], **(env or {})}
        self._log = open((log_dir or desktop.log_dir) / f'{self.name}.log',
                         'w')
        self.process = subprocess.Popen(
            list(map(str, command)), env=self.env, cwd=desktop.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        reader(self.process.stdout, self.output, self._logged)
        self._application = None

    def _logged(self, line):
        line = line.decode(errors='replace')
        self._log.write(line)
        self._log.flush()
        return line.rstrip()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
        critical = [line for line in self.complaints() if 'CRITICAL' in line]
        if critical:
            raise RuntimeError('\n'.join(critical))

    @property
    def shown(self):
        """What it shows, an accessible.Application."""
        if self._application is None:
            self._application = Application(
                self.desktop.bus, self.process.pid,
                lambda: self.process.poll() is None)
        return self._application

    def wait_exit(self, timeout=TIMEOUT):
        return self.process.wait(timeout)

    def complaints(self):
        """What the libraries have to complain about."""
        return [line for line in self.output.since()
                if ('CRITICAL' in line or 'WARNING' in line)
                and not GOING.search(line)
                and not (self.excused and self.excused.search(line))]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.output.wait_end()
        self.process.stdout.close()
        self._log.close()

    # --- what a person does with it ------------------------------------------

    def extents(self, node):
        """Where it is, once it is where it will stay.

        A window is somewhere else before the window manager has placed it.
        """
        before = None
        deadline = time.monotonic() + TIMEOUT
        while True:
            box = self.shown.extents(node)
            if box == before and box.width > 0 and box.height > 0:
                return box
            if time.monotonic() > deadline:
                raise TimeoutError(f'{node} does not come to rest: {box}')
            before = box
            time.sleep(0.02)

    def click(self, role, name=None, **more):
        """Wait for something that can be clicked, and click on it."""
        node = self.shown.find(role, name, sensitive=True, **more)
        self.desktop.screen.click(*self.extents(node).centre)
        return node

    def press(self, keys):
        self.desktop.screen.press(keys)
