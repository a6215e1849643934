# SPDX-License-Identifier: GPL-2.0-or-later
"""Write an initramfs: busybox, and an init script.

The kernel unpacks an uncompressed cpio archive in the "newc" format. To write
one takes a page of code, needs neither root (for the device node) nor the cpio
program, and gives the same bytes for the same input wherever and whenever it
is done: every owner is root, every date is 0, and inode numbers are counted.
"""

import stat


class Archive:
    """A cpio archive in the making."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def _entry(self, name, mode, content=b'', rdev=(0, 0)):
        self.inode += 1
        path = name.encode() + b'\0'
        nlink = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, uid, gid, links, date, size, device of the archive and
        # of the node (major, minor), length of the name, checksum (unused)
        fields = (self.inode, mode, 0, 0, nlink, 0, len(content), 0, 0, *rdev,
                  len(path), 0)
        self.data += b'070701' + b''.join(b'%08x' % f for f in fields) + path
        self._pad()
        self.data += content
        self._pad()

    def _pad(self):
        self.data += bytes(-len(self.data) % 4)

    def directory(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def program(self, name, content):
        self._entry(name, stat.S_IFREG | 0o755, content)

    def char_device(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def finish(self):
        self._entry('TRAILER!!!', 0)
        return bytes(self.data)


def make(busybox, init):
    """The archive's bytes, from these two files' bytes."""
    archive = Archive()
    archive.directory('bin')
    archive.directory('dev')
    # the kernel opens init's standard streams before init can mount /dev
    archive.char_device('dev/console', 5, 1)
    archive.program('bin/busybox', busybox)
    archive.program('init', init)
    return archive.finish()
