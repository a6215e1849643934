#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reset a machine whenever it crashes: reset-on-crash.py spice://HOST:PORT"""

import sys
import gi
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib as Spice   # noqa: E402


def new_channel(session, channel):
    if isinstance(channel, Spice.MainChannel):
        on(channel, 'notify::power-state', changed)
        on(channel, 'channel-event', connected_or_not)


def changed(channel, _):
    if channel.props.power_state == Spice.PowerState.CRASHED:
        print('crashed', flush=True)
        channel.power_async(Spice.PowerAction.RESET, None, done, 'reset')


def done(channel, result, action):
    try:
        channel.power_finish(result)
        print(f'{action}: ok', flush=True)
    except GLib.Error as error:
        print(f'{action}: {error.message}', flush=True)
    if action == 'reset':       # which leaves a machine that stood still so
        channel.power_async(Spice.PowerAction.CONTINUE, None, done, 'continue')


def connected_or_not(channel, event):
    if event != Spice.ChannelEvent.OPENED:
        print('connection:', event.value_nick)
        loop.quit()


on = GObject.Object.connect     # sessions and channels have their own connect()
loop = GLib.MainLoop()
session = Spice.Session(uri=sys.argv[1])
on(session, 'channel-new', new_channel)
session.connect()
loop.run()
