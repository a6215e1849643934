#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A GTK 4 window with a machine's state and its power: power-window.py URI"""

import sys
import gi
gi.require_version('Gtk', '4.0')
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import Gio, GObject, Gtk                         # noqa: E402
from gi.repository import SpiceClientGLib as Spice                  # noqa: E402


def activate(app):
    actions = Spice.PowerActions.get(session)
    window = Gtk.ApplicationWindow(application=app, title='Power')
    window.insert_action_group('power', actions)
    status = Gtk.Label(hexpand=True, xalign=0, margin_start=12)
    actions.bind_property('status', status, 'label',
                          GObject.BindingFlags.SYNC_CREATE)
    box = Gtk.Box(spacing=6)
    box.append(status)
    box.append(Gtk.MenuButton(label='Power', menu_model=actions.get_menu()))
    window.set_child(box)
    on(actions, 'confirm', ask, window)
    on(actions, 'failed', tell, window)
    # a request that is under way has its result before the program ends
    on(actions, 'notify::busy', lambda actions, pspec:
       app.hold() if actions.props.busy else app.release())
    window.present()
    Spice.Session.connect(session)


def ask(actions, name, question, details, window):
    def answered(dialog, response):
        dialog.destroy()
        if response == Gtk.ResponseType.ACCEPT:
            actions.request(name)
    dialog = Gtk.MessageDialog(transient_for=window, modal=True,
                               text=question, secondary_text=details)
    dialog.add_button('_Cancel', Gtk.ResponseType.CANCEL)
    dialog.add_button(actions.get_label(name), Gtk.ResponseType.ACCEPT)
    dialog.set_default_response(Gtk.ResponseType.CANCEL)
    dialog.connect('response', answered)
    dialog.present()
    return True


def tell(actions, name, text, error, window):
    dialog = Gtk.MessageDialog(transient_for=window, modal=True,
                               buttons=Gtk.ButtonsType.CLOSE,
                               text=text, secondary_text=error.message)
    dialog.connect('response', lambda dialog, response: dialog.destroy())
    dialog.present()


on = GObject.Object.connect         # for they have a connect() of their own
# takes nobody's place: somebody may be looking at the machine
session = Spice.Session(uri=sys.argv[1], control_only=True)
app = Gtk.Application(flags=Gio.ApplicationFlags.NON_UNIQUE)
app.connect('activate', activate)
app.run()
