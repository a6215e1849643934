#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VNC's power control as a viewer has it: libgvnc on a connected socket.

Says "ready"; then each line that it reads is a reset, and what it prints is
when libgvnc was asked for that. It prints that when the request is on its way:
the one who waits for the line is not to be in the way of it.
"""

import sys
import time

import gi

gi.require_version('GVnc', '1.0')
from gi.repository import GLib, GVnc        # noqa: E402

AUTH_NONE = 1
ENCODING_XVP = -309


def say(text):
    print(text, flush=True)
    return GLib.SOURCE_REMOVE


def main():
    loop = GLib.MainLoop()
    connection = GVnc.Connection()
    connection.connect('vnc-auth-choose-type',
                       lambda *unused: connection.set_auth_type(AUTH_NONE))
    connection.connect('vnc-initialized',
                       lambda *unused: connection.set_encodings(
                           [ENCODING_XVP]))
    connection.connect('vnc-power-control-initialized',
                       lambda *unused: print('ready', flush=True))
    connection.connect('vnc-disconnected', lambda *unused: loop.quit())

    def asked(*unused):
        if not sys.stdin.readline():
            loop.quit()
            return False
        sent = time.clock_gettime(time.CLOCK_REALTIME)
        connection.power_control(GVnc.ConnectionPowerAction.RESET)
        GLib.idle_add(say, f'{sent:.6f}', priority=GLib.PRIORITY_LOW)
        return True

    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_HIGH,
                      GLib.IOCondition.IN | GLib.IOCondition.HUP, asked)
    connection.set_shared(True)
    connection.open_fd(int(sys.argv[1]))
    loop.run()


if __name__ == '__main__':
    main()
