"""Several processes on one account in virtual time: its limits hold, are used, and are found by all together."""

from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import pytest

from tests.virtual.histories import told
from tests.virtual.runs import config_with
from tests.virtual.service import Weather

QPS, CONCURRENCY, PROCESSES = 20, 10, 4
SEEDS = range(4)
"""A single history may fall into a gap between two reports; what all promise together is their mean."""
TOO_HIGH = {"qps": 3 * QPS, "concurrency": 4 * CONCURRENCY}
RIGHT = {"qps": QPS, "concurrency": CONCURRENCY}


class Counted(NamedTuple):
    """What the provider says of the time after the start: which part was used, which refused."""

    used: float
    refused: float


def count(ended: list[tuple[float, str]], latency: float, start: float) -> Counted:
    """Count from `start` seconds on, but without the last jobs, for which not all processes are needed."""
    pictures = [at for at, how in ended if how == "picture"]
    end = pictures[int(0.85 * len(pictures))]
    answers = Counter(how for at, how in ended if start <= at < end)
    allowed = min(QPS, CONCURRENCY / latency) * (end - start)
    refused = answers["too fast"] + answers["too many"]
    return Counted(answers["picture"] / allowed, refused / answers.total())


@pytest.fixture
def live(virtual: None, stores: Path, empty_ledger: Path) -> Any:
    """Lets processes run the same config at once, a history for each seed, and returns what the provider counts.

    `dies_at` is the step at which the first one is killed.
    """

    def live_once(
        seed: int,
        limits: dict[str, Any],
        latency: float,
        jobs: int,
        start: float,
        dies_at: int | None = None,
    ) -> Counted:
        spread = (0.7 * latency, 1.3 * latency)
        weather = Weather(latency=spread, qps=QPS, concurrency=CONCURRENCY)
        config = config_with(limits=limits)
        with told(
            (seed, limits, latency),
            stores,
            empty_ledger,
            config,
            lambda _: weather,
            jobs,
        ) as store:
            for number in range(PROCESSES):
                store.world.begin(
                    f"p{number}", store.run, dies_at=None if number else dies_at
                )
            store.world.run()
        return count(store.service.ended, latency, start)

    def live_each(*about: Any, **more: Any) -> Counted:
        histories = [live_once(seed, *about, **more) for seed in SEEDS]
        return Counted(*map(mean, zip(*histories, strict=True)))

    return live_each


@pytest.mark.slow
@pytest.mark.parametrize(
    "latency", [0.3, 1.2], ids=["the rate binds", "the slots bind"]
)
def test_what_an_account_may_do_is_used_by_all_its_processes_together(
    live: Any, latency: float
) -> None:
    """I8, H1: four runs of one table at once, with the limits that the provider has."""
    counted = live(RIGHT, latency, jobs=360, start=8)
    assert counted.used >= 0.92
    assert counted.refused < 0.01


@pytest.mark.slow
def test_limits_that_are_too_high_in_every_config_are_found_by_all_together(
    live: Any,
) -> None:
    """E2, E3: a 50430 seen by one is heard by all."""
    counted = live(TOO_HIGH, 1.2, jobs=400, start=15)
    assert counted.used >= 0.9
    assert counted.refused < 0.015


@pytest.mark.slow
def test_what_a_killed_process_had_is_taken_over(live: Any) -> None:
    """H3."""
    counted = live(RIGHT, 1.2, jobs=300, start=15, dies_at=1500)
    assert counted.used >= 0.92


def test_a_seed_decides_the_whole_history(live: Any) -> None:
    """What fails once can be had again: nothing in it is drawn from elsewhere."""
    assert live(RIGHT, 0.3, jobs=40, start=0) == live(RIGHT, 0.3, jobs=40, start=0)
