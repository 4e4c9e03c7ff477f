"""SIGHUP: the terminal window was closed, or the connection to the machine was lost."""

import subprocess
import sys

from tests.conftest import ROOT

HANG_UP = """
import os, signal, sys, threading
from pixmill.interrupt import drained_by_signals
stopped = threading.Event()
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with drained_by_signals(lambda name: stopped.set()):
    os.kill(os.getpid(), signal.SIGHUP)
    print("drains" if stopped.wait(1 if sys.argv[1] == "nohup" else 30) else "goes on")
"""


def hung_up(how: str) -> tuple[int, str]:
    """The return code of a process to which SIGHUP came while it paid, and what it did next."""
    done = subprocess.run(
        [sys.executable, "-c", HANG_UP, how], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout.strip()


def test_a_closed_terminal_window_lets_calls_in_flight_end() -> None:
    """A7: they are paid, so they are waited for, as after SIGTERM."""
    assert hung_up("terminal") == (0, "drains")


def test_a_run_under_nohup_does_not_notice_that_its_terminal_closes() -> None:
    """A7."""
    assert hung_up("nohup") == (0, "goes on")
