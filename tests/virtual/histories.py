"""Histories drawn by lot: processes that start, die, freeze, are stopped and overlap, and the calm after the storm.

What a seed draws is a config, a service with faults, and what becomes of each process. In the end the service is well
again: then a few runs finish everything, and the run after them pays for nothing (I12).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

from pixmill.config.model import Config
from pixmill.execution.stop_signal import StopSignal
from tests.virtual import threads
from tests.virtual.runs import Patience, Store, config_with
from tests.virtual.service import FAULTS, Weather
from tests.virtual.world import Process, World

Telling = TypeVar("Telling", bound=Store)
TIMEOUT = 30.0
DAY = 86_400.0
KEPT = Path(__file__).with_name("kept_seeds.txt")


class History(NamedTuple):
    """What a seed decided: the config, how bad the weather is, and the jobs; processes are drawn as it goes."""

    config: Config
    storm: Weather
    jobs: int
    waves: int


def drawn(lot: Random) -> History:
    """Draw a history."""
    jobs = lot.randint(3, 12)
    config = config_with(
        limits={
            "qps": lot.choice((1, 3, 10, 50)),
            "concurrency": lot.choice((1, 2, 4, 6, "auto")),
            "timeout_seconds": TIMEOUT,
        },
        retry={
            "max_attempts": lot.randint(1, 4),
            "max_runs": lot.randint(1, 3),
            "rerolls": lot.randint(0, 2),
        },
        budget={"max_calls": lot.choice((None, None, lot.randint(1, jobs)))},
        in_doubt=lot.choice(("hold", "hold", "retry")),
        stop={
            "window": lot.choice((5, 50)),
            "failed_fraction": 0.9,
            "refused_fraction": 0.9,
        },
        output={"images": lot.choice(("url", "download"))},
    )
    names = lot.sample(sorted(FAULTS), lot.randint(1, 6))
    share = lot.choice((0.02, 0.1, 0.25, 0.6)) / len(names)
    slow = lot.choice((1, 1, 1, 10))
    storm = Weather(
        dict.fromkeys(names, share),
        (0.5 * slow, 4.0 * slow),
        lot.choice((1e9, 2, 5)),
        lot.choice((10**9, 1, 3)),
    )
    return History(config, storm, jobs, lot.randint(1, 3))


@contextmanager
def told(
    seed: object,
    folder: Path,
    empty: Path,
    config: Config,
    weather: Callable[[float], Any],
    jobs: int,
    kind: type[Telling] = Store,  # type: ignore[assignment]
) -> Iterator[Telling]:
    """A store in a new world. When the body ends, bill and ledger have to agree (I3)."""
    world = World(seed)
    threads.acquire(world)
    path = Path(shutil.copy(empty, folder / f"{len(list(folder.iterdir()))}.db"))
    store = kind(world, path, config, weather, jobs)
    try:
        yield store
        store.balance()
    finally:
        store.close()
        for file in folder.glob(f"{path.name}*"):
            file.unlink()


def live_through(seed: object, folder: Path, empty: Path) -> Store:
    """Live the history of `seed` to its end. Raises Violation where a promise is broken."""
    history = drawn(Random(repr(seed)))
    calm: list[bool] = []
    weather = lambda _: Weather() if calm else history.storm  # noqa: E731
    with told(seed, folder, empty, history.config, weather, history.jobs) as store:

        def operate() -> None:
            for _ in range(history.waves):
                wave(store.world, store)
            store.world.sleep(
                3 * DAY
            )  # every lease has run out, whatever the clock of its owner said
            calm.append(True)
            finish(store.world, store)

        store.world.begin("operator", operate)
        store.world.run()
    return store


def wave(world: World, store: Store, *, far_apart: bool = True) -> None:
    """A few processes at once: some die, freeze or are stopped.

    Those that are `far_apart` may be on another host with another clock.
    """
    lot = world.random
    running: list[Process] = []
    hosts = lot.choice((("here",), ("here", "there"))) if far_apart else ("here",)
    skews = (0.0, 0.0, 0.0, 3600.0, -3600.0, DAY, -DAY) if far_apart else (0.0,)
    for _ in range(lot.randint(1, 3)):
        mortal = lot.random() < 0.5
        signal = lot.uniform(0, 10) if lot.random() < 0.3 else None
        running.append(
            world.begin(
                f"p{len(world.processes)}",
                lambda signal=signal: store.run(
                    chunks=lot.randint(1, 3), patience=_until(signal, store)
                ),  # type: ignore[misc]
                host=lot.choice(hosts),
                skew=lot.choice(skews),
                dies_at=int(10 ** lot.uniform(0, 2.7)) if mortal else None,
            )
        )
        world.sleep(lot.uniform(0, lot.choice((0, 1, 5))))
    if lot.random() < 0.2:
        world.freeze(lot.choice(running), lot.choice((5.0, 60.0, 600.0)))
    if lot.random() < 0.2 and far_apart:
        world.wall_jump += lot.choice((3600.0, -3600.0, DAY, -DAY))
    for process in running:
        world.join(process)


def _until(seconds: float | None, store: Store) -> Patience | None:
    def wait_and_stop(stop: StopSignal) -> None:
        store.world.sleep(seconds or 0.0)
        store.stop(stop)

    return None if seconds is None else wait_and_stop


def finish(world: World, store: Store) -> None:
    """Run in good weather until nothing is left; the run after that must not pay."""
    config = store.config.model_copy(update={"budget": config_with().budget})
    for at in range(config.retry.max_runs + 3):
        before = store.progress()
        world.join(world.begin(f"calm {at}", lambda: store.run(config)))
        if store.progress() == before:
            break
    else:
        world.fail("I12: a run that has nothing to do still pays")
    before = store.service.calls.total()
    world.join(world.begin("once more", lambda: store.run(config)))
    if store.service.calls.total() != before:
        world.fail("I12: an identical second run pays")
    left = store.states()
    if left["pending"] or left["in_flight"] or left.total() != len(store.jobs):
        world.fail(f"I4: in the end the jobs are {dict(left)}")


def kept_seeds() -> list[int]:
    """The seeds that once broke a promise."""
    lines = (
        line.partition("#")[0].strip()
        for line in KEPT.read_text(encoding="utf-8").splitlines()
    )
    return [int(line) for line in lines if line]
