"""Faults of this program that a run survives: few of them cost a picture each, many end it."""

import threading

from pixmill.errors import PixmillError
from pixmill.execution.stop_signal import StopSignal
from pixmill.redaction import mask_secrets

MOST_BUGS = 5
"""Faults after which a run sends nothing more: a program that fails on every answer
must not pay for a whole table.
"""


class BugLimit:
    """Counts internal errors of one part of a run, and stops the run at `MOST_BUGS`.
    Thread-safe.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._bugs = 0
        self._lock = threading.Lock()

    def note(self, error: Exception) -> str:
        """Count `error`; return what it says, without secrets."""
        what = mask_secrets(f"{type(error).__name__}: {error}")
        with self._lock:
            self._bugs += 1
            are_many = self._bugs >= MOST_BUGS
        if are_many:
            hint = (
                f"it was met {MOST_BUGS} times, so nothing more is sent; "
                "`pixmill status` lists the jobs in doubt"
            )
            self._stop.fail(PixmillError(f"internal error: {what}", hint=hint))
        return what
