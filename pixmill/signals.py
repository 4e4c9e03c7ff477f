"""Ctrl-C, SIGTERM and a closed terminal: the first signal drains the run; only a person who insists
leaves at once.

What follows the first signal within moments was not thought over. A shell whose terminal closes
passes SIGHUP on, and the kernel sends another one right behind it; `timeout` signals its command
and then the whole group. None of them knows of calls in flight that were paid for, so none counts
but a Ctrl-C that comes after the person saw the first one heeded.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_INTERRUPTED = 130
AGAIN_SECONDS = 1.0
"""How long after the first signal a Ctrl-C counts as a second one: echoes come within milliseconds.
"""

_LEFT = (
    b"\nleft at once: calls in flight may have been charged. Run the same command again: it tells "
    b"them as in doubt, and asks for tasks that still work at the provider\n"
)

Handler = Callable[[int, FrameType | None], None]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def graceful_shutdown(stop: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` with the name of the first SIGINT, SIGTERM or SIGHUP; at a person's second
    Ctrl-C, exit with 130.

    To be entered inside a flow's body, because the flow engine installs a SIGTERM handler of its
    own.
    """

    def drain(name: str) -> None:
        # On a thread of its own: the interrupted code may hold the very locks that stopping takes.
        threading.Thread(target=stop, args=(name,), daemon=True).start()

    def leave() -> None:
        # Not through `sys.stderr`, in whose lock the interrupted code may be.
        with suppress(OSError):
            os.write(2, _LEFT)
        # Without exit handlers, which would wait for the calls that the person does not want to
        # wait for.
        os._exit(EXIT_INTERRUPTED)

    with handle_signals(drain_or_leave(drain, leave)):
        yield


def drain_or_leave(first: Callable[[str], None], again: Callable[[], None]) -> Handler:
    """Return a handler that calls `first` with the name of the first signal and `again` at a
    person's second Ctrl-C.

    SIGTERM and SIGHUP never count as a second one: whoever sends them to hurry a process on has
    SIGKILL.
    """
    since: float | None = None

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal since
        now = time.monotonic()
        if since is None:
            since = now
            first(signal.Signals(number).name)
        elif number == signal.SIGINT and now - since >= AGAIN_SECONDS:
            again()

    return handle


@contextmanager
def handle_signals(handler: Handler) -> Iterator[None]:
    """Let `handler` take the signals that end a process; off the main thread, where Python allows
    none, do nothing.

    One that whoever started this process has it ignore stays so: that is what `nohup` and `&` are
    for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [
        number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
