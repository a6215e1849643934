#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE client that reads what is drawn, and shows it to nobody.

    gi_viewer.py URI CA-FILE

Unlike spicy-stats it can be told whose certificates to trust.
"""

import sys

import gi
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib    # noqa: E402

loop = GLib.MainLoop()
session = SpiceClientGLib.Session(uri=sys.argv[1], ca_file=sys.argv[2])


def channel_new(_session, channel):
    if isinstance(channel, SpiceClientGLib.DisplayChannel):
        SpiceClientGLib.Channel.connect(channel)


# Session and channels have a connect() of their own
GObject.Object.connect(session, 'channel-new', channel_new)
GObject.Object.connect(session, 'disconnected', lambda unused: loop.quit())
SpiceClientGLib.Session.connect(session)
loop.run()
