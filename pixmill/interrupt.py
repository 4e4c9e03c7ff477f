"""Ctrl-C, SIGTERM and a closed terminal: the first drains the run, the second leaves at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def drained_by_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` with the signal's name at the first SIGINT, SIGTERM or SIGHUP; at the second, exit with 130.

    To be entered inside a flow's body, because the flow engine installs a SIGTERM handler of its own.
    """
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(EXIT_INTERRUPTED)
        asked = True
        # On a thread of its own: the interrupted code may hold the very locks that stopping takes.
        threading.Thread(target=stop, args=(signal.Signals(number).name,), daemon=True).start()

    with signals_taken_by(handle):
        yield


@contextmanager
def signals_taken_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `handler` take the signals that end a process; off the main thread, where Python allows none, do nothing.

    One that whoever started this process has it ignore stays so: that is what `nohup` and `&` are for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
