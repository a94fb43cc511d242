from __future__ import annotations

import subprocess
import sys
import threading
import time

from athanor.instruments.deadlines import outcome, spawn


def fail() -> None:
    raise KeyError("axis")


def time_out() -> None:
    raise TimeoutError("the device did not answer")


def test_results_failures_and_silence_are_told_apart() -> None:
    soon = time.monotonic() + 5
    assert outcome(spawn(lambda: 7, "work"), soon) == (7, None)
    assert outcome(spawn(fail, "work"), soon) == (None, "KeyError: 'axis'")
    assert outcome(spawn(time_out, "work"), soon) == (None, "the device did not answer")
    assert outcome(spawn(threading.Event().wait, "work"), time.monotonic() + 0.02) == (None, "no answer in time")


def test_a_deadline_that_has_passed_still_gets_what_is_there() -> None:
    done = spawn(lambda: 7, "work")
    done.result(5)
    assert outcome(done, time.monotonic() - 1) == (7, None)


def test_work_that_never_ends_does_not_keep_the_process() -> None:
    code = "import threading\nfrom athanor.instruments.deadlines import spawn\nspawn(threading.Event().wait, 'never')\n"
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0
