"""Killed at the N-th system call: over the ledger, the images, the publication, an upgrade, a repair, and a recovery.

`PIXMILL_SOAK=1` kills at every call of every scene.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.crash.experiment_server import SOAK, Experiment

pytestmark = pytest.mark.slow


class Sweep(NamedTuple):
    """Kills at every `step`-th call of a scene; `least` of them are certain to happen."""

    scene: str
    step: int
    least: int


SWEEPS = (
    Sweep("a bare ledger", 1 if SOAK else 2, least=200 if SOAK else 100),
    Sweep("a new store", 1 if SOAK else 20, least=440 if SOAK else 22),
    Sweep("a store that grows", 1 if SOAK else 20, least=300 if SOAK else 15),
    Sweep("an upgrade", 1 if SOAK else 32, least=240 if SOAK else 8),
    Sweep("a repair", 1 if SOAK else 32, least=260 if SOAK else 8),
)

RECOVERIES = range(5, 205, 20 if SOAK else 40)
"""The calls of a bare ledger's work at which it is killed before its recovery is killed."""

RECOVERY_STEP = 2 if SOAK else 8


def least_kills(first: int) -> int:
    """How many kills are certain, of the work (of 230 calls or more) at its `first` and of the recovery after that."""
    return 2 * (max(32, 190 - first) // RECOVERY_STEP) + 1


def shards() -> Iterator[object]:
    """Parts of the sweeps of about the same length, for test processes to share."""
    for sweep in SWEEPS:
        count = 1 + sweep.least // 70
        for shard in range(count):
            yield pytest.param(
                sweep, shard, count, id=f"{sweep.scene} {shard + 1} of {count}"
            )


def test_there_are_kills_enough() -> None:
    """Every run of these tests kills at 250 calls or more, beside the 400 of tasks and of candidates."""
    swept = sum(sweep.least for sweep in SWEEPS)
    assert swept + sum(map(least_kills, RECOVERIES)) >= (2000 if SOAK else 250)


@pytest.mark.parametrize(("sweep", "shard", "of"), list(shards()))
def test_work_that_is_killed_at_any_call_goes_on_where_it_was(
    experiment: Experiment, sweep: Sweep, shard: int, of: int
) -> None:
    """A1, A4, B7, B17: what was acknowledged is published, nothing is paid twice, in doubt is what was in flight.

    The dataset is readable at once, nothing is left aside, and a further run finds nothing to do.
    """
    result = experiment(
        "kills", scene=sweep.scene, first=1 + shard * sweep.step, step=of * sweep.step
    )
    assert result["wrong"] == []
    assert result["kills"] >= sweep.least // of


@pytest.mark.parametrize("first", RECOVERIES)
def test_a_recovery_that_is_killed_at_any_call_can_be_repeated(
    experiment: Experiment, first: int
) -> None:
    """A3: killed, killed again at any call of the recovery, then left alone."""
    result = experiment(
        "kills_twice",
        scene="a bare ledger",
        firsts=[first],
        first=3,
        step=RECOVERY_STEP,
    )
    assert result["wrong"] == []
    assert result["kills"] >= least_kills(first)


def test_a_run_whose_recovery_is_killed_loses_nothing_either(
    experiment: Experiment,
) -> None:
    """A3, A4: whole runs, with their images and their publication."""
    firsts = range(20, 400, 20) if SOAK else [150]
    result = experiment(
        "kills_twice",
        scene="a new store",
        firsts=list(firsts),
        first=20,
        step=60 if SOAK else 90,
    )
    assert result["wrong"] == []
    assert result["kills"] >= 6
