"""A ledger in a file: SQLite with a write-ahead log, for the processes of one machine."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from pixmill.errors import LedgerError
from pixmill.ledger.filesystems import network_filesystem
from pixmill.storage.atomic_write import sync

BUSY_SECONDS = 60
MOVED_HINT = (
    "nothing more is sent; put the file that was there back, with its -wal, "
    "before the next run"
)

READING_CACHE_KB = 6_144
WRITING_CACHE_KB = 4_096
"""Pages of the file that a connection keeps. What is read again soon is in the system's own cache
as well: with more, look-ups were hardly faster, and a run that pays grew with each call until its
cache was full."""


class SqliteFile:
    """The file at `path` as a ledger's database; see `pixmill.ledger.database.Database`."""

    remedy = "nothing was sent; restore it from a backup"
    pause_seconds = 0.0
    """None: the driver itself has waited for the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Path(f"{path}-wal")
        self._opened: dict[Path, os.stat_result] = {}
        self.reading = connect(path, writing=False)
        self.writing = connect(path, writing=True)
        for engine in (self.reading, self.writing):
            event.listen(engine, "do_connect", self._check_place)

    def __str__(self) -> str:
        return str(self.path)

    def _check_place(self, *_: Any) -> None:
        """Let no connection be made to another file than the one that was opened first."""
        if self._opened and (reason := self.find_move()):
            raise LedgerError(reason, hint=MOVED_HINT)

    def prepare(self) -> None:
        """Switch the file to a write-ahead log, in which it stays. The switch does not wait for a
        lock by itself."""
        deadline = time.monotonic() + BUSY_SECONDS
        with closing(sqlite3.connect(self.path)) as raw:
            while True:
                try:
                    (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
                except sqlite3.OperationalError as problem:
                    if (
                        problem.sqlite_errorcode != sqlite3.SQLITE_BUSY
                        or time.monotonic() > deadline
                    ):
                        raise LedgerError(
                            f"{self} can't be created: {problem}"
                        ) from None
                    time.sleep(0.05)
                else:
                    # A disk that fails makes SQLite stay with what it had, without an error.
                    if mode != "wal":
                        raise LedgerError(
                            f"{self} can't be created: its disk does not support a write-ahead log"
                        )
                    return

    def lock(self, _connection: Connection) -> None:
        """Nothing is left to do: BEGIN IMMEDIATE keeps other writers out."""

    def number_group(self, _connection: Connection, _number: int) -> bool:
        """Say that a group is new: a commit in this process never ends without an answer."""
        return True

    def passing(self, problem: DBAPIError) -> str | None:
        """Say that another connection holds the file, where that is all that a statement failed
        for."""
        busy = (
            getattr(problem.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        )
        return "the ledger is locked by another process" if busy else None

    def find_move(self) -> str | None:
        """Say that the file or its log is gone or another one: SQLite would continue in those that
        it once opened."""
        for path in (self.path, self._log):
            try:
                found = path.stat()
            except OSError:
                if path in self._opened:
                    return f"{path} was removed while it was in use"
            else:
                if not os.path.samestat(found, self._opened.setdefault(path, found)):
                    return f"{path} was replaced while it was in use"
        return None

    def damage(self, connection: Connection) -> str | None:
        """Compare the index of the job keys with their table; a million jobs take 4 to 12 s."""
        found: list[str] = list(
            connection.execute(text("PRAGMA integrity_check('jobs')")).scalars()
        )
        return None if found == ["ok"] else found[0]

    def sizes(self, _connection: Connection) -> dict[str, int]:
        """Return the bytes of the file and of its write-ahead log."""
        return {
            "ledger_bytes": self.path.stat().st_size,
            "log_bytes": self._log.stat().st_size if self._log.exists() else 0,
        }

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, so that a copy of it is complete.

        Nobody is waited for: what a reader of an earlier moment still needs stays in the log, as
        safe as in the file.
        """
        with self.reading.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA busy_timeout=0").close()
            # The second waits with all writers locked out, if it may.
            for mode in ("PASSIVE", "TRUNCATE"):
                driver.execute(f"PRAGMA wal_checkpoint({mode})").close()

    def close(self) -> None:
        """Close the connections."""
        self.reading.dispose()
        self.writing.dispose()
        self._opened.clear()


def connect(path: Path, *, writing: bool) -> Engine:
    """Return an engine on the SQLite file at `path`, for transactions that write, or that only
    read."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        # One after another uses the same connection, whose page cache is warm.
        pool_use_lifo=True,
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: Any) -> None:
        # SQLAlchemy's begin event decides, not the driver.
        connection.isolation_level = None
        # FULL makes a commit survive a power loss; the default for a write-ahead log does not.
        # https://sqlite.org/pragma.html#pragma_synchronous
        cache = WRITING_CACHE_KB if writing else READING_CACHE_KB
        for pragma in ("synchronous=FULL", f"cache_size=-{cache}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A deferred transaction that reads first fails at once when another process writes,
        # whatever the busy timeout says.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def create_parent_folder(path: Path) -> None:
    """Make the folder of a new ledger. Raises LedgerError where it can't be, or is no place for
    one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(path.parent.parent)
    except OSError as error:
        raise LedgerError(
            f"the store {path.parent} can't be created: {error.strerror}"
        ) from None
    if kind := network_filesystem(path):
        raise LedgerError(
            f"the ledger {path.resolve()} is on a network file system ({kind}), where SQLite "
            "can lose what was paid",
            hint="keep the store on a local disk, or the ledger in PostgreSQL",
        )


def integrity(path: Path) -> list[str]:
    """What SQLite finds wrong with the structure of the file; empty where it is sound."""
    if not path.exists() or not path.stat().st_size:
        return ["is not there, or empty"]
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        ) as connection:
            lines = connection.execute("PRAGMA integrity_check(10)").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for (line,) in lines if line != "ok"]
