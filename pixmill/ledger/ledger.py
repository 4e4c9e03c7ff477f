"""The open ledger: claims and recorded answers go in through one writer, look-ups come out.

Every write returns once it is on disk. A look-up that fails raises LedgerError: only proven absence
may pay.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import pyarrow as pa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pixmill.config.ledger_address import database_url, is_database_url
from pixmill.errors import LedgerError, UserError
from pixmill.ledger import input_images as input_table
from pixmill.ledger import payment_marks, queries, scan, scores, tasks, writes
from pixmill.ledger.claims import ClaimRequest, Claims
from pixmill.ledger.database import Database, database_at, retry_while_unavailable
from pixmill.ledger.group_commit import Apply, Entry, GroupWriter, Result
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.migrations import migrate, version_of
from pixmill.ledger.records import (
    Attempt,
    Claim,
    ClaimDenied,
    ClaimTerms,
    KnownStates,
    MissingImages,
)
from pixmill.ledger.revision import revision_of, watch_jobs
from pixmill.ledger.scan import Scan
from pixmill.ledger.scores import Score
from pixmill.ledger.sqlite import MOVED_HINT, SqliteFile, create_parent_folder
from pixmill.threads import call_in_thread

READ_PATIENCE_SECONDS = 300.0
"""How long a look-up waits for a database that is away."""

Answer = TypeVar("Answer")


class Ledger:
    """An open ledger at `address`, a file or the URL of a database. `read_only` ones refuse to
    write."""

    def __init__(self, address: Path | str, *, read_only: bool = False) -> None:
        self.address = address
        self.database: Database = database_at(address)
        self._claims = Claims(self._check_not_moved)
        self._soundness: Future[str | None] | None = None
        try:
            with _translate_errors(self.database):
                migrate(self.database, create=not read_only)
                can_be_watched = isinstance(self.database, SqliteFile) and not read_only
                if can_be_watched and self._answer(revision_of) is None:
                    # An earlier version made it. What its jobs are watched for can do without.
                    with suppress(DBAPIError), self.database.writing.begin() as begun:
                        watch_jobs(begun)
            self._check_not_moved()
        except BaseException:
            self.database.close()
            raise
        self._writer = (
            None if read_only else GroupWriter(self.database, self._claims.forget)
        )

    @property
    def path(self) -> Path:
        """The file of a ledger in SQLite."""
        return Path(self.address)

    def close(self) -> None:
        """Write what waits and close the database; a file is whole then without those beside it."""
        if self._writer:
            self._writer.close()
            self.database.checkpoint()
        self.database.close()

    # Writing

    def write(self, apply: Apply[Entry, Result], entry: Entry) -> Result:
        """Write `entry` durably, and return what `apply` returns for it.

        `apply` is a function of a connection and a list: all entries that wait for it are written
        together (`group_commit`). It returns a result for each of them.
        """
        if self._writer is None:
            raise LedgerError(f"{self.database} was opened read-only")
        return self._writer.write(apply, entry)

    def claim(
        self, job_key: str, terms: ClaimTerms, amount: Decimal | None = None
    ) -> Claim | ClaimDenied:
        """Claim `job_key` for one call of a run, reserve the call in its budgets and write the
        intent, durably.

        `amount` is what the call costs at most, `None` where no price is known: then it counts as
        `terms.price`.
        Where a task is out that nobody waits for, the claim is for that and reserves nothing.
        """
        request = ClaimRequest(job_key, terms, amount)
        return self.write(self._claims.claim, request)

    def record_task(self, job_key: str, task_id: str, *, lease_seconds: float) -> None:
        """Write down that the submit of a claimed job started a task, durably; its claim lasts
        `lease_seconds` from now on."""
        task = tasks.SubmittedTask(job_key, task_id, lease_seconds)
        self.write(tasks.record_tasks, task)

    def release_task(self, job_key: str) -> None:
        """Release a task that still works, durably: any run may ask what became of it."""
        self.write(tasks.release_tasks, job_key)

    def record(self, recorded: Attempt) -> None:
        """Write an ended call and the outcome derived from it, durably; what became of a task, once
        for all processes that ask."""
        self.write(writes.record, recorded)

    def record_image(
        self,
        job_key: str,
        run_id: str,
        urls: Sequence[str],
        *,
        images: str | None,
        error: str | None,
        download_ms: float,
    ) -> None:
        """Write where the images of a paid job are (a JSON list), or why they are missing, durably.

        Nothing is written where the job has other `urls` by now: it was paid for again.
        """
        asked = json.dumps(list(urls), allow_nan=False) if urls else None
        row = {
            "key": job_key,
            "run": run_id,
            "urls": asked,
            "images": images,
            "error": error,
            "ms": download_ms,
        }
        self.write(writes.record_image, row)

    def record_input(self, image: InputImage) -> None:
        """Write the answer to a GET of an input image, durably."""
        self.write(input_table.record, image)

    def record_scores(self, entries: Sequence[Score]) -> None:
        """Write what scorers said of images, durably."""
        self.write(scores.record_scores, entries)

    def begin_run(self, run_id: str, name: str) -> int:
        """Write down that a run starts and put jobs whose owner died into doubt, but for those with
        a task; return how many those were."""
        return self.write(writes.begin_run, (run_id, name))

    def doubt_calls_of_the_dead(self, run_id: str, name: str) -> int:
        """Put jobs whose owner died while a run continues into doubt; return how many those
        were."""
        return self.write(writes.doubt_calls_of_the_dead, (run_id, name))

    def mark_to_pay_again(self, asked: Sequence[tuple[str, int]]) -> None:
        """Mark jobs, each with the attempts that it had when a person agreed, for one more payment
        each, durably."""
        self.write(payment_marks.mark_to_pay_again, asked)

    def finish_run(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Write down how a run ended. Raises LedgerError where what it paid is on record in no
        ledger any more."""
        self.write(writes.finish_run, (run_id, json.dumps(summary, allow_nan=False)))
        self._check_not_moved()

    # Reading

    def begin_check(self) -> None:
        """Begin in a thread what `check_sound` waits for: with a million jobs it takes many
        seconds."""
        if self._soundness is None:
            look = partial(self.read, self.database.damage)
            self._soundness = call_in_thread(look, "pixmill-damage")

    def check_sound(self) -> None:
        """Check that job keys are found where they are. Raises LedgerError where they might not be.

        A key that is not found any more would look like one that was never paid for.
        """
        self.begin_check()
        if self._soundness and (problem := self._soundness.result()):
            raise LedgerError(
                f"{self.database} is damaged: {problem}", hint=self.database.remedy
            )

    def known(
        self, keys: Sequence[str | None], *, max_runs: int, retry_doubt: bool = False
    ) -> KnownStates:
        """Return what is known of each of `keys`, by position.

        A transient failure with runs left counts as pending, a job whose owner died as in doubt,
        unless its task can be asked for.
        """
        return self.read(queries.known, keys, max_runs, retry_doubt)

    def scan(self, *, max_runs: int, retry_doubt: bool = False) -> Scan:
        """Return what `known` says of all jobs at once: less work than asking for each, where most
        are asked for."""
        return self.read(scan.scan, max_runs, retry_doubt)

    def outcomes(
        self, keys: Sequence[str | None], places: Sequence[int] = ()
    ) -> Iterator[pa.Table]:
        """Yield the `OUTCOME_COLUMNS` of `keys`, a row for each in their order; null where nothing
        is known.

        That is one table, or several where answers are so long that one would be large. Where
        `places` of the keys are given, as `KnownStates` has them, the outcomes are looked for there
        first.
        """
        done = False
        while not done:
            found = self.read(queries.outcomes, keys, places)
            yield found
            keys = keys[found.num_rows :]
            places = places[found.num_rows :]
            done = not keys

    def missing_images(self, keys: Sequence[str | None]) -> Iterator[MissingImages]:
        """Yield what is missing of the paid jobs among `keys` and may still be had."""
        while keys:
            found, number = self.read(queries.missing_images, keys)
            yield from found
            keys = keys[number:]

    def inputs(self, urls: Sequence[str]) -> dict[str, InputImage]:
        """Return the last answer for each of `urls`, a batch of them; absent ones were never asked
        for."""
        return self.read(input_table.look_up, urls)

    def bad_inputs(self, urls: Sequence[str]) -> dict[str, InputImage]:
        """Of `urls`, a batch of them, return those whose last answer was a problem."""
        return self.read(input_table.look_up_bad, urls)

    def kept_inputs(self, urls: Sequence[str]) -> list[str | None]:
        """Return for each of `urls`, a batch of them, the file of its image in the store, `None` if
        it was not kept."""
        return self.read(input_table.look_up_files, urls)

    def read(self, query: Callable[..., Answer], *about: Any, **options: Any) -> Answer:
        """Return what `query`, a function of a connection, reads about `about`, all of it from one
        moment.

        It is asked again where the database went away meanwhile. Queries are in
        `pixmill.ledger.queries`, `scan`, `underway`, `stats` and `billing`; the
        methods above are those that page or translate.

        >>> ledger.read(queries.spent, run_id="20261128-222708-c542c0")
        """
        with _translate_errors(self.database):
            return retry_while_unavailable(
                self.database,
                READ_PATIENCE_SECONDS,
                partial(self._answer, query, *about, **options),
            )

    # Inside

    def _check_not_moved(self) -> None:
        """Raise LedgerError if the ledger was moved or replaced since it was opened."""
        if reason := self.database.find_move():
            raise LedgerError(reason, hint=MOVED_HINT)

    def _answer(
        self, query: Callable[..., Answer], *about: Any, **options: Any
    ) -> Answer:
        with self.database.reading.connect() as connection:
            return query(connection, *about, **options)


