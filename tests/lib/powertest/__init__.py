# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demo and the end-to-end tests share.

    places     where the build has put what is tested
    record     a list that another thread appends to, and waiting for an entry
    qmp        QEMU's monitor
    machine    a QEMU of ours: its monitor, serial console and SPICE server
    manager    a small management layer, for power=managed
    spicypower spicy-power, one-shot or kept open
    spicegtk   a client with spice-gtk's library, from Python
    libvirt    libvirt's daemons, a domain, and virsh
    ownstate   runs such a daemon with state of its own
    ownpam     runs a program with PAM services of its own
    ports      numbers that each is given out once
    bmc        spice-gateway, and a host with a BMC and VNC
    netns      hosts of a test's own, with cables between them
    wire       a SPICE client made from the protocol's documentation alone
    wiretap    what a real client and a real server say to each other
    x11        an X server: windows, pictures, real mouse and keys
    accessible what a graphical program shows, by AT-SPI
    desktop    an X server with a session and a window manager on it
    tls        a certificate authority for a test
    transcript what the demos print
    case       unittest.TestCase with all that at hand
"""
