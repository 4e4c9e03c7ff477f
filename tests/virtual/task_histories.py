"""Histories of asynchronous operations drawn by lot: tasks die, submits and polls lose their answers."""

from pathlib import Path
from random import Random
from typing import NamedTuple

from pixmill.config.model import Config
from tests.virtual.histories import DAY, drawn, finish, told, wave
from tests.virtual.runs import Store
from tests.virtual.service import FAULTS
from tests.virtual.task_runs import FIRST, SECOND, TaskStore
from tests.virtual.task_service import FATES, POLL_FAULTS, TaskWeather

CALM_AFTER = 1200.0
"""Seconds after which all tasks have ended, and their results live."""


class TaskHistory(NamedTuple):
    """What a seed decided, see `histories.History`; `far_apart` are processes on hosts whose clocks disagree."""

    config: Config
    storm: TaskWeather
    jobs: int
    waves: int
    operations: tuple[str, ...]
    far_apart: bool


def draw_tasks(lot: Random) -> TaskHistory:
    """Draw a history."""
    config, storm, jobs, waves = drawn(lot)
    limits = config.limits.model_copy(
        update={
            "poll_qps": lot.choice((1.0, 5.0, 20.0)),
            "poll_seconds": lot.choice((0.5, 2.0, 10.0)),
            "task_timeout_seconds": lot.choice((5.0, 60.0, 600.0)),
        }
    )
    names = lot.sample(POLL_FAULTS, lot.randint(0, len(POLL_FAULTS)))
    fates = lot.sample(sorted(FATES), lot.randint(1, len(FATES)))
    share = lot.choice((0.0, 0.1, 0.4))
    weather = TaskWeather(
        submits=storm._replace(latency=(0.05, 0.5)),
        polls=dict.fromkeys(names, lot.choice((0.05, 0.1))),
        fates=dict.fromkeys(fates, share / len(fates)),
        work=lot.choice(((0.2, 1.0), (5.0, 20.0), (30.0, 300.0))),
    )
    return TaskHistory(
        config=config.model_copy(update={"limits": limits}),
        storm=weather,
        jobs=jobs,
        waves=waves,
        operations=lot.choice(((FIRST,), (FIRST, SECOND))),
        far_apart=lot.random() < 0.5,
    )


def live_through_tasks(seed: object, folder: Path, empty: Path) -> Store:
    """Live the history of `seed` to its end. Raises Violation where a promise is broken."""
    history = draw_tasks(Random(repr(seed)))
    calm: list[bool] = []

    class OfThisHistory(TaskStore):
        operations = history.operations

    def weather(_: float) -> TaskWeather:
        # Short enough for any `task_timeout_seconds` that is drawn.
        return TaskWeather(work=(0.2, 1.0)) if calm else history.storm

    with told(
        seed, folder, empty, history.config, weather, history.jobs, OfThisHistory
    ) as store:

        def operate() -> None:
            for _ in range(history.waves):
                wave(store.world, store, far_apart=history.far_apart)
            # Leases of hosts whose clocks are a day off have to run out, and then most results
            # are dead.
            store.world.sleep(3 * DAY if history.far_apart else CALM_AFTER)
            calm.append(True)
            finish(store.world, store)
            if left := store.left_out():
                store.world.fail(f"T2: in the end there are tasks out: {left}")

        store.world.begin("operator", operate)
        store.world.run()
    return store


assert set(POLL_FAULTS) <= FAULTS.keys()
