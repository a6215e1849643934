#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reset a machine whenever it crashes: reset-on-crash.py spice://HOST:PORT"""

import sys
import gi
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib as Spice  # noqa: E402


def new_channel(session, channel):
    if isinstance(channel, Spice.MainChannel):
        on(channel, 'notify::power-state', check)
        on(channel, 'channel-event', lambda channel, event:
           event == Spice.ChannelEvent.OPENED or loop.quit())


def check(channel, *unused):
    if channel.props.power_state == Spice.PowerState.CRASHED:
        channel.power_async(Spice.PowerAction.RESET, None, done, 'reset')


def done(channel, result, action):
    try:
        channel.power_finish(result)
    except GLib.Error as error:     # say why not, and look again later
        print(f'{action}: {error.message}', flush=True)
        GLib.timeout_add_seconds(10, check, channel)
        return
    print(f'{action}: ok', flush=True)
    if action == 'reset':           # which leaves a stopped machine stopped
        channel.power_async(Spice.PowerAction.CONTINUE, None, done, 'continue')


on = GObject.Object.connect         # for they have a connect() of their own
loop = GLib.MainLoop()
# takes nobody's place: somebody may be looking at the machine
session = Spice.Session(uri=sys.argv[1], control_only=True)
on(session, 'channel-new', new_channel)
session.connect()
loop.run()
