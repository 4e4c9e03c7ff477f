"""Whether a run still sends calls, and if not, why: one signal that all its parts share."""

import threading
from collections.abc import Callable

from pixmill.errors import PixmillError
from pixmill.execution.stop_reasons import StopCode, StopReason, most_severe


class StopSignal:
    """Set once a run sends nothing more. Executor, downloads and workers of it share one.

    There are two kinds of causes. A `reason` is a rule that the run was told to keep
    (a budget, a person's Ctrl-C) and decides its exit code. An `error` makes paying
    impossible (a ledger that can't be written) and is raised in the end.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        """The most severe reason so far; of equal ones the first."""
        self.error: PixmillError | None = None
        """The first error: those after it are mostly its consequences."""
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        """Whether nothing more is sent."""
        return self.reason is not None or self.error is not None

    @property
    def is_interrupted(self) -> bool:
        """Whether a person or the system asked for it, who wait for the end."""
        return self.reason is not None and self.reason.code is StopCode.INTERRUPTED

    def stop(self, reason: StopReason) -> None:
        """Send nothing more for `reason`."""
        with self._lock:
            known = self.reason
            self.reason = most_severe(known, reason)
            is_news = self.reason is not known
        if is_news:
            self._notify()

    def fail(self, error: PixmillError) -> None:
        """Send nothing more because going on is impossible, not because it is unwise."""
        with self._lock:
            is_news = self.error is None
            self.error = self.error or error
        if is_news:
            self._notify()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` at each new reason or error, and now if there was one.

        It is called on the thread of whoever stops the run, so it must not wait.
        """
        with self._lock:
            self._listeners.append(listener)
            is_late = self.is_set
        if is_late:
            listener()

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, `seconds` at most; return whether it is."""
        return self._set.wait(seconds)

    def _notify(self) -> None:
        self._set.set()
        # Outside of the lock: a listener may take locks of its own, whose holders may
        # be about to stop the run.
        for listener in tuple(self._listeners):
            listener()
