"""The rule that stops the paying where nothing that is paid for can be fetched."""

import threading
from collections import Counter

from pixmill.execution.stop_reasons import image_host_refuses
from pixmill.execution.stop_signal import StopSignal
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
            self.seen[str(error)] += 1
            self._in_a_row += 1
            is_enough = self._in_a_row == self._most
        if is_enough:
            self._stop.stop(image_host_refuses(self._in_a_row, str(error)))

    def reset(self) -> None:
        """An image came: the row of failures is over."""
        with self._lock:
            self._in_a_row = 0
