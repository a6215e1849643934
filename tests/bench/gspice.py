#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""SPICE's power control as a viewer has it: spice-gtk's main channel.

    gspice.py URI

Says "ready"; then each line that it reads is a reset, and what it prints is
when spice-gtk was asked for that, and a line with what became of it. As
gvnc.py does, it prints that when the request is on its way: the one who waits
for the line is not to be in the way of it.
"""

import sys
import time

import gi

gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib    # noqa: E402


def say(text):
    print(text, flush=True)
    return GLib.SOURCE_REMOVE


def later(text):
    GLib.idle_add(say, text, priority=GLib.PRIORITY_LOW)


class Client:
    def __init__(self, uri):
        self.loop = GLib.MainLoop()
        self.main = None
        self.session = SpiceClientGLib.Session(uri=uri)
        # Session and channels have a connect() of their own
        GObject.Object.connect(self.session, 'channel-new', self.channel_new)
        GObject.Object.connect(self.session, 'disconnected',
                               lambda unused: self.loop.quit())
        SpiceClientGLib.Session.connect(self.session)

    def channel_new(self, _session, channel):
        if isinstance(channel, SpiceClientGLib.MainChannel):
            GObject.Object.connect(channel, 'notify::power-state', self.ready)

    def ready(self, channel, *unused):
        if self.main is None:
            self.main = channel
            GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_HIGH,
                              GLib.IOCondition.IN | GLib.IOCondition.HUP,
                              self.asked)
            later('ready')

    def asked(self, *unused):
        if not sys.stdin.readline():
            self.loop.quit()
            return False
        sent = time.clock_gettime(time.CLOCK_REALTIME)
        self.main.power_async(SpiceClientGLib.PowerAction.RESET, None,
                              self.done)
        later(f'{sent:.6f}')
        return True

    def done(self, channel, result):
        try:
            channel.power_finish(result)
            later('ok')
        except GLib.Error as error:
            later(error.message)


if __name__ == '__main__':
    Client(sys.argv[1]).loop.run()
