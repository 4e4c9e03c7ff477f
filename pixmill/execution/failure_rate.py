"""The rule that stops a run of which too many of the last jobs went wrong."""

import threading
from collections import deque

from pixmill.config.model import Stop
from pixmill.execution.progress import Outcome

_SAYS_NOTHING = (Outcome.SKIPPED, Outcome.ELSEWHERE)
"""Outcomes of jobs that this run did not try: they tell nothing of the provider."""


class FailureRate:
    """The outcomes of the last `stop.window` jobs of a run in this process. Thread-safe.

    With Dask each worker process has a window of its own, and the first one that is exceeded stops
    the run.
    """

    def __init__(self, stop: Stop) -> None:
        self._lock = threading.Lock()
        self._window: deque[str] = deque(maxlen=stop.window)
        # What is in doubt may have cost money and is no image: it counts as failed.
        self._rules = (
            ("failed or in doubt", ("failed", "in_doubt"), stop.failed_fraction),
            ("refused", ("refused",), stop.refused_fraction),
        )

    def record(self, outcome: str) -> str | None:
        """Add a job's outcome. Returns which outcomes are too many now, or `None`.

        Nothing is too many before the window is full.
        """
        if outcome in _SAYS_NOTHING:
            return None
        with self._lock:
            self._window.append(outcome)
            size = len(self._window)
            if size < (self._window.maxlen or 0):
                return None
            for name, outcomes, most in self._rules:
                if sum(map(self._window.count, outcomes)) > most * size:
                    return name
            return None
