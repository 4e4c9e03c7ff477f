"""What a ledger asks of its database beyond SQL, and how one waits for a database that can't be
had."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pixmill.config.ledger_address import is_database_url
from pixmill.ledger.sqlite import SqliteFile

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Database(Protocol):
    """The database of one open ledger; its text is its address, without a password."""

    @property
    def remedy(self) -> str:
        """What to do where it can't be read."""

    @property
    def pause_seconds(self) -> float:
        """How long to pause before a statement is tried again."""

    @property
    def reading(self) -> Engine:
        """Where transactions see one moment and write nothing."""

    @property
    def writing(self) -> Engine:
        """Where transactions write; each has to `lock` first."""

    def prepare(self) -> None:
        """Make it ready for the first tables."""

    def lock(self, connection: Connection, /) -> None:
        """Keep all other writers out until the transaction ends."""

    def number_group(self, connection: Connection, number: int, /) -> bool:
        """Write the number of a group of entries in the transaction that writes them; False: this
        number was committed before."""

    def passing(self, problem: DBAPIError) -> str | None:
        """Say why a statement failed that can be tried again as it is; `None` where that is no
        use."""

    def find_move(self) -> str | None:
        """Say how it was moved, removed or replaced since the first call; `None` where it is in its
        place."""

    def damage(self, connection: Connection, /) -> str | None:
        """Say what is wrong with the look-up of job keys; `None` where it is sound."""

    def sizes(self, connection: Connection, /) -> dict[str, int]:
        """Return `ledger_bytes` and `log_bytes`."""

    def checkpoint(self) -> None:
        """Do what is left to do once all is written."""

    def close(self) -> None:
        """Close all connections."""


def database_at(address: Path | str) -> Database:
    """Return the database that `address` names. Raises UserError where its driver is not
    installed."""
    if not is_database_url(address):
        return SqliteFile(Path(address))
    # Here, as it loads a driver that few need.
    from pixmill.ledger.postgres import PostgresDatabase

    return PostgresDatabase(str(address))


def retry_while_unavailable(
    database: Database, seconds: float, work: Callable[[], Result]
) -> Result:
    """Return what `work` returns, tried again for `seconds` while the database is locked or away;
    say so once."""
    begun = time.monotonic()
    told = False
    stale = False
    while True:
        try:
            result = work()
        except DBAPIError as problem:
            reason = database.passing(problem)
            if reason is None or time.monotonic() - begun > seconds:
                raise
            if problem.connection_invalidated and not stale:
                # A restart of the server ended this connection: a new one will do.
                stale = True
                continue
            if not told:
                log.warning("%s; no calls are sent until it is back", reason)
            told = True
            time.sleep(database.pause_seconds)
        else:
            if told:
                log.warning("the ledger is back after %.0f s", time.monotonic() - begun)
            return result
