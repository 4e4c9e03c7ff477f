"""Shares of an account in the ledger: leases that are renewed, given back, and taken over from the dead."""

import subprocess
import sys

import pytest
from sqlalchemy import text, update

from pixmill.fair_shares import Share
from pixmill.ledger import Ledger
from pixmill.ledger.dialects import clock
from pixmill.ledger.shares import LEASE_SECONDS, Ask, shares
from tests.pixmill.test_sharing import report


def ask(
    ledger: Ledger, lease: str, held: int = 0, *, account: str = "main", hold: float = 0.0
) -> Share:
    share = ledger.share(Ask(lease, account, report(held)._replace(hold=hold), first=True))
    assert share
    return share


def test_what_is_given_back_is_there_for_the_next_one_at_once(ledger: Ledger) -> None:
    assert ask(ledger, "a").slots == 10
    assert ask(ledger, "b").slots == 0
    assert ledger.share(Ask("a", "main", None, first=False)) is None
    assert ask(ledger, "b").slots == 10


def test_every_account_is_by_itself(ledger: Ledger) -> None:
    assert ask(ledger, "a").slots == 10
    assert ask(ledger, "b", account="other").slots == 10


def test_a_dead_process_is_recognised_at_once(ledger: Ledger) -> None:
    """H3: it is gone from this host, whatever its lease says."""
    child = subprocess.run(
        [sys.executable, "-c", "from pixmill.ledger.owner import this_owner; print(this_owner())"],
        capture_output=True,
        text=True,
        check=True,
    )
    ask(ledger, "a")
    tell(ledger, "a", owner=child.stdout.strip())
    assert ask(ledger, "b").slots == 10


@pytest.mark.parametrize(
    "seconds", [LEASE_SECONDS + 1, -86_400], ids=["it ended", "the clock was put back"]
)
def test_a_lease_elsewhere_is_believed_until_it_ends(ledger: Ledger, seconds: float) -> None:
    """H4, H5: by the database's clock."""
    ask(ledger, "a")
    tell(ledger, "a", owner="elsewhere|boot|1|1")
    assert ask(ledger, "b").slots == 0
    now = ledger.ask(lambda connection: clock(connection)())
    tell(ledger, "a", expires_at=now + int((LEASE_SECONDS - seconds) * 1e6))
    assert ask(ledger, "b").slots == 10


def test_all_processes_hear_for_how_long_the_provider_wants_to_be_left_alone(
    ledger: Ledger,
) -> None:
    """D11."""
    ask(ledger, "a", hold=60)
    assert 50 < ask(ledger, "b").hold <= 60


def test_a_ledger_from_before_there_were_shares_gets_the_table(ledger: Ledger) -> None:
    """F11: no migration is needed for it."""
    with ledger.database.writing.begin() as connection:
        connection.execute(text("DROP TABLE shares"))
    assert ask(ledger, "a").slots == 10


def tell(ledger: Ledger, lease: str, **values: object) -> None:
    """Change a row as another process would have written it."""
    with ledger.database.writing.begin() as connection:
        connection.execute(update(shares).where(shares.c.lease == lease).values(**values))
