"""A world with its own time: threads are fibers, a seeded scheduler picks who goes on, and only waiting takes time.

Fibers switch where threads may meet (locks, events, queues, pauses) and nowhere else, so that seed and code decide the
whole history, and it can be had again step by step. The clock moves on when no fiber can. A process that dies is never
switched to again, and so runs no `finally`, as after `kill -9`. Its connections to SQLite need no copy of the files: no
switch happens inside a transaction, so that what they leave is what a killed process leaves.
"""

import heapq
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NoReturn

from greenlet import GreenletExit, getcurrent, greenlet

START = 1_800_000_000.0
"""What the wall clock says in the beginning, in seconds since 1970."""
MOST_STEPS = 3_000_000


class Violation(AssertionError):
    """A promise was broken; the text says which, when, and how to see it again."""


@dataclass(eq=False)
class Process:
    """A process of the world: its threads live and die with it, and may all be suspended for a while.

    `skew` is what its wall clock is wrong by, in seconds; `dies_at` the step of it at which it is killed.
    """

    name: str
    pid: int
    host: str = "here"
    skew: float = 0.0
    dies_at: int | None = None
    frozen_until: float = 0.0
    steps: int = 0
    dead: bool = False
    ended: bool = False
    freezes: int = 0
    joiners: list["Fiber"] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        """Whether it ended or was killed."""
        return self.dead or self.ended


class Fiber:
    """A thread of a process. `parked` counts its waits, so that a timer of an earlier one wakes nobody."""

    __slots__ = ("done", "greenlet", "name", "parked", "process", "waits", "woken")

    def __init__(
        self, name: str, process: Process, run: Callable[[], None], hub: greenlet
    ) -> None:
        self.name, self.process = name, process
        self.greenlet = greenlet(run, hub)
        self.parked = self.woken = self.done = False
        self.waits = 0


