"""The tasks of an account: what a submit started, until the provider forgets it."""

import heapq
import secrets
from collections.abc import Callable
from typing import NamedTuple

from pixmill.simulator.bill import Entry

RETENTION = 12 * 3600
"""Seconds after its submit for which a task can be asked for, as documented by the provider."""

# The first tenth of its time a task waits.
_QUEUED_SHARE = 0.1


class Task(NamedTuple):
    """A task."""

    task_id: str

    entry: Entry
    """Its line on the bill, to be written when it ends."""

    prompt: str

    began: float
    """When it was submitted, by the clock of the tasks, in seconds."""

    ends: float

    recipes: tuple[str, ...]
    """The packed recipes of its pictures."""

    image_fault: str = ""
    """What fetching its pictures meets, packed."""

    def status(self, now: float) -> str:
        """Return the word of the provider for where the task is."""
        if now >= self.ends:
            return "done"
        waits_until = self.began + _QUEUED_SHARE * (self.ends - self.began)
        return "in_queue" if now < waits_until else "generating"


class Tasks:
    """All tasks of an account.

    `clock` tells seconds that go on while no simulator runs.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        retention: float = RETENTION,
    ) -> None:
        self._clock = clock
        self._retention = retention
        # In the order of their submits.
        self._tasks: dict[str, Task] = {}
        self._working: list[tuple[float, str, Task]] = []

    def start(
        self,
        entry: Entry,
        prompt: str,
        seconds: float,
        recipes: tuple[str, ...],
        image_fault: str,
    ) -> Task:
        """Start a task that works for `seconds`."""
        # 19 digits, as at the provider.
        task_id = str(10**18 + secrets.randbelow(9 * 10**18))
        now = self._clock()
        task = Task(
            task_id=task_id,
            entry=entry._replace(task_id=task_id),
            prompt=prompt,
            began=now,
            ends=now + seconds,
            recipes=recipes,
            image_fault=image_fault,
        )
        self._tasks[task_id] = task
        heapq.heappush(self._working, (task.ends, task_id, task))
        return task

    def take_ended(self) -> list[Task]:
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

    def find(self, task_id: object) -> Task | None:
        """Return a task; None for one that was never started or is forgotten."""
        task = self._tasks.get(str(task_id))
        return task if task and self._is_kept(task, self._clock()) else None

    def status(self, task: Task) -> str:
        """Return the word of the provider for where `task` is now."""
        return task.status(self._clock())

    def _is_kept(self, task: Task, now: float) -> bool:
        return now < task.began + self._retention
