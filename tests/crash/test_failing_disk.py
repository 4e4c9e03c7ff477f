"""A disk that fails at the N-th call: full, read-only, or with a sync that reports an error.

Paying stops, the run ends with an error, and the next one, on a sound disk, finds all that was acknowledged.
"""

from errno import EIO, ENOSPC, EROFS

import pytest

from tests.crash.experiment_server import SOAK, Experiment

pytestmark = pytest.mark.slow

SPARSE = 1 if SOAK else 10
"""How many times fewer calls fail than could."""

SYNCS = ["fsync", "fdatasync"]
WRITES = ["write", "pwrite64", "mkdir"]
CHANGES = [*WRITES, "openat", "rename", "link", "ftruncate"]


def test_a_sync_of_the_ledger_that_fails_ends_the_paying(
    experiment: Experiment,
) -> None:
    """B4: the claims that were being made then are the last."""
    options = {"at": "/ledger.db", "calls": SYNCS, "errno": EIO, "for_ever": False}
    result = experiment(
        "errors", scene="a new store", first=4, step=1 if SOAK else 4, **options
    )
    assert result["wrong"] == []
    assert result["injected"] >= 4


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_ledger_that_can_not_be_made_durably_is_not_used(
    experiment: Experiment, first: int
) -> None:
    """B4, B14: without its write-ahead log a commit may not survive a power loss."""
    options = {"at": "/ledger.db", "calls": SYNCS, "errno": EIO, "for_ever": False}
    result = experiment(
        "errors", scene="a bare ledger", first=first, step=1000, **options
    )
    assert result["wrong"] == []
    assert result["injected"] == 1


@pytest.mark.parametrize("scene", ["a new store", "a store that grows"])
def test_a_disk_that_fills_up_ends_the_paying_at_once(
    experiment: Experiment, scene: str
) -> None:
    """B1: the claims that were being made then are the last."""
    options = {"at": "/ledger.db", "calls": WRITES, "errno": ENOSPC, "for_ever": True}
    result = experiment("errors", scene=scene, first=2, step=6 * SPARSE, **options)
    assert result["wrong"] == []
    assert result["injected"] >= 1


def test_a_full_disk_under_the_images_ends_the_paying_and_they_are_fetched_later(
    experiment: Experiment,
) -> None:
    """B2: at most the calls in flight are still paid; their images are not lost."""
    options = {"at": "/images/", "calls": WRITES, "errno": ENOSPC, "for_ever": True}
    result = experiment(
        "errors", scene="a new store", first=1, step=1 if SOAK else 6, **options
    )
    assert result["wrong"] == []
    assert result["injected"] >= 1


@pytest.mark.parametrize("calls", [SYNCS, CHANGES], ids=["sync", "change"])
def test_a_publication_that_fails_leaves_the_old_dataset_and_is_made_up_for(
    experiment: Experiment, calls: list[str]
) -> None:
    """B2, B4, B7: all is paid and recorded by then, so that the next run pays nothing."""
    options = {"at": "/pets", "calls": calls, "errno": EIO, "for_ever": True}
    result = experiment(
        "errors", scene="a store that grows", first=1, step=6 * SPARSE, **options
    )
    assert result["wrong"] == []
    assert result["injected"] >= 1


def test_a_read_only_store_is_found_out_before_anything_is_paid(
    experiment: Experiment,
) -> None:
    """B3: from the first call on, nothing can be changed. A claim would be one change."""
    options = {"at": "", "calls": CHANGES, "errno": EROFS, "for_ever": True}
    for scene in ("a new store", "a store that grows"):
        result = experiment("errors", scene=scene, first=1, step=1000, **options)
        assert result["wrong"] == []
        assert result["injected"] == 1
        assert result["charged"] == 0


def test_a_store_that_becomes_read_only_ends_the_paying_at_once(
    experiment: Experiment,
) -> None:
    """B3: as a file system does that is remounted after an error."""
    options = {"at": "", "calls": CHANGES, "errno": EROFS, "for_ever": True}
    result = experiment(
        "errors", scene="a store that grows", first=8, step=9 * SPARSE, **options
    )
    assert result["wrong"] == []
    assert result["injected"] >= 3