class World:
    """Fibers, the clock and what went wrong. `switching` is how often a fiber gives way where nothing makes it."""

    def __init__(self, seed: object) -> None:
        self.seed = seed
        self.random = Random(repr(seed))
        self.switching = self.random.choice((0.02, 0.2, 0.6))
        self.now = 0.0
        self.wall_jump = 0.0
        self.steps = 0
        self.over = False
        self.failure: str | None = None
        self.processes: list[Process] = []
        self.fibers: list[Fiber] = []
        self.current: Fiber | None = None
        self._hub = getcurrent()
        self._ready: list[Fiber] = []
        self._timers: list[tuple[float, int, Fiber, int]] = []
        self._order = 0

    # Processes

    def begin(self, name: str, life: Callable[[], None], **traits: Any) -> Process:
        """Start a process whose main thread runs `life`."""
        process = Process(name, len(self.processes) + 1, **traits)
        self.processes.append(process)

        def main() -> None:
            life()
            self._is_gone(process, dead=False)
            mine = [
                fiber
                for fiber in self.fibers
                if fiber.process is process and not fiber.done
            ][1:]
            left = [fiber.name for fiber in mine if not fiber.name.endswith("signal")]
            if left:
                self.fail(f"{name} ended and left threads behind: {left}")

        self.spawn(name, main, process)
        return process

    def spawn(
        self, name: str, target: Callable[[], None], process: Process | None = None
    ) -> Fiber:
        """Start a thread in `process`, by default the caller's own."""

        def run() -> None:
            try:
                target()
            except Exception:
                if self.over:
                    return
                self.fail(f"{name} ended by an error:\n{traceback.format_exc()}")
            fiber.done = True

        fiber = Fiber(name, process or self.here, run, self._hub)
        self.fibers.append(fiber)
        self._ready.append(fiber)
        return fiber

    @property
    def here(self) -> Process:
        """The process whose thread runs now."""
        return self._fiber.process

    @property
    def _fiber(self) -> Fiber:
        assert self.current, "only a thread of the world can do this"
        return self.current

    def join(self, process: Process) -> None:
        """Wait until `process` ended or died."""
        while not process.gone:
            process.joiners.append(self._fiber)
            self.park()

    def kill(self, process: Process) -> None:
        """End `process` where it is, as `kill -9` does."""
        self._is_gone(process, dead=True)

    def freeze(self, process: Process, seconds: float) -> None:
        """Suspend all threads of `process`, as a closed laptop does."""
        process.frozen_until, process.freezes = self.now + seconds, process.freezes + 1

    def _is_gone(self, process: Process, *, dead: bool) -> None:
        process.dead, process.ended = dead, not dead
        for fiber in process.joiners:
            self.wake(fiber)

    # What fibers do

    def preempt(self) -> None:
        """Give way to another thread, or not."""
        if self.current and not self.over and self.random.random() < self.switching:
            self._ready.append(self.current)
            self._leave()

    def park(self, seconds: float | None = None) -> bool:
        """Wait to be woken, for `seconds` at most; say whether that happened."""
        fiber = self.current
        if self.over or fiber is None:
            raise GreenletExit
        fiber.waits += 1
        fiber.parked, fiber.woken = True, False
        if seconds is not None:
            self._push(self.now + max(0.0, seconds), fiber)
        self._leave()
        return fiber.woken

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.park(seconds)

    def wake(self, fiber: Fiber) -> None:
        """Let a parked thread go on."""
        if fiber.parked:
            fiber.parked, fiber.woken = False, True
            self._ready.append(fiber)

    def fail(self, what: str) -> NoReturn:
        """End the world: a promise was broken."""
        who = self.current.name if self.current else "the end"
        self.failure = (
            f"{what}\nseed {self.seed!r}, {self.now:.3f} s, step {self.steps}, in {who}"
        )
        if self.current:
            self._hub.switch()
        raise Violation(self.failure)

    def _leave(self) -> None:
        self._hub.switch()
        if self.over:
            raise GreenletExit

    def _push(self, at: float, fiber: Fiber) -> None:
        self._order += 1
        heapq.heappush(self._timers, (at, self._order, fiber, fiber.waits))

    # The scheduler

    def run(self) -> None:
        """Let everything happen until all processes ended or died. Raises Violation where a promise was broken."""
        try:
            while any(not fiber.process.gone for fiber in self.fibers):
                self._step()
        finally:
            self._end()

    def _step(self) -> None:
        if not self._ready:
            self._move_on()
        fiber = self._ready.pop(self.random.randrange(len(self._ready)))
        process = fiber.process
        if process.dead:
            return
        if process.frozen_until > self.now:
            fiber.parked = True
            self._push(process.frozen_until, fiber)
            return
        self.steps += 1
        process.steps += 1
        if process.steps == process.dies_at:
            self._is_gone(process, dead=True)
            return
        self.current = fiber
        fiber.greenlet.switch()
        self.current = None
        if self.failure:
            raise Violation(self.failure)
        if self.steps > MOST_STEPS:
            self.fail("I7: there is no end to it")

    def _move_on(self) -> None:
        """Let the clock jump to the next moment at which something happens."""
        while not self._ready:
            if not self._timers:
                waiting = [
                    fiber.name
                    for fiber in self.fibers
                    if fiber.parked and not fiber.process.gone
                ]
                self.fail(
                    f"I7: nothing can ever happen again, and these wait: {waiting}"
                )
            at, _, fiber, wait = heapq.heappop(self._timers)
            if fiber.parked and fiber.waits == wait and not fiber.process.dead:
                self.now = max(self.now, at)
                fiber.parked = False
                self._ready.append(fiber)

    def _end(self) -> None:
        """Throw away what was left of the dead; their `finally` blocks find locks that let them through."""
        self.over, self.current = True, None
        for fiber in self.fibers:
            if not fiber.greenlet.dead and fiber.greenlet:
                fiber.greenlet.throw()
        self.fibers.clear()
