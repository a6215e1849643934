# SPDX-License-Identifier: GPL-2.0-or-later
"""What the programs that a test runs have in common."""


class Running:
    """Something that `with` starts and closes, also if it does not start."""

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()


def end(process, *records):
    """Kill a process with pipes if it is still there, and read what it said."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for record in records:
        record.wait_end()
    for stream in process.stdin, process.stdout, process.stderr:
        try:
            stream.close()
        except BrokenPipeError:
            pass
