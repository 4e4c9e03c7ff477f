"""Whole runs of hours, in virtual time: outages, brown-outs, throttling, and budgets under many threads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixmill.tuning import REPEATS_AT_ONCE, REPEATS_PER_CALL, REPEATS_PER_SECOND
from tests.virtual.histories import told
from tests.virtual.runs import Store, config_with
from tests.virtual.service import Weather

pytestmark = pytest.mark.slow

MINUTE = 60.0
DOWN, UP = 2 * MINUTE, 12 * MINUTE
WELL = Weather(latency=(0.5, 2.0))
Telling = Callable[..., Store]


@pytest.fixture
def lived(virtual: None, stores: Path, empty_ledger: Path) -> Telling:
    """Tells what became of runs, each in a process of its own, with `sections` of a config."""

    def live(
        weather: Callable[[float], Weather],
        jobs: int,
        seed: object = 1,
        runs: int = 1,
        **sections: Any,
    ) -> Store:
        with told(
            seed, stores, empty_ledger, config_with(**sections), weather, jobs
        ) as store:
            for number in range(runs):
                store.world.begin(f"p{number}", store.run)
            store.world.run()
        return store

    return live


@pytest.mark.parametrize("fault", ["unreachable", "fault", "gateway page"])
def test_an_outage_of_ten_minutes_multiplies_no_calls_and_its_end_is_noticed(
    lived: Telling, fault: str
) -> None:
    """D18: at most 1.1 calls for a job, and a success within 30 seconds of the recovery."""

    def weather(now: float) -> Weather:
        return WELL._replace(faults={fault: 1.0}) if DOWN <= now < UP else WELL

    # A call in doubt is a job that waits for a person: half of a window of these would stop the run.
    stop = {"failed_fraction": 1 if fault == "gateway page" else 0.5}
    store = lived(weather, 600, limits={"qps": 2, "concurrency": 6}, stop=stop)
    ended = store.service.ended
    assert len(ended) <= 1.1 * len(store.jobs)
    assert sum(DOWN + 2 < at < UP for at, _ in ended) <= 100
    assert min(at for at, how in ended if how == "picture" and at > UP) <= UP + 30
    assert store.left["succeeded"] >= 0.9 * len(store.jobs)
    assert store.left["pending"] == 0


def test_a_brown_out_brings_no_storm_of_repeats(lived: Telling) -> None:
    """D19: three calls in ten fail and answers take four times as long; repeats stay within their budget."""
    end = 40.0

    def weather(now: float) -> Weather:
        return (
            WELL._replace(faults={"fault": 0.3}, latency=(2.0, 8.0))
            if now < end
            else WELL
        )

    store = lived(weather, 800, limits={"qps": 20, "concurrency": 100})
    in_it = [job for at, job in store.service.sent if at < end]
    repeats = len(in_it) - len(set(in_it))
    assert (
        0
        < repeats
        <= REPEATS_PER_CALL * len(in_it) + REPEATS_PER_SECOND * end + REPEATS_AT_ONCE
    )
    assert store.left["succeeded"] >= 0.95 * len(store.jobs)
    assert store.left.keys() <= {"succeeded", "failed"}


def test_a_service_that_only_fails_is_asked_a_bounded_number_of_times(
    lived: Telling,
) -> None:
    """D1, I7: three calls for each of four jobs, and the run ends."""
    store = lived(
        lambda _: WELL._replace(faults={"fault": 1.0}), 4, retry={"max_attempts": 3}
    )
    assert set(store.service.calls.values()) == {3}
    assert store.left == {"failed": 4}


@pytest.mark.parametrize("fault", ["too fast", "too many"])
def test_throttling_for_minutes_fails_no_job(lived: Telling, fault: str) -> None:
    """D13, E1, E2, E3: what was throttled is sent again, and costs no attempts."""

    def weather(now: float) -> Weather:
        return (
            WELL._replace(faults={fault: 0.9}) if MINUTE <= now < 4 * MINUTE else WELL
        )

    store = lived(
        weather, 300, limits={"qps": 5, "concurrency": 12}, retry={"max_attempts": 1}
    )
    assert store.left == {"succeeded": 300}
    assert set(store.service.bill.values()) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_64_threads_with_a_cap_of_100_never_make_call_101(
    lived: Telling, seed: int
) -> None:
    """E15: also where faults are sent again; whatever the order, all that is allowed is used."""
    store = lived(
        lambda _: WELL._replace(faults={"fault": 0.1, "too many": 0.1}),
        200,
        seed=("cap", seed),
        limits={"qps": 1000, "concurrency": 64},
        budget={"max_calls": 100},
    )
    assert store.service.calls.total() == 100


@pytest.mark.parametrize("seed", range(3))
def test_a_month_s_cap_holds_for_all_processes_of_an_account(
    lived: Telling, seed: int
) -> None:
    """E15, H1: three at once on one ledger."""
    store = lived(
        lambda _: WELL._replace(faults={"lost": 0.1, "bad request": 0.1}),
        100,
        seed=("month", seed),
        runs=3,
        limits={"qps": 100, "concurrency": 8},
        budget={"max_cost_per_month": 30, "price_per_call": 1},
    )
    assert 15 <= store.service.bill.total() <= 30
