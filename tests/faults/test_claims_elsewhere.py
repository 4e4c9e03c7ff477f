"""Claims of processes on other hosts: nobody here can see whether they live, so their lease decides."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.ledger import ClaimDenied, State, open_ledger
from tests.conftest import ROOT
from tests.pixmill.ledger.test_ledger import NEXT_RUN, TERMS
from tests.pixmill.ledger.test_process_owner import namespaces


@pytest.mark.parametrize(
    ("left", "given_up"),
    [(600, False), (-1, True)],
    ids=["lease runs", "lease is over"],
)
def test_a_claim_of_another_host_is_believed_until_its_lease_ends(
    tmp_path: Path, left: int, given_up: bool
) -> None:
    """H3: a pid of another host says nothing here. What was given up is in doubt, never simply unpaid."""
    ledger = open_ledger(tmp_path / "ledger.db")
    assert ledger
    ledger.begin_run("run-1", "pets")
    ledger.claim("k", TERMS)
    until = int((time.time() + left) * 1e6)
    with closing(sqlite3.connect(ledger.path)) as raw, raw:
        raw.execute(
            "UPDATE jobs SET owner = 'another-host|boot|1|2', lease_until = ?", (until,)
        )
    assert ledger.begin_run("run-2", "pets") == given_up
    state = State.IN_DOUBT if given_up else State.IN_FLIGHT
    assert ledger.known(["k"], max_runs=3).states == [state]
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(state)
    ledger.close()


CONTAINER = ("--pid", "--fork", "--mount-proc")
HOLDER = """
import sys
from pixmill.limits.fair_share import UsageReport
from pixmill.ledger import open_ledger
from pixmill.limits.lease_table import LeaseRequest, share_out
from tests.pixmill.ledger.test_ledger import TERMS
from tests.pixmill.limits.test_account_lease import report
ledger = open_ledger(sys.argv[1])
ledger.begin_run("run-1", "pets")
ledger.claim("k", TERMS)
ledger.write(share_out, LeaseRequest("a", "main", report(10), first=True))
print("claimed", flush=True)
input()
"""
FOLLOWER = """
import sys
from pixmill.ledger import open_ledger
from pixmill.limits.lease_table import LeaseRequest, share_out
from tests.pixmill.ledger.test_ledger import NEXT_RUN
from tests.pixmill.limits.test_account_lease import report
ledger = open_ledger(sys.argv[1])
print(ledger.begin_run("run-2", "pets"))
print(ledger.claim("k", NEXT_RUN._replace(retry_doubt=True)).state)
print(ledger.write(share_out, LeaseRequest("b", "main", report(0), first=True)).slots)
ledger.close()
"""


def test_containers_of_one_name_that_share_a_store_do_not_give_each_other_up(
    tmp_path: Path,
) -> None:
    """H10: `network_mode: host` or `hostNetwork` give them one host name; each has a pid 1."""
    wrapped = namespaces(*CONTAINER)
    holder = [*wrapped, sys.executable, "-c", HOLDER, str(tmp_path / "ledger.db")]
    follower = [*wrapped, sys.executable, "-c", FOLLOWER, str(tmp_path / "ledger.db")]
    with subprocess.Popen(
        holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as one:
        assert one.stdout
        assert one.stdout.readline() == "claimed\n"
        other = subprocess.run(
            follower, capture_output=True, text=True, check=True, cwd=ROOT
        )
        one.communicate("\n")
    assert other.stdout.split() == ["0", "in_flight", "0"]
