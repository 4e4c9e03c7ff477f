"""The tasks of an account: what a submit started, until the provider forgets it."""

import heapq
import secrets
from collections.abc import Callable, Container, Iterable
from typing import Literal, NamedTuple, TypeAlias

from pixmill.simulator.bill import Entry

RETENTION = 12 * 3600
"""Seconds after its submit for which a task can be asked for, as documented by the provider."""

Fate: TypeAlias = (
    int
    | Literal[
        "done",
        "empty",
        "endless",
        "not_found",
        "expired",
        "failed",
        "canceled",
        "over_max_retries",
    ]
)
"""What becomes of a task: a code of the service for one that failed, or a word.

`done` has its pictures, `empty` is done without any, `endless` works forever, `not_found` is
forgotten at once. The others are words of the provider that a poll finds at the end; nobody
documents the last three, but client programs look for them.
"""

# Some 30,000 years, as JSON has no infinity.
_FOREVER = 1e12

# The first tenth of its time a task waits.
_QUEUED_SHARE = 0.1


class SimulatedTask(NamedTuple):
    """A task."""

    task_id: str

    entry: Entry
    """Its line on the bill, to be written when it ends."""

    prompt: str

    began: float
    """When it was submitted; this and the next two by the clock of the tasks, in seconds."""

    generates: float
    """When its turn comes."""

    ends: float

    recipes: tuple[str, ...]
    """The packed recipes of its pictures."""

    image_fault: str = ""
    """What fetching its pictures meets, packed."""

    fate: Fate = "done"

    def tell(self, now: float) -> Fate | Literal["in_queue", "generating"]:
        """Return where the task is: on its way, or at its fate."""
        if self.fate == "not_found" or now >= self.ends:
            return self.fate
        return "in_queue" if now < self.generates else "generating"


class Tasks:
    """All tasks of an account.

    `clock` tells seconds, also of the time in which no simulator runs.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        retention: float = RETENTION,
    ) -> None:
        self._clock = clock
        self._retention = retention
        # In the order of their submits.
        self._tasks: dict[str, SimulatedTask] = {}
        self._working: list[tuple[float, str, SimulatedTask]] = []

    def start(
        self,
        entry: Entry,
        prompt: str,
        seconds: float,
        recipes: Iterable[str],
        image_fault: str,
        fate: Fate,
    ) -> SimulatedTask:
        """Start a task that works for `seconds`."""
        # 19 digits, as at the provider.
        task_id = str(10**18 + secrets.randbelow(9 * 10**18))
        now = self._clock()
        task = SimulatedTask(
            task_id=task_id,
            entry=entry._replace(task_id=task_id),
            prompt=prompt,
            began=now,
            generates=now + _QUEUED_SHARE * seconds,
            ends=now + (_FOREVER if fate == "endless" else seconds),
            recipes=tuple(recipes),
            image_fault=image_fault,
            fate=fate,
        )
        self._tasks[task_id] = task
        heapq.heappush(self._working, (task.ends, task_id, task))
        return task

    def take_over(
        self,
        tasks: Iterable[SimulatedTask],
        ended: Container[str],
    ) -> list[SimulatedTask]:
        """Continue the tasks of another simulator, and return those that have not ended.

        `ended` are the ids of those whose end is on the bill already.
        """
        working = []
        now = self._clock()
        for task in tasks:
            if not self._is_kept(task, now):
                continue
            self._tasks[task.task_id] = task
            if task.task_id not in ended:
                heapq.heappush(self._working, (task.ends, task.task_id, task))
                working.append(task)
        return working

    def take_ended(self) -> list[SimulatedTask]:
        """Return the tasks that have ended since the last time, and forget those of long ago."""
        now = self._clock()
        ended = []
        while self._working and self._working[0][0] <= now:
            *_, task = heapq.heappop(self._working)
            ended.append(task)
        while self._tasks:
            oldest = next(iter(self._tasks.values()))
            if self._is_kept(oldest, now):
                break
            del self._tasks[oldest.task_id]
        return ended

    def find(self, task_id: object) -> SimulatedTask | None:
        """Return a task; None for one that was never started or is forgotten."""
        task = self._tasks.get(str(task_id))
        return task if task and self._is_kept(task, self._clock()) else None

    def tell(self, task: SimulatedTask) -> Fate | Literal["in_queue", "generating"]:
        """Return where `task` is now."""
        return task.tell(self._clock())

    def _is_kept(self, task: SimulatedTask, now: float) -> bool:
        return now < task.began + self._retention
