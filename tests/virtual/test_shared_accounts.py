"""Several processes on one account in virtual time: its limits hold, are used, and are found by all together."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.virtual.histories import told
from tests.virtual.runs import config_with
from tests.virtual.service import Weather

QPS, CONCURRENCY, PROCESSES = 20, 10, 4
TOO_HIGH = {"qps": 3 * QPS, "concurrency": 4 * CONCURRENCY}
RIGHT = {"qps": QPS, "concurrency": CONCURRENCY}


class Counted:
    """What the provider says of the time after the start: which part was used, which refused.

    It ends before the last jobs, for which not all processes are needed.
    """

    def __init__(
        self, ended: list[tuple[float, str]], latency: float, start: float
    ) -> None:
        pictures = [at for at, how in ended if how == "picture"]
        end = pictures[int(0.85 * len(pictures))]
        answers = Counter(how for at, how in ended if start <= at < end)
        self.used = answers["picture"] / (end - start) / min(QPS, CONCURRENCY / latency)
        self.refused = (answers["too fast"] + answers["too many"]) / answers.total()


@pytest.fixture
def lived(virtual: None, stores: Path, empty_ledger: Path) -> Any:
    """Tells how processes that run the same config at once fare. `dies_at`: the step at which the first is killed."""

    def live(
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
            (limits, latency), stores, empty_ledger, config, lambda _: weather, jobs
        ) as store:
            for number in range(PROCESSES):
                store.world.begin(
                    f"p{number}", store.run, dies_at=None if number else dies_at
                )
            store.world.run()
        return Counted(store.service.ended, latency, start)

    return live


@pytest.mark.parametrize(
    "latency", [0.3, 1.2], ids=["the rate binds", "the slots bind"]
)
def test_what_an_account_may_do_is_used_by_all_its_processes_together(
    lived: Any, latency: float
) -> None:
    """I8, H1: four runs of one table at once, with the limits that the provider has."""
    counted = lived(RIGHT, latency, jobs=360, start=8)
    assert counted.used >= 0.9
    assert counted.refused < 0.01


def test_limits_that_are_too_high_in_every_config_are_found_by_all_together(
    lived: Any,
) -> None:
    """E2, E3: a 50430 seen by one is heard by all."""
    counted = lived(TOO_HIGH, 1.2, jobs=400, start=15)
    assert counted.used >= 0.9
    assert counted.refused < 0.015


def test_what_a_killed_process_had_is_taken_over(lived: Any) -> None:
    """H3."""
    counted = lived(RIGHT, 1.2, jobs=300, start=15, dies_at=1500)
    assert counted.used >= 0.9
