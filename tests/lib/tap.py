# SPDX-License-Identifier: GPL-2.0-or-later
"""unittest.main() with results in TAP, one line a test, as meson counts them.

    if __name__ == '__main__':
        tap.main()
"""

import resource
import sys
import time
import unittest


# Comments that scripts/check.py reads: how long the test before it took, and the
# processor's time of it, or of all of them, and of the programs that they ran
TOOK = '# took {:.3f} s'
USED = ', processor {:.3f} s'
PROCESSOR = '# processor {:.3f} s'


def processor_time():
    """Seconds that this process and those that it has waited for have used."""
    return sum(used.ru_utime + used.ru_stime for used in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


class Result(unittest.TestResult):
    def __init__(self, stream):
        super().__init__()
        self.stream = stream
        self.number = 0
        self.trouble = []
        # what comes before a test, its class's setUp say, counts as the test's
        self.begun, self.used = time.monotonic(), processor_time()

    def startTest(self, test):
        super().startTest(test)
        self.trouble = []

    def _print(self, ok, test, rest=''):
        self.number += 1
        now, used = time.monotonic(), processor_time()
        print(f'{"ok" if ok else "not ok"} {self.number} - {self.title(test)}'
              f'{rest}\n{TOOK.format(now - self.begun)}'
              f'{USED.format(used - self.used)}', file=self.stream, flush=True)
        self.begun, self.used = now, used

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
        print(f'1..{result.number}\n{PROCESSOR.format(processor_time())}',
              file=stream, flush=True)
        sys.stdout = stream
        return result


def main():
    """Run what the command line names, and of that what --only does."""
    program, *names = sys.argv
    only = [name for word, name in zip(names, names[1:]) if word == '--only']
    unittest.main(argv=[program, *(only or names)], testRunner=Runner(),
                  verbosity=0)
