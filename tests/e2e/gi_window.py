#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE client in Python with a window and the library's power controls.

    gi_window.py [--read-only] [--twice] [--resize] URI

With --twice it has a button that asks for two actions at once, with --resize one
that powers the machine on, and makes the window about as small as it can be in
the moment in which the display is back.
"""

import sys

import gi
gi.require_version('Gdk', '3.0')
gi.require_version('Gtk', '3.0')
gi.require_version('SpiceClientGLib', '2.0')
gi.require_version('SpiceClientGtk', '3.0')
from gi.repository import Gdk, GObject, Gtk     # noqa: E402
from gi.repository import SpiceClientGLib, SpiceClientGtk   # noqa: E402


def channel_new(session, channel):
    """There is something to see: open a window."""
    if isinstance(channel, SpiceClientGLib.MainChannel):
        GObject.Object.connect(channel, 'channel-event', main_channel_event)
    if not isinstance(channel, SpiceClientGLib.DisplayChannel):
        return
    global controls
    window = Gtk.Window(title='window')
    controls = SpiceClientGtk.PowerControls.new(session, window)
    item = Gtk.MenuItem.new_with_mnemonic('_Power')
    item.set_submenu(Gtk.Menu.new_from_model(controls.get_menu()))
    item.set_no_show_all(True)
    controls.bind_property('offers-actions', item, 'visible',
                           GObject.BindingFlags.SYNC_CREATE)
    bar = Gtk.MenuBar()
    bar.append(item)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
    box.pack_start(bar, False, False, 0)
    frame = Gtk.Frame()                 # which nobody has shown yet
    frame.add(SpiceClientGtk.Display.new(session, 0))
    if '--resize' in sys.argv:
        window.add(resized(window, box, frame))
    else:
        box.pack_start(controls.new_view(frame), True, True, 0)
        window.add(box)
        window.set_default_size(500, 400)
    box.pack_start(controls.new_status(), False, False, 0)
    if '--twice' in sys.argv:
        button = Gtk.Button(label='Twice')
        button.connect('clicked', lambda unused: [
            controls.activate_action(name) for name in ('reset', 'power-off')])
        box.pack_start(button, False, False, 0)
    window.show_all()
    window.connect('destroy', Gtk.main_quit)


def resized(window, box, frame):
    """What is in a window that gives the display no more than it has.

    A box, but not an overlay, would give it what it needs. The notebook
    complains of less than that.
    """
    def clicked(_button):
        width, _natural = window.get_preferred_width()
        height, _natural = window.get_preferred_height_for_width(width)
        view.connect('notify::visible-child', switched, width, height + 1)
        controls.activate_action('power-on')

    def switched(_view, _property, width, height):
        """It gets another size before it can be laid out with the display."""
        window.get_window().resize(width, height)
        told = None
        while told != Gdk.EventType.CONFIGURE:
            event = Gdk.Event.get()
            if event:
                told = event.type
                Gtk.main_do_event(event)
    frame.set_size_request(600, 500)
    display = Gtk.Notebook(show_tabs=False)
    display.add(frame)
    view = controls.new_view(display)
    button = Gtk.Button(label='Resize')
    button.connect('clicked', clicked)
    box.pack_start(button, False, False, 0)
    box.set_valign(Gtk.Align.START)
    overlay = Gtk.Overlay()
    overlay.add(view)
    overlay.add_overlay(box)
    return overlay


def main_channel_event(channel, event):
    """Without the main channel there is nothing more to come."""
    if event != SpiceClientGLib.ChannelEvent.OPENED:
        SpiceClientGLib.Session.disconnect(session)


def disconnected(unused):
    """End, but not before somebody has read what became of a request."""
    if controls and controls.props.busy:
        controls.connect('notify::busy', lambda *unused: Gtk.main_quit())
    else:
        Gtk.main_quit()


controls = None
# Session and channels have a connect() of their own
session = SpiceClientGLib.Session(uri=sys.argv[-1],
                                  read_only='--read-only' in sys.argv)
GObject.Object.connect(session, 'channel-new', channel_new)
GObject.Object.connect(session, 'disconnected', disconnected)
SpiceClientGLib.Session.connect(session)
Gtk.main()
