"""Claims of processes on other hosts: nobody here can see whether they live, so their lease decides."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.ledger import Refused, State, open_ledger
from tests.pixmill.ledger.test_ledger import LIMITS, NEXT_RUN


@pytest.mark.parametrize(
    ("left", "given_up"), [(600, False), (-1, True)], ids=["lease runs", "lease is over"]
)
def test_a_claim_of_another_host_is_believed_until_its_lease_ends(
    tmp_path: Path, left: int, given_up: bool
) -> None:
    """H3: a pid of another host says nothing here. What was given up is in doubt, never simply unpaid."""
    ledger = open_ledger(tmp_path / "ledger.db")
    assert ledger
    ledger.begin_run("run-1", "pets")
    ledger.claim("k", LIMITS)
    until = int((time.time() + left) * 1e6)
    with closing(sqlite3.connect(ledger.path)) as raw, raw:
        raw.execute("UPDATE jobs SET owner = 'another-host|boot|1|2', lease_until = ?", (until,))
    assert ledger.begin_run("run-2", "pets") == given_up
    state = State.IN_DOUBT if given_up else State.IN_FLIGHT
    assert ledger.known(["k"], max_runs=3).states == [state]
    assert ledger.claim("k", NEXT_RUN) == Refused(state)
    ledger.close()
