"""Killed at the N-th system call between the rounds, calls, pictures and scores of a run that draws candidates.

`PIXMILL_SOAK=1` kills at every call.
"""

import pytest

from tests.crash.experiment_server import SOAK, Experiment

pytestmark = pytest.mark.slow

FIRST = 1 if SOAK else 100
"""The first call that is killed. The first claim comes a few calls later; before it, a run plans as any other."""

STEP = 1 if SOAK else 4

LAST = 620 if SOAK else 507
"""The last call that is killed. The last score comes some calls before; after it, a run publishes as any other."""

SHARDS = 4
"""Parts of the series, for test processes to share."""

KILLS = (LAST - FIRST) // STEP + 1


def test_candidates_are_killed_often_enough() -> None:
    assert (600 if SOAK else 100) <= KILLS


@pytest.mark.parametrize("shard", range(SHARDS))
def test_candidates_of_a_killed_run_are_neither_paid_for_nor_scored_twice(
    experiment: Experiment, shard: int
) -> None:
    """A14: each row has as many candidates as it needs, whatever moment the run before was killed at."""
    result = experiment(
        "kills",
        scene="a run of candidates",
        first=FIRST + shard * STEP,
        step=SHARDS * STEP,
        last=LAST,
    )
    assert result["wrong"] == []
    assert result["kills"] >= KILLS // SHARDS
