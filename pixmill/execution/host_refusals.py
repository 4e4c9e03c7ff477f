"""The rule that stops the paying where nothing that is paid for can be fetched."""

import json
import threading
from collections import Counter

from pixmill.execution.stop_reasons import image_host_refuses
from pixmill.execution.stop_signal import StopSignal
from pixmill.ledger import Ledger, queries
from pixmill.storage.image_decoding import ImageError

_REFUSALS = frozenset({"address", "forbidden", "unreachable"})
"""Problems of the host rather than of one image: a private address, a 403, a name that is dead."""


class HostRefusals:
    """Output images that their host did not give, in a row. Thread-safe.

    At the `most`-th one the run stops. None where nothing is paid: a repair tries all of them.
    """

    def __init__(self, stop: StopSignal, most: int | None) -> None:
        self._stop = stop
        self._most = most
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.seen = Counter[str]()
        """What hosts said, with how often."""

    def record(self, error: ImageError) -> None:
        """Count an image that could not be had. One that is damaged says nothing of its host."""
        # A run that ends gives its fetches up, which is not the host's fault.
        if error.problem not in _REFUSALS or self._stop.is_set:
            return
        with self._lock:
            self.seen[describe_refusal(error)] += 1
            self._in_a_row += 1
            is_enough = self._in_a_row == self._most
        if is_enough:
            self._stop.stop(image_host_refuses(self._in_a_row, str(error)))

    def reset(self) -> None:
        """An image came: the row of failures is over."""
        with self._lock:
            self._in_a_row = 0


def describe_refusal(error: ImageError) -> str:
    """Say why an image could not be had, with the line of a config that helps where there is one."""
    return f"{error}; if you trust it: {error.hint}" if error.hint else str(error)


def last_refusal(ledger: Ledger, name: str) -> str | None:
    """Return what most images were not had for in the last run of the config `name`, `None` where
    all came."""
    for run in ledger.read(queries.last_runs, name):
        # One that has no summary was killed, or is under way.
        if run["summary"]:
            seen = json.loads(run["summary"]).get("image_refusals")
            return max(seen, key=seen.__getitem__) if seen else None
    return None
