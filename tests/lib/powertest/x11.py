# SPDX-License-Identifier: GPL-2.0-or-later
"""An X server that a test has for itself: windows, pictures, real input.

What is pressed and clicked here goes through the server like that of a person,
with XTEST: it reaches whatever has the focus, or is on top at that place.
"""

import contextlib
import ctypes
import os
import re
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from .record import TIMEOUT

VIEWABLE = 2                    # IsViewable
Z_PIXMAP = 2
ALL_PLANES = ctypes.c_ulong(-1)
BGRX = (24, 32, 0)              # depth, bits per pixel, LSBFirst: as Xvfb has
KEYS = {'alt': 'Alt_L', 'shift': 'Shift_L', 'ctrl': 'Control_L',
        'enter': 'Return', 'esc': 'Escape', 'space': 'space'}


class Attributes(ctypes.Structure):
    """XWindowAttributes"""
    _fields_ = [(name, ctypes.c_int) for name in
                ('x', 'y', 'width', 'height', 'border_width', 'depth')] + [
        ('visual', ctypes.c_void_p), ('root', ctypes.c_ulong)] + [
        (name, ctypes.c_int) for name in
        ('class_', 'bit_gravity', 'win_gravity', 'backing_store')] + [
        ('backing_planes', ctypes.c_ulong), ('backing_pixel', ctypes.c_ulong),
        ('save_under', ctypes.c_int), ('colormap', ctypes.c_ulong),
        ('map_installed', ctypes.c_int), ('map_state', ctypes.c_int),
        ('masks', ctypes.c_long * 3), ('override_redirect', ctypes.c_int),
        ('screen', ctypes.c_void_p)]


class Image(ctypes.Structure):
    """The beginning of XImage"""
    _fields_ = [(name, ctypes.c_int) for name in
                ('width', 'height', 'xoffset', 'format')] + [
        ('data', ctypes.c_void_p)] + [
        (name, ctypes.c_int) for name in
        ('byte_order', 'bitmap_unit', 'bitmap_bit_order', 'bitmap_pad',
         'depth', 'bytes_per_line', 'bits_per_pixel')]


class Box(NamedTuple):
    """A place on the screen."""
    x: int
    y: int
    width: int
    height: int

    @property
    def centre(self):
        return self.x + self.width // 2, self.y + self.height // 2


class Picture(NamedTuple):
    """Three bytes a pixel: red, green, blue."""
    width: int
    height: int
    data: bytes

    @classmethod
    def from_ppm(cls, path):
        """What QEMU's screendump writes."""
        raw = Path(path).read_bytes()
        header = re.match(rb'P6\s(\d+) (\d+)\s255\s', raw)
        width, height = map(int, header.groups())
        data = raw[header.end():]
        if len(data) != width * height * 3:
            raise ValueError(f'{path}: not a complete picture')
        return cls(width, height, data)

    def save(self, path):
        """Write a PNG."""
        def chunk(kind, data):
            return (struct.pack('>I', len(data)) + kind + data
                    + struct.pack('>I', zlib.crc32(kind + data)))
        stride = self.width * 3
        rows = b''.join(b'\0' + self.data[at:at + stride]
                        for at in range(0, len(self.data), stride))
        Path(path).write_bytes(
            b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', self.width, self.height,
                                         8, 2, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(rows, 9)) + chunk(b'IEND', b''))


def told(start, *command):
    """Start a program that tells where it is when it is ready: what it tells.

    The last option takes the file descriptor on which it does. start() starts
    it.
    """
    read, write = os.pipe()
    start(*command, str(write), pass_fds=(write,))
    os.close(write)
    with open(read) as pipe:
        words = pipe.readline().strip()
    if not words:
        raise RuntimeError(f'{command[0]} did not start')
    return words


