"""A copy of a ledger that is whole and consistent although runs continue to write to it: a file,
whatever it is a copy of.

Of a file SQLite's own online backup makes it: copying it misses what is still in the write-ahead
log. Of a ledger in PostgreSQL all rows are read in one transaction, which sees one moment.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from pixmill.errors import LedgerError, UserError
from pixmill.ledger.input_images import inputs
from pixmill.ledger.ledger import Ledger, open_ledger
from pixmill.ledger.migrations import migrate
from pixmill.ledger.schema import attempts, jobs, runs
from pixmill.ledger.scores import scores
from pixmill.ledger.sqlite import SqliteFile, integrity
from pixmill.ledger.stats import row_counts
from pixmill.storage.atomic_write import atomic_write, claim

BATCH_ROWS = 5_000


class Backup(NamedTuple):
    """A finished copy: its file, its size in bytes, and how many rows of what it holds."""

    path: Path
    bytes: int
    jobs: int
    attempts: int
    runs: int


def back_up(ledger: Ledger, out: Path, *, overwrite: bool = False) -> Backup:
    """Copy `ledger` to the file `out`, check the copy, and put it in place by one rename.

    Runs may continue meanwhile: the copy is the ledger as it was when copying began. Raises
    UserError where `out` can't be written or exists and `overwrite` was not agreed to, or where
    another backup is writing it, LedgerError where the copy is not sound.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            if out.is_dir():
                raise UserError(
                    f"{out} is a folder",
                    hint="name the file to write: --out backup/ledger.db",
                )
            if out.exists():
                if isinstance(ledger.database, SqliteFile) and out.samefile(
                    ledger.path
                ):
                    raise UserError(
                        f"{out} is the ledger itself",
                        hint="name another file, best on another disk",
                    )
                if not overwrite:
                    raise UserError(f"{out} exists already", hint="--force replaces it")
                if _log_of(out).exists():
                    raise UserError(
                        f"{out} is in use: it has a write-ahead log",
                        hint="name another file",
                    )
            with atomic_write(out) as path:
                _make_copy(ledger, path)
    except OSError as error:
        raise UserError(f"the copy {out} can't be written: {error.strerror}") from error
    copy = open_ledger(out, read_only=True)
    if copy is None:
        raise LedgerError(f"the copy {out} is empty")
    with closing(copy):
        return Backup(out, out.stat().st_size, **copy.read(row_counts))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other backups away from `out`: what is written aside has one name. Raises UserError
    where there is one."""
    lock = out.with_name(f".{out.name}.lock")
    with lock.open("a") as held:
        if not claim(lock, held.fileno()):
            raise UserError(
                f"another backup is writing {out}",
                hint="wait for it, or name another file",
            )
        try:
            yield
        finally:
            lock.unlink()


def _make_copy(ledger: Ledger, path: Path) -> None:
    try:
        ledger.read(
            _copy_file if isinstance(ledger.database, SqliteFile) else _copy_rows, path
        )
        found = integrity(path)
        if found:
            raise LedgerError(
                f"the copy of {ledger.database} failed its integrity check: {found[0]}",
                hint="nothing was put in place; the ledger may be damaged",
            )
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise LedgerError(
            f"{ledger.database} can't be copied: {error}", hint="is the disk full?"
        ) from error
    finally:
        _remove_beside(path)


def _copy_file(connection: Connection, path: Path) -> None:
    """In one step: one of several begins anew whenever another process writes, and might never
    end."""
    _remove(path)
    source: Any = connection.connection.driver_connection
    with closing(sqlite3.connect(path)) as copy:
        source.backup(copy)


def _copy_rows(connection: Connection, path: Path) -> None:
    _remove(path)
    copy = SqliteFile(path)
    try:
        migrate(copy, create=True)
        with copy.writing.begin() as written:
            for table in (jobs, attempts, runs, inputs, scores):
                rows = (
                    connection.execution_options(yield_per=BATCH_ROWS)
                    .execute(select(table))
                    .mappings()
                )
                for batch in rows.partitions():
                    written.execute(insert(table), [dict(row) for row in batch])
        copy.checkpoint()
    finally:
        copy.close()


def _remove(path: Path) -> None:
    """Remove what a killed backup left."""
    path.unlink(missing_ok=True)
    _remove_beside(path)


def _remove_beside(path: Path) -> None:
    for leftover in (_log_of(path), path.with_name(f"{path.name}-shm")):
        leftover.unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
