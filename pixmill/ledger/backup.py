"""A copy of a ledger that is whole and consistent although runs go on writing to it.

SQLite's own online backup makes it: copying the file misses what is still in the write-ahead log.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from pixmill.atomic import aside
from pixmill.errors import LedgerError, UserError
from pixmill.ledger.ledger import Ledger, open_ledger
from pixmill.ledger.stats import row_counts


class Backup(NamedTuple):
    """A finished copy: its file, its size in bytes, and how many rows of what it holds."""

    path: Path
    bytes: int
    jobs: int
    attempts: int
    runs: int


def back_up(ledger: Ledger, out: Path, *, overwrite: bool = False) -> Backup:
    """Copy `ledger` to the file `out`, check the copy, and put it in place by one rename.

    Runs may go on meanwhile: the copy is the ledger as it was when copying began. Raises UserError where `out` can't
    be written or exists and `overwrite` was not agreed to, LedgerError where the copy is not sound.
    """
    _check_target(ledger.path, out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with aside(out) as path:
            _make_copy(ledger, path)
    except OSError as error:
        raise UserError(f"the copy {out} can't be written: {error.strerror}") from error
    return _described(out)


def _check_target(source: Path, out: Path, *, overwrite: bool) -> None:
    if out.is_dir():
        raise UserError(f"{out} is a folder", hint="name the file to write: --out backup/ledger.db")
    if not out.exists():
        return
    if out.samefile(source):
        raise UserError(f"{out} is the ledger itself", hint="name another file, best on another disk")
    if not overwrite:
        raise UserError(f"{out} exists already", hint="--force replaces it")
    if _log_of(out).exists():
        raise UserError(f"{out} is in use: it has a write-ahead log", hint="name another file")


def _make_copy(ledger: Ledger, path: Path) -> None:
    beside = (_log_of(path), path.with_name(f"{path.name}-shm"))
    for leftover in (path, *beside):
        leftover.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as copy:
            ledger.ask(_copy_to, copy)
            _check(copy, ledger.path)
    except sqlite3.Error as error:
        raise LedgerError(f"{ledger.path} can't be copied: {error}", hint="is the disk full?") from error
    finally:
        for leftover in beside:
            leftover.unlink(missing_ok=True)


def _copy_to(connection: Connection, copy: sqlite3.Connection) -> None:
    """In one step: one of several begins anew whenever another process writes, and might never end."""
    source: Any = connection.connection.driver_connection
    source.backup(copy)


def _check(copy: sqlite3.Connection, source: Path) -> None:
    (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise LedgerError(
            f"the copy of {source} is not sound: {found}", hint="nothing was put in place; the ledger may be damaged"
        )


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _described(path: Path) -> Backup:
    copy = open_ledger(path, read_only=True)
    if copy is None:
        raise LedgerError(f"the copy {path} is empty")
    with closing(copy):
        return Backup(path, path.stat().st_size, **copy.ask(row_counts))
