"""The ledger's one writer thread: whatever waits is written together and synced by one commit.

Callers block until their entry is on disk. Durability costs one sync per commit, so thirty threads that wait
together pay for it once.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from pixmill.errors import LedgerError

Apply = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Writes a group of entries of one kind within a transaction and returns a result for each."""

MAX_GROUP = 500

PATIENCE_SECONDS = 3600.0
"""How long a locked ledger is waited for, each wait as long as the driver's own busy timeout."""

log = logging.getLogger(__name__)


def is_busy(problem: OperationalError) -> bool:
    """Whether a statement failed only because another connection holds the database."""
    return getattr(problem.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class _Ticket:
    """What a caller waits on: released once its entry is committed, or with the error that prevented it."""

    __slots__ = ("apply", "entry", "error", "lock", "result")

    def __init__(self, apply: Apply, entry: Any) -> None:
        self.apply, self.entry = apply, entry
        self.result: Any = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()  # a bare lock: an Event costs three times as much per wait
        self.lock.acquire()


class GroupWriter:
    """Commits entries in groups on a thread of its own. After a failed commit nothing is accepted any more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._broken: LedgerError | None = None
        self._thread = threading.Thread(target=self._work, name="pixmill-ledger", daemon=True)
        self._thread.start()

    def write(self, apply: Apply, entry: Any) -> Any:
        """Write one entry and return its result once it is on disk. Raises LedgerError if that failed."""
        if self._broken:
            raise self._broken
        ticket = _Ticket(apply, entry)
        self._queue.put(ticket)
        ticket.lock.acquire()
        if ticket.error:
            raise ticket.error
        return ticket.result

    def close(self) -> None:
        """Write what still waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            group = [ticket]
            while len(group) < MAX_GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                group.append(following)
            self._commit(group)

    def _commit(self, group: list[_Ticket]) -> None:
        error: BaseException | None = self._broken
        if error is None:
            try:
                self._apply_when_free(group)
            except SQLAlchemyError as problem:
                # What a failed sync left behind is unknown, so nothing more may be paid with this ledger.
                reason = str(getattr(problem, "orig", problem)) or type(problem).__name__
                error = self._broken = LedgerError(
                    f"the ledger could not be written: {reason}",
                    hint="nothing more is sent; free the disk or fix the store, then run the same command again",
                )
            except Exception as problem:
                error = problem
        for ticket in group:
            ticket.error = error
            ticket.lock.release()

    def _apply_when_free(self, group: list[_Ticket]) -> None:
        """Wait for as long as another process holds the database: nothing was begun, so nothing is lost by waiting."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._apply(group)
            except OperationalError as problem:
                if not is_busy(problem) or time.monotonic() > deadline:
                    raise
                log.warning("the ledger is locked by another process; paying waits for it")
            else:
                return

    def _apply(self, group: list[_Ticket]) -> None:
        kinds = list(dict.fromkeys(ticket.apply for ticket in group))
        with self._engine.begin() as connection:
            for apply in kinds:
                tickets = [ticket for ticket in group if ticket.apply == apply]
                results = apply(connection, [ticket.entry for ticket in tickets])
                for ticket, result in zip(tickets, results, strict=True):
                    ticket.result = result
