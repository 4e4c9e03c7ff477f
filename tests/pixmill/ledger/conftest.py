"""Where the ledgers of these tests are: what holds for a file holds for PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixmill.ledger import Ledger, open_ledger
from tests.postgres import database_url, postgres

__all__ = ["address", "database_url", "postgres"]

IN_A_FILE = pytest.mark.parametrize("address", ["file"], indirect=True)
"""For what only a file can show."""


@pytest.fixture(params=["file", pytest.param("postgres", marks=pytest.mark.stack)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a ledger that is still to be made."""
    if request.param == "file":
        return str(tmp_path / "store" / "ledger.db")
    url: str = request.getfixturevalue("database_url")
    return url


@pytest.fixture
def ledger(address: str) -> Iterator[Ledger]:
    """A new ledger there."""
    opened = open_ledger(address)
    assert opened
    yield opened
    opened.close()


@pytest.fixture
def records(ledger: Ledger) -> Ledger:
    """A new ledger with three runs that have begun."""
    for run in ("run-1", "run-2", "run-3"):
        ledger.begin_run(run, "pets")
    return ledger
