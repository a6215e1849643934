#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE client in Python: ask for one action, print what became of it.

    gi_client.py URI ACTION

A JSON object: the state and the allowed actions before and after, and the
result, which is 'ok' or the error's domain, code and message.
"""

import json
import sys

import gi
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib    # noqa: E402


# SPICE_MAIN_CAP_POWER_CONTROL: the protocol is not introspected
CAP_POWER_CONTROL = 4


class Client:
    def __init__(self, uri, action):
        self.action = getattr(SpiceClientGLib.PowerAction, action.upper())
        self.report = {}
        self.trouble = None
        self.loop = GLib.MainLoop()
        GLib.timeout_add_seconds(30, self.end, 'no result within 30 s')
        self.session = SpiceClientGLib.Session(uri=uri)
        # Session and channels have a connect() of their own
        GObject.Object.connect(self.session, 'channel-new', self.channel_new)
        SpiceClientGLib.Session.connect(self.session)

    def end(self, trouble=None):
        self.trouble = trouble
        self.loop.quit()

    def known(self, channel):
        return {'state': channel.props.power_state.value_nick,
                'allowed':
                    channel.props.power_allowed.value_nicks}

    def channel_new(self, _session, channel):
        if isinstance(channel, SpiceClientGLib.MainChannel):
            for signal, function in (('channel-event', self.channel_event),
                                     ('notify::power-state', self.ready)):
                GObject.Object.connect(channel, signal, function)

    def channel_event(self, channel, event):
        if event != SpiceClientGLib.ChannelEvent.OPENED:
            self.end(event.value_nick)
        elif not channel.test_capability(CAP_POWER_CONTROL):
            self.ready(channel)         # there will be no state

    def ready(self, channel, *unused):
        if 'before' not in self.report:
            self.report['before'] = self.known(channel)
            channel.power_async(self.action, None, self.done)

    def done(self, channel, result):
        try:
            channel.power_finish(result)
            self.report['result'] = 'ok'
        except GLib.Error as error:
            self.report['result'] = [error.domain, error.code, error.message]
        self.report['after'] = self.known(channel)
        self.end()


client = Client(*sys.argv[1:])
client.loop.run()
if client.trouble:
    sys.exit(client.trouble)
print(json.dumps(client.report))
