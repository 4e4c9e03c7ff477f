"""What stands in for threads and clocks while a world is there: the same names and promises as in the standard library.

No order is kept that the library does not promise: who gets a lock or a notification is drawn by lot.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

import pixmill.execution.thread_executor
import pixmill.execution.work_queue
from pixmill.ledger import process_owner as owner
from pixmill.ledger import sqlite
from pixmill.limits import account_lease
from tests.virtual.world import START, Fiber, World

_now: list[World] = []


def acquire(world: World) -> None:
    """Let everything that is made from now on belong to `world`."""
    _now[:] = [world]


def world() -> World:
    """The world of this moment."""
    return _now[0]


class Waiters:
    """Threads that wait for the same thing."""

    def __init__(self) -> None:
        self._world = world()
        self._fibers: list[Fiber] = []

    def wait(self, seconds: float | None = None) -> bool:
        """Wait to be woken; False: time was up."""
        fiber = self._world.current
        if fiber:
            self._fibers.append(fiber)
        woken = self._world.park(seconds)
        if fiber in self._fibers:
            self._fibers.remove(fiber)
        return woken

    def wake(self, number: int | None = None) -> None:
        """Wake some, by lot; by default all."""
        for _ in range(
            len(self._fibers) if number is None else min(number, len(self._fibers))
        ):
            self._world.wake(
                self._fibers.pop(self._world.random.randrange(len(self._fibers)))
            )


class Lock:
    """Stands in for `threading.Lock`, and for `RLock`, as nothing here takes one twice."""

    def __init__(self) -> None:
        self._world, self._waiters, self._held = world(), Waiters(), False

    def acquire(self) -> bool:
        self._world.preempt()
        while self._held and not self._world.over:
            self._waiters.wait()
        self._held = True
        return True

    def release(self) -> None:
        assert self._held or self._world.over, "a lock was given back that nobody held"
        self._held = False
        self._waiters.wake(1)
        self._world.preempt()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Event:
    """Stands in for `threading.Event`."""

    def __init__(self) -> None:
        self._world, self._waiters, self._set = world(), Waiters(), False

    def is_set(self) -> bool:
        self._world.preempt()
        return self._set

    def set(self) -> None:
        self._world.preempt()
        self._set = True
        self._waiters.wake()

    def clear(self) -> None:
        self._world.preempt()
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        self._world.preempt()
        return self._set or self._waiters.wait(timeout) or self._set


class Condition(Lock):
    """Stands in for `threading.Condition`."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = Waiters()

    def wait(self, timeout: float | None = None) -> bool:
        self._held = False
        self._waiters.wake(1)
        woken = self._changed.wait(timeout)
        self.acquire()
        return woken

    def notify(self, n: int = 1) -> None:
        self._changed.wake(n)

    def notify_all(self) -> None:
        self._changed.wake()


class Thread:
    """Stands in for `threading.Thread`."""

    def __init__(
        self,
        *,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        name: str = "thread",
        **_: bool,
    ) -> None:
        self._world, self._target, self._args, self.name = world(), target, args, name
        self._ended = Event()

    def start(self) -> None:
        self._world.spawn(f"{self._world.here.name}/{self.name}", self._run)
        self._world.preempt()

    def _run(self) -> None:
        self._target(*self._args)
        self._ended.set()

    def join(self) -> None:
        self._ended.wait()


class Queue:
    """Stands in for `queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._world, self._waiters = world(), Waiters()
        self._items: deque[Any] = deque()

    def __class_getitem__(cls, _: object) -> type["Queue"]:
        return cls

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._waiters.wake(1)
        self._world.preempt()

    def get(self) -> Any:
        self._world.preempt()
        while not self._items:
            self._waiters.wait()
        return self._items.popleft()

    def empty(self) -> bool:
        self._world.preempt()
        return not self._items


class Future:
    """Stands in for what a pool returns; nobody asks for an exception."""

    def __init__(self) -> None:
        self.ended, self.value = Event(), None

    def result(self) -> Any:
        self.ended.wait()
        return self.value


class Pool:
    """Stands in for `ThreadPoolExecutor`."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None:
        self._queue, self._most, self._prefix = Queue(), max_workers, thread_name_prefix
        self._threads: list[Thread] = []

    def submit(self, task: Callable[..., object], *args: Any) -> "Future":
        if len(self._threads) < self._most:
            thread = Thread(
                target=self._work, name=f"{self._prefix}-{len(self._threads)}"
            )
            self._threads.append(thread)
            thread.start()
        future = Future()
        self._queue.put((task, args, future))
        return future

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            task, args, future = work
            with suppress(Exception):
                future.value = task(*args)
            future.ended.set()

    def shutdown(self, wait: bool = True) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads if wait else ():
            thread.join()