@overload
def open_ledger(
    address: Path | str, *, read_only: Literal[False] = False
) -> Ledger: ...


@overload
def open_ledger(address: Path | str, *, read_only: Literal[True]) -> Ledger | None: ...


def open_ledger(address: Path | str, *, read_only: bool = False) -> Ledger | None:
    """Open the ledger at `address`, making it where it is absent; a read-only one that is absent is
    `None`.

    Raises LedgerError where it can't be used and UserError where it is newer than this program.
    """
    if read_only and not ledger_exists(address):
        return None
    if not read_only and not is_database_url(address):
        create_parent_folder(Path(address))
    return Ledger(address, read_only=read_only)


def ledger_exists(address: Path | str) -> bool:
    """Whether there is a ledger at `address`. Raises UserError for an unusable URL, LedgerError
    without its server."""
    if not is_database_url(address):
        path = Path(address)
        return path.exists() and path.stat().st_size > 0
    try:
        url = database_url(str(address))
    except ValueError as error:
        raise UserError(f"the address of a ledger {error}") from None
    database = database_at(url)
    try:
        with _translate_errors(database), database.reading.connect() as connection:
            return version_of(connection) is not None
    finally:
        database.close()


@contextmanager
def _translate_errors(database: Database) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ValueError) as error:
        # Damaged text is found when it is parsed, which is not an error of SQL.
        reason = str(getattr(error, "orig", error))
        raise LedgerError(
            f"{database} can't be read: {reason}", hint=database.remedy
        ) from error
