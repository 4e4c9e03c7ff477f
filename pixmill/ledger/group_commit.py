"""The ledger's one writer thread: whatever waits is written together and synced by one commit.

Callers block until their entry is on disk. Durability costs one sync per commit, so thirty threads
that wait together pay for it once. An entry that can't be written is refused alone, and its group
is written without it.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

from pixmill.errors import LedgerError
from pixmill.ledger.database import Database, retry_while_unavailable

Entry = TypeVar("Entry")
Result = TypeVar("Result")

Apply = Callable[[Connection, Sequence[Entry]], Sequence[Result]]
"""Writes a group of entries of one kind within a transaction and returns a result for each."""

MAX_GROUP = 500

PATIENCE_SECONDS = 3600.0
"""How long a ledger that is locked or away is waited for: what is paid for meanwhile has to be
written down."""


class _PendingWrite:
    """What a caller waits on: released once its entry is committed, or with the error that
    prevented it."""

    __slots__ = ("apply", "entry", "error", "lock", "result")

    def __init__(self, apply: Apply[Any, Any], entry: Any) -> None:
        self.apply = apply
        self.entry = entry
        self.result: Any = None
        self.error: BaseException | None = None
        # A bare lock: an Event costs three times as much per wait.
        self.lock = threading.Lock()
        self.lock.acquire()


class GroupWriter:
    """Commits entries in groups on a thread of its own. After a failed commit nothing is accepted
    any more.

    `forget` is called after each transaction that may have been rolled back, so that nobody goes by
    what was read within it, among its own writes.
    """

    def __init__(self, database: Database, forget: Callable[[], None]) -> None:
        self._database = database
        self._forget = forget
        # How many groups there were; also the number of the last one.
        self._groups = 0
        self._queue: SimpleQueue[_PendingWrite | None] = SimpleQueue()
        self._broken: LedgerError | None = None
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(
            target=self._work, name="pixmill-ledger", daemon=True
        )
        self._thread.start()

    def write(self, apply: Apply[Entry, Result], entry: Entry) -> Result:
        """Write one entry and return its result once it is on disk. Raises LedgerError if that
        failed.

        `apply` gets a connection and the list of all entries that wait for it, this one among them.
        """
        if self._broken:
            raise self._broken
        write = _PendingWrite(apply, entry)
        with self._closing:
            if self._closed:
                raise LedgerError("the ledger is closed: nothing more is written to it")
            self._queue.put(write)
        write.lock.acquire()
        if write.error:
            raise write.error
        result: Result = write.result
        return result

    def close(self) -> None:
        """Write what still waits, then end the thread."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (write := self._queue.get()) is not None:
            group = [write]
            while len(group) < MAX_GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                group.append(following)
            self._commit(group)

    def _commit(self, group: list[_PendingWrite]) -> None:
        """Write a group, or each of its entries by itself where one of them can't be written."""
        error: BaseException | None = self._broken
        if error is None:
            try:
                # Its number keeps a group from being written twice.
                self._groups += 1
                retry_while_unavailable(
                    self._database,
                    PATIENCE_SECONDS,
                    partial(self._apply, group, self._groups),
                )
            except Exception as problem:
                if len(group) > 1 and _is_of_an_entry(problem):
                    for write in group:
                        self._commit([write])
                    return
                error = self._report(problem)
        for write in group:
            write.error = error
            write.lock.release()

    def _report(self, problem: Exception) -> Exception:
        """Return what the caller hears of `problem`; write nothing more unless an entry alone is to
        blame."""
        if not isinstance(problem, SQLAlchemyError):
            return problem
        reason = str(getattr(problem, "orig", problem)) or type(problem).__name__
        if _is_of_an_entry(problem):
            return LedgerError(f"an entry could not be written to the ledger: {reason}")
        # What a failed sync left behind is unknown, so nothing more may be paid with this ledger.
        self._broken = LedgerError(
            f"the ledger could not be written: {reason}",
            hint="nothing more is sent; free disk space or fix the store, then run the same "
            "command again",
        )
        return self._broken

    def _apply(self, group: list[_PendingWrite], number: int) -> None:
        kinds = list(dict.fromkeys(write.apply for write in group))
        try:
            with self._database.writing.begin() as connection:
                self._database.lock(connection)
                if not self._database.number_group(connection, number):
                    # The commit that was lost sight of did happen, with the results that the
                    # writes have.
                    return
                for apply in kinds:
                    writes = [write for write in group if write.apply == apply]
                    results = apply(connection, [write.entry for write in writes])
                    for write, result in zip(writes, results, strict=True):
                        write.result = result
        except BaseException:
            self._forget()
            raise


def _is_of_an_entry(problem: Exception) -> bool:
    """Whether a group failed for what is in one of its entries, and not for the state of the
    database."""
    if isinstance(problem, ProgrammingError):
        # What the driver itself refuses, a value of a type that it does not know, has no code of
        # the database.
        codes = (
            getattr(problem.orig, name, None)
            for name in ("sqlite_errorcode", "sqlstate")
        )
        return not any(codes)
    if isinstance(problem, DBAPIError):
        return isinstance(problem, DataError | IntegrityError)
    # What is not an error of a database at all comes from the values, as does one before they got
    # there.
    return isinstance(problem, StatementError) or not isinstance(
        problem, SQLAlchemyError
    )
