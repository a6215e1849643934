# SPDX-License-Identifier: GPL-2.0-or-later
"""unittest.main() with results in TAP, one line a test, as meson counts them.

    if __name__ == '__main__':
        tap.main()
"""

import sys
import unittest


class Result(unittest.TestResult):
    def __init__(self, stream):
        super().__init__()
        self.stream = stream
        self.number = 0
        self.trouble = []

    def startTest(self, test):
        super().startTest(test)
        self.trouble = []

    def _print(self, ok, test, rest=''):
        self.number += 1
        print(f'{"ok" if ok else "not ok"} {self.number} - {self.title(test)}'
              f'{rest}', file=self.stream, flush=True)

    @staticmethod
    def title(test):
        if isinstance(test, unittest.TestCase):
            return test.id().split('.', 1)[-1]
        return str(test)                # what failed in setUpClass

    def _diagnose(self, what, text):
        print(f'# {what}', file=self.stream)
        for line in text.rstrip().splitlines():
            print(f'#   {line}', file=self.stream)
        self.stream.flush()

    def _failed(self, test, error):
        self.trouble.append(test)
        self._diagnose(self.title(test), self._exc_info_to_string(error, test))

    def addError(self, test, error):
        super().addError(test, error)
        self._failed(test, error)
        if not isinstance(test, unittest.TestCase):
            self._print(False, test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._failed(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.trouble.append(subtest)
            self._diagnose(subtest._subDescription(),
                           self._exc_info_to_string(error, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        reason = ' '.join(reason.split())
        self._print(True, test, f' # SKIP {reason}')
        self.skipped_now = True

    def stopTest(self, test):
        if self.trouble:
            self._print(False, test)
        elif not getattr(self, 'skipped_now', False):
            self._print(True, test)
        self.skipped_now = False
        super().stopTest(test)


def note(text):
    """A line for those who read the results; it changes none."""
    print(f'# {text}', file=sys.__stdout__, flush=True)


class Runner:
    def run(self, suite):
        # what a test prints itself must not look like a result
        stream, sys.stdout = sys.stdout, sys.stderr
        result = Result(stream)
        suite(result)
        print(f'1..{result.number}', file=stream, flush=True)
        sys.stdout = stream
        return result


def main():
    unittest.main(testRunner=Runner(), verbosity=0)
