"""Killed at the N-th system call between the claims, submits, polls and pictures of a run of tasks, and once more.

`PIXMILL_SOAK=1` kills at every call of the run, and at many of its recovery.
"""

import pytest

from tests.crash.experiment_server import SOAK, Experiment

pytestmark = pytest.mark.slow

FIRST = 1 if SOAK else 100
"""The first call that is killed. The first claim comes a few calls later; before it, a run plans as any other."""

LAST = 560 if SOAK else 429
"""The last call that is killed. The last picture comes some calls before; after it, a run publishes as any other."""

SHARDS = 5
"""Parts of the series, for test processes to share."""

RECOVERIES = range(110, 430, 16) if SOAK else [200, 300]
"""The calls of the run at which it is killed before its recovery is killed."""

RECOVERY_STEP = 5 if SOAK else 40

LEAST_TWICE = 80 if SOAK else 10
"""How many kills are certain for each of these."""


def test_tasks_are_killed_often_enough() -> None:
    """300 times or more between the first claim and the last picture; where there is time, 2,000 times in all."""
    swept = LAST - FIRST + 1
    twice = LEAST_TWICE * len(RECOVERIES)
    assert swept + twice >= (2000 if SOAK else 350)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_tasks_of_a_killed_run_are_fetched_and_never_started_again(
    experiment: Experiment, shard: int
) -> None:
    """A13: what is in doubt had no task on disk, every task is charged once, and the dataset has all of them."""
    result = experiment(
        "kills", scene="a run of tasks", first=FIRST + shard, step=SHARDS, last=LAST
    )
    assert result["wrong"] == []
    assert result["kills"] == (LAST - FIRST + 1) // SHARDS


@pytest.mark.parametrize("first", RECOVERIES)
def test_a_recovery_of_tasks_that_is_killed_can_be_repeated(
    experiment: Experiment, first: int
) -> None:
    """A3, A13: killed, killed again while it polls what the first left out, then left alone."""
    result = experiment(
        "kills_twice",
        scene="a run of tasks",
        firsts=[first],
        first=20,
        step=RECOVERY_STEP,
    )
    assert result["wrong"] == []
    assert result["kills"] >= LEAST_TWICE