def wall_clock() -> float:
    """The wall clock of the process that asks, in seconds since 1970."""
    here = world()
    return (
        START
        + here.now
        + here.wall_jump
        + (here.current.process.skew if here.current else 0.0)
    )


_THREADING = SimpleNamespace(
    Thread=Thread, Lock=Lock, RLock=Lock, Event=Event, Condition=Condition
)
_TIME = SimpleNamespace(
    **{
        **vars(time),
        "monotonic": lambda: world().now,
        "perf_counter": lambda: world().now,
        "sleep": lambda seconds: world().sleep(seconds),
        "time": wall_clock,
        "time_ns": lambda: int(wall_clock() * 1e9),
    }
)
_STANDS_IN = {
    threading: _THREADING,
    time: _TIME,
    SimpleQueue: Queue,
    ThreadPoolExecutor: Pool,
}
_DEFAULTS = {time.monotonic: _TIME.monotonic, threading.Event.wait: Event.wait}


def install(patch: pytest.MonkeyPatch) -> None:
    """Let the library's modules see the stand-ins, also where a clock is the default of a parameter."""
    tracker = pixmill.execution.work_queue.ChunkTracker
    for module in [
        module
        for name, module in sys.modules.items()
        if name.startswith("pixmill.") and module
    ]:
        for name, value in list(vars(module).items()):
            if isinstance(value, ModuleType | type) and value in _STANDS_IN:
                patch.setattr(module, name, _STANDS_IN[value])
        for function in _functions(module):
            defaults: dict[str, Any] = function.__kwdefaults__ or {}
            for name, value in defaults.items():
                if (
                    isinstance(value, FunctionType | type(time.monotonic))
                    and value in _DEFAULTS
                ):
                    patch.setitem(defaults, name, _DEFAULTS[value])
    # The defaults of a dataclass are made by what stood there when it was defined.
    patch.setattr(
        pixmill.execution.thread_executor,
        "ChunkTracker",
        lambda waiting: tracker(waiting, {}, [], Event(), Lock()),
    )
    patch.setattr(sqlite, "connect", _connect)
    _install_owners(patch)
    # The names of leases decide who comes first: drawn at random, they would make each run of a seed another one.
    patch.setattr(account_lease, "secrets", SimpleNamespace(token_hex=_token_hex))


def _token_hex(length: int) -> str:
    return world().random.randbytes(length).hex()


def _connect(path: Path, *, writing: bool) -> Engine:
    """What opens a ledger, but all share the compiled statements: to compile these takes longer than a run here."""
    engine = _REALLY_CONNECT(path, writing=writing)
    engine.connect().close()  # the dialect learns what this SQLite can do
    engine.dialect = _SHARED.setdefault("dialect", engine.dialect)
    engine.update_execution_options(compiled_cache=_SHARED)
    return engine


_SHARED: dict[Any, Any] = {}
_REALLY_CONNECT = sqlite.connect


def _functions(module: ModuleType) -> list[FunctionType]:
    own = [
        value
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
    ]
    inner = [
        value for kind in own if isinstance(kind, type) for value in vars(kind).values()
    ]
    return [value for value in (*own, *inner) if isinstance(value, FunctionType)]


def _install_owners(patch: pytest.MonkeyPatch) -> None:
    """Let the real rules about owners speak of the processes and hosts of the world."""
    patch.setattr(owner, "os", SimpleNamespace(getpid=lambda: world().here.pid))
    patch.setattr(owner, "_place", lambda _: f"{world().here.host}|machine|pids|boot")
    patch.setattr(owner, "_process_start", _process_start)
    patch.setattr(
        owner, "_owner", owner._owner.__wrapped__
    )  # its cache knows nothing of worlds


def _process_start(pid: int) -> str:
    alive = {fiber.process.pid for fiber in world().fibers if not fiber.process.gone}
    return "born" if pid in alive else ""