@contextlib.contextmanager
def server(log, size='1024x768x24'):
    """An X server of our own; its DISPLAY."""
    processes = []

    def start(*command, **options):
        with open(log, 'w') as output:
            processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, **options))
    try:
        number = told(start, 'Xvfb', '-screen', '0', size, '-nolisten', 'tcp',
                      '-noreset', '-displayfd')
        yield f':{number}'
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Display:
    def __init__(self, name):
        self.lib = lib = ctypes.CDLL('libX11.so.6')
        self._test = ctypes.CDLL('libXtst.so.6')
        lib.XOpenDisplay.restype = ctypes.c_void_p
        lib.XDefaultRootWindow.restype = ctypes.c_ulong
        lib.XInternAtom.restype = ctypes.c_ulong
        lib.XStringToKeysym.restype = ctypes.c_ulong
        lib.XGetImage.restype = ctypes.POINTER(Image)
        # a window that has gone in the meantime is none
        handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p,
                                   ctypes.c_void_p)
        self._handler = handler(lambda *unused: 0)
        lib.XSetErrorHandler(self._handler)
        self.display = ctypes.c_void_p(lib.XOpenDisplay(name.encode()))
        if not self.display:
            raise OSError(f'there is no X server at {name}')
        self.root = ctypes.c_ulong(lib.XDefaultRootWindow(self.display))

    def close(self):
        self.lib.XCloseDisplay(self.display)

    # --- windows -------------------------------------------------------------

    def _children(self, window):
        unused, children = ctypes.c_ulong(), ctypes.POINTER(ctypes.c_ulong)()
        count = ctypes.c_uint()
        if not self.lib.XQueryTree(self.display, window, ctypes.byref(unused),
                                   ctypes.byref(unused),
                                   ctypes.byref(children),
                                   ctypes.byref(count)):
            return []
        found = list(map(ctypes.c_ulong, children[:count.value]))
        if children:
            self.lib.XFree(children)
        return found

    def windows(self):
        """The names of the windows that can be seen.

        A window manager puts each of them into a window of its own.
        """
        names = []
        for window in self._children(self.root):
            for inner in (window, *self._children(window)):
                attributes, name = Attributes(), ctypes.c_char_p()
                self.lib.XGetWindowAttributes(self.display, inner,
                                              ctypes.byref(attributes))
                self.lib.XFetchName(self.display, inner, ctypes.byref(name))
                if attributes.map_state == VIEWABLE and name.value:
                    names.append(name.value.decode())
        return names

    def managed(self):
        """Whether a window manager has said that it is here."""
        unused = ctypes.c_ulong()
        count, data = ctypes.c_ulong(), ctypes.c_void_p()
        atom = self.lib.XInternAtom(self.display, b'_NET_SUPPORTING_WM_CHECK',
                                    0)
        self.lib.XGetWindowProperty(
            self.display, self.root, ctypes.c_ulong(atom), ctypes.c_long(0),
            ctypes.c_long(1), 0, ctypes.c_ulong(0), ctypes.byref(unused),
            ctypes.byref(ctypes.c_int()), ctypes.byref(count),
            ctypes.byref(unused), ctypes.byref(data))
        if data:
            self.lib.XFree(data)
        return count.value > 0

    # --- what is seen --------------------------------------------------------

    def picture(self, box=None):
        """What is on the screen there, or on all of it."""
        if box is None:
            attributes = Attributes()
            self.lib.XGetWindowAttributes(self.display, self.root,
                                          ctypes.byref(attributes))
            box = Box(0, 0, attributes.width, attributes.height)
        image = self.lib.XGetImage(self.display, self.root, *box, ALL_PLANES,
                                   Z_PIXMAP)
        if not image:
            raise ValueError(f'{box} is not on the screen')
        got = image.contents
        assert (got.depth, got.bits_per_pixel, got.byte_order) == BGRX
        assert got.bytes_per_line == box.width * 4
        data = ctypes.string_at(got.data, got.bytes_per_line * got.height)
        self.lib.XDestroyImage(image)
        rgb = bytearray(box.width * box.height * 3)
        for place in range(3):
            rgb[place::3] = data[2 - place::4]
        return Picture(box.width, box.height, bytes(rgb))

    # --- what a person does --------------------------------------------------

    def _sync(self):
        self.lib.XSync(self.display, 0)

    def move(self, x, y):
        self._test.XTestFakeMotionEvent(self.display, -1, x, y,
                                        ctypes.c_ulong(0))
        self._sync()

    def click(self, x, y, button=1):
        self.move(x, y)
        for down in (1, 0):
            self._test.XTestFakeButtonEvent(self.display, button, down,
                                            ctypes.c_ulong(0))
        self._sync()

    def press(self, keys):
        """Press keys, as in 'alt+p' or 'Down', and let them go again."""
        codes = []
        for name in keys.split('+'):
            name = KEYS.get(name.lower(), name)
            symbol = self.lib.XStringToKeysym(name.encode())
            code = self.lib.XKeysymToKeycode(self.display,
                                             ctypes.c_ulong(symbol))
            if not code:
                raise ValueError(f'there is no key {name}')
            codes.append(code)
        for down, order in ((1, codes), (0, reversed(codes))):
            for code in order:
                self._test.XTestFakeKeyEvent(self.display, code, down,
                                             ctypes.c_ulong(0))
        self._sync()


def wait_window(display, part, timeout=TIMEOUT):
    """Wait for a window that has this in its name, and can be seen."""
    deadline = time.monotonic() + timeout
    with contextlib.closing(Display(display)) as screen:
        while True:
            names = screen.windows()
            if any(part in name for name in names):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f'expected: a window with {part} in its '
                                   f'name; seen: {names}')
            time.sleep(0.02)
