# SPDX-License-Identifier: GPL-2.0-or-later
"""The windows of an X server that a test has for itself."""

import contextlib
import ctypes
import time

from .record import TIMEOUT

VIEWABLE = 2                    # IsViewable


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


class Display:
    def __init__(self, name):
        self.lib = ctypes.CDLL('libX11.so.6')
        self.lib.XOpenDisplay.restype = ctypes.c_void_p
        self.lib.XDefaultRootWindow.restype = ctypes.c_ulong
        # a window that has gone in the meantime is none
        handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p,
                                   ctypes.c_void_p)
        self._handler = handler(lambda *unused: 0)
        self.lib.XSetErrorHandler(self._handler)
        self.display = ctypes.c_void_p(self.lib.XOpenDisplay(name.encode()))
        if not self.display:
            raise OSError(f'there is no X server at {name}')

    def close(self):
        self.lib.XCloseDisplay(self.display)

    def windows(self):
        """The names of the windows that can be seen."""
        root = ctypes.c_ulong(self.lib.XDefaultRootWindow(self.display))
        unused, children = ctypes.c_ulong(), ctypes.POINTER(ctypes.c_ulong)()
        count = ctypes.c_uint()
        self.lib.XQueryTree(self.display, root, ctypes.byref(unused),
                            ctypes.byref(unused), ctypes.byref(children),
                            ctypes.byref(count))
        names = []
        for window in map(ctypes.c_ulong, children[:count.value]):
            attributes, name = Attributes(), ctypes.c_char_p()
            self.lib.XGetWindowAttributes(self.display, window,
                                          ctypes.byref(attributes))
            self.lib.XFetchName(self.display, window, ctypes.byref(name))
            if attributes.map_state == VIEWABLE and name.value:
                names.append(name.value.decode())
        if children:
            self.lib.XFree(children)
        return names


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
