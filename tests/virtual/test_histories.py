"""Many histories by seed, each with crashes, freezes, signals, clock jumps, limits and faults: no promise breaks.

PIXMILL_SOAK multiplies the seeds. A seed that breaks a promise is named; put it into kept_seeds.txt to see it again.
"""

import os
from pathlib import Path

import pytest

from tests.virtual.histories import kept_seeds, live_through

SOAK = int(os.environ.get("PIXMILL_SOAK", "1"))
SEEDS_OF_A_BLOCK = 20 * SOAK
BLOCKS = [
    pytest.param(block, marks=[pytest.mark.slow] if block >= 1 else [])
    for block in range(8)
]
"""An eighth of the histories is among the quick tests."""


@pytest.mark.parametrize("block", BLOCKS)
def test_no_promise_breaks_whatever_happens(
    virtual: None, stores: Path, empty_ledger: Path, block: int
) -> None:
    """A1, A2, A3, A6, A9, C12, D1, D4, D7, E1, E2, E4, E5, E7, E8, E12, E15, H1, H3, H4, H5, H6.

    I1, I2, I3, I4, I6, I7, I8 at every step, I12 in the end.
    """
    for at in range(SEEDS_OF_A_BLOCK):
        live_through(block * SEEDS_OF_A_BLOCK + at, stores, empty_ledger)


@pytest.mark.parametrize("seed", kept_seeds())
def test_what_once_broke_a_promise_does_not_again(
    virtual: None, stores: Path, empty_ledger: Path, seed: int
) -> None:
    live_through(seed, stores, empty_ledger)


def test_a_seed_is_the_whole_history(
    virtual: None, stores: Path, empty_ledger: Path
) -> None:
    """What a failing seed showed can be had again, step by step."""
    first, second = (live_through(7, stores, empty_ledger) for _ in range(2))
    assert first.service.ended == second.service.ended
    assert (first.world.steps, first.world.now) == (
        second.world.steps,
        second.world.now,
    )
