"""Asynchronous operations in virtual time: histories by seed, hours of downtime, and how much of an account is used."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.virtual.histories import told
from tests.virtual.runs import config_with
from tests.virtual.service import Weather
from tests.virtual.task_histories import live_through_tasks
from tests.virtual.task_runs import FIRST, SECOND, TaskStore
from tests.virtual.task_service import TaskWeather

pytestmark = pytest.mark.slow

SOAK = int(os.environ.get("PIXMILL_SOAK", "1"))
SEEDS_OF_A_BLOCK = 15 * SOAK
BLOCKS = range(8)
QUICK = (0.05, 0.15)
"""Seconds that a submit or a poll takes."""
HOUR = 3600.0
Telling = Callable[..., TaskStore]


class TwoOperations(TaskStore):
    """Half of the jobs are of each operation."""

    operations = (FIRST, SECOND)


@pytest.fixture
def lived(virtual: None, stores: Path, empty_ledger: Path) -> Telling:
    """Tells what became of one run of `jobs` under `sections` of a config."""

    def live(
        weather: TaskWeather,
        jobs: int,
        seed: object = 1,
        kind: type[TaskStore] = TaskStore,
        **sections: Any,
    ) -> TaskStore:
        config = config_with(**sections)
        with told(
            seed, stores, empty_ledger, config, lambda _: weather, jobs, kind
        ) as store:
            store.images_failing = 0.0
            store.world.begin("p", store.run)
            store.world.run()
        return store

    return live


@pytest.mark.parametrize("block", BLOCKS)
def test_no_promise_about_tasks_breaks_whatever_happens(
    virtual: None, stores: Path, empty_ledger: Path, block: int
) -> None:
    """T1 to T5 and the promises of calls at every step, I12 in the end."""
    for at in range(SEEDS_OF_A_BLOCK):
        seed = "tasks", block * SEEDS_OF_A_BLOCK + at
        live_through_tasks(seed, stores, empty_ledger)


@pytest.mark.parametrize("spread", [0.0, 0.1], ids=["equal", "10 % apart"])
def test_an_account_of_one_task_at_a_time_is_used_and_hardly_ever_asked_for_more(
    lived: Telling, spread: float
) -> None:
    """A ceiling of 8 in the config, 120 tasks: the limit is found by the fewest of refusals."""
    work = 20 * (1 - spread), 20 * (1 + spread)
    store = lived(
        TaskWeather(Weather(latency=QUICK, concurrency=1), work=work),
        120,
        limits={"concurrency": 8},
    )
    assert store.left == {"succeeded": 120}
    worked = sum(task.ends - task.began for task in store.service.tasks.values())
    assert worked / store.world.now >= 0.95
    refused = Counter(how for _, how in store.service.ended)["too many"]
    assert refused / len(store.service.ended) <= 0.03


def test_two_operations_side_by_side_do_not_wait_for_each_other(
    lived: Telling,
) -> None:
    """Each has its own limit, also where one of them is held up by the provider."""
    weather = TaskWeather(Weather(latency=QUICK, concurrency=2), work=(20, 20))
    limits = {"concurrency": 2}
    alone = lived(weather, 40, limits=limits)
    both = lived(weather, 80, kind=TwoOperations, limits=limits)
    assert both.left == {"succeeded": 80}
    assert both.world.now <= 1.02 * alone.world.now


def test_200_tasks_in_flight_use_what_an_account_allows_with_few_polls_and_threads(
    lived: Telling,
) -> None:
    """From when the first ones have been replaced, as a thousand tasks have begun: 97 % of 200 tasks in 20 seconds."""
    threads = []

    class Counted(TaskStore):
        def _poll_arrives(self, *about: Any) -> None:
            super()._poll_arrives(*about)
            if len(self.service.polls) % 50 == 0:
                threads.append(sum(not fiber.done for fiber in self.world.fibers))

    store = lived(
        TaskWeather(Weather(latency=QUICK), work=(20, 20)),
        1000,
        kind=Counted,
        limits={"concurrency": 200, "qps": 100, "poll_qps": 10},
        output={"images": "url"},
    )
    assert store.left == {"succeeded": 1000}
    began = sorted(task.began for task in store.service.tasks.values())
    replaced, last = 40.0, began[-1]
    throughput = sum(at >= replaced for at in began) / (last - replaced)
    assert throughput >= 0.97 * 200 / 20
    assert len(store.service.polls) <= 10 * store.world.now
    assert max(threads) <= 40


def test_what_is_done_after_12_hours_of_downtime_is_fetched_and_the_rest_is_named(
    virtual: None, stores: Path, empty_ledger: Path
) -> None:
    """500 tasks are out when all processes die: those whose results live are had, none is submitted again."""
    config = config_with(
        limits={"concurrency": 500, "qps": 2, "poll_qps": 1000},
        retry={"max_attempts": 1},
        output={"images": "url"},
    )
    # Slowly, so that some results die while the others live.
    weather = TaskWeather(Weather(latency=QUICK), work=(600, 900))
    with told(
        "down", stores, empty_ledger, config, lambda _: weather, 500, TaskStore
    ) as store:
        world = store.world

        def operate() -> None:
            first = world.begin("first", store.run)
            while len(store.on_disk) < 500:
                world.sleep(0.1)
            world.kill(first)
            began = [task.began for task in store.service.tasks.values()]
            # Half of the results are as good as dead when they are asked for.
            middle = (min(began) + max(began)) / 2
            world.sleep(middle + 12 * HOUR - world.now - 0.5)
            world.join(world.begin("second", store.run))
            world.join(world.begin("third", store.run))

        world.begin("operator", operate)
        world.run()
        codes = Counter(
            store._look.execute("SELECT state, error_code FROM jobs").fetchall()
        )
    assert store.service.calls.total() == 500
    assert codes.keys() == {("succeeded", None), ("in_doubt", "task_not_found")}
    assert codes["succeeded", None] >= 200
    assert codes["in_doubt", "task_not_found"] >= 200
    assert codes.total() == 500


def test_tasks_that_expired_while_everything_was_down_are_submitted_within_the_limits(
    virtual: None, stores: Path, empty_ledger: Path
) -> None:
    """A task that is out has its slot whatever the limits say; the one in its place has not."""
    config = config_with(limits={"concurrency": 4, "qps": 2}, output={"images": "url"})
    fates = [{"expired": 1.0}]
    weather = TaskWeather(Weather(latency=QUICK), work=(60, 60))
    with told(
        "expired",
        stores,
        empty_ledger,
        config,
        lambda _: weather._replace(fates=fates[-1]),
        4,
        TaskStore,
    ) as store:
        world = store.world

        def operate() -> None:
            first = world.begin("first", store.run)
            while len(store.on_disk) < 4:
                world.sleep(0.1)
            world.kill(first)
            fates.append({})
            world.sleep(HOUR)
            world.join(world.begin("second", store.run))

        world.begin("operator", operate)
        world.run()
    assert store.left == {"succeeded": 4}
    anew = [at for at, _ in store.service.sent if at > HOUR]
    assert len(anew) == 4
    assert anew[-1] - anew[0] >= 1.4, "at two a second, four take a second and a half"
