"""The queues between chunks and the threads that work: what may go now, and what waits
out a pause.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pixmill.errors import PixmillError
from pixmill.planning.jobs import Job

if TYPE_CHECKING:
    from pixmill.execution.lanes import Lane

Item = TypeVar("Item")


@dataclass
class ChunkTracker:
    """Tracks a caller's jobs: counts outcomes, and is done once all have one."""

    waiting: int
    """Jobs without an outcome."""
    outcomes: dict[str, int] = field(default_factory=dict)
    images: list[Future[Any]] = field(default_factory=list)
    """The downloads of jobs that have succeeded."""
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, outcome: str) -> None:
        """Note one job's outcome."""
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            self.waiting -= 1
            if not self.waiting:
                self.done.set()

    def wait(self) -> dict[str, int]:
        """Wait until all jobs have ended and their images are there; return the counts."""
        self.done.wait()
        for image in self.images:
            image.result()
        return self.outcomes


class WorkItem(NamedTuple):
    """A job that waits to be sent, for the first time or once more."""

    job: Job
    tracker: ChunkTracker
    """Of the chunk that it belongs to."""
    faults: int
    """Faults of the service that it met in this run."""
    throttled: int
    """How often the service said in this run that it was asked too much."""
    queued_at: float
    """When it began to wait, by the monotonic clock."""
    lane: "Lane"
    """Where it waits, and whose limits it goes by."""


class WorkQueue(Generic[Item]):
    """Items that may go now, in order, and items that wait out a pause."""

    def __init__(self) -> None:
        self._ready: deque[Item] = deque()
        # A heap by time; the number keeps equal times in order and items uncompared.
        self._later: list[tuple[float, int, Item]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._order = 0

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing more, and hands out what it has without pauses."""
        return self._closed

    def put(self, items: Sequence[Item]) -> None:
        """Add items that may go now. Raises PixmillError once closed: nobody would take them."""
        with self._changed:
            if self._closed:
                raise PixmillError("the run has ended; nothing more is sent in it")
            self._ready.extend(items)
            self._changed.notify(len(items))

    def put_delayed(self, item: Item, seconds: float) -> bool:
        """Add an item that may go after a pause. Return whether it was taken: not once closed."""
        with self._changed:
            # Those who take may have ended by then.
            if self._closed:
                return False
            self._order += 1
            due = time.monotonic() + seconds
            heapq.heappush(self._later, (due, self._order, item))
            self._changed.notify()
            return True

    def take(self) -> Item | None:
        """Return the next item, waiting for one; `None` once closed and empty."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._later and (self._closed or self._later[0][0] <= now):
                    return heapq.heappop(self._later)[2]
                if self._ready:
                    return self._ready.popleft()
                if self._closed:
                    return None
                self._changed.wait(self._later[0][0] - now if self._later else None)

    def release_delayed(self) -> None:
        """End all pauses: the run stops, and what waits is handed out to be skipped."""
        with self._changed:
            self._ready.extend(item for _, _, item in self._later)
            self._later.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End every `take`, once what waits has been taken without its pauses.

        So no chunk is left without an end.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
