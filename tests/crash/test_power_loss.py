"""Power lost at any moment: un-synced writes and names are there in part or not at all, the acknowledged ones whole."""

import pytest

from tests.crash.experiment_server import SOAK, Experiment

pytestmark = pytest.mark.slow

TIMES = 20 if SOAK else 1


def test_a_ledger_keeps_what_it_acknowledged_and_goes_on(
    experiment: Experiment,
) -> None:
    """A5: every claim, answer and image is there; the recovery pays for nothing twice (I1, I2, I3)."""
    result = experiment(
        "power_losses", scene="a bare ledger", seeds=20 * TIMES, recover=True
    )
    assert result["wrong"] == []
    assert result["syncs"] >= 20


@pytest.mark.parametrize(
    "scene",
    ["a bare ledger", "a new store", "a store that grows", "an upgrade", "a repair"],
)
def test_a_store_keeps_what_it_acknowledged(experiment: Experiment, scene: str) -> None:
    """A5: the ledger opens, the images are whole, the dataset is the old one or the new one (I1, I5)."""
    result = experiment("power_losses", scene=scene, seeds=60 * TIMES, recover=False)
    assert result["wrong"] == []
    assert result["changes"] >= 100
