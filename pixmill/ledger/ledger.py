"""The open ledger: claims and recorded answers go in through one writer, look-ups come out.

Every write returns once it is on disk. A look-up that fails raises LedgerError: only proven absence may pay.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, case, false, func, inspect, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from pixmill.atomic import sync
from pixmill.errors import LedgerError, UserError
from pixmill.ledger import again, entries
from pixmill.ledger import inputs as input_table
from pixmill.ledger.claims import Claims
from pixmill.ledger.disks import network_disk
from pixmill.ledger.inputs import InputImage
from pixmill.ledger.lookups import look_up
from pixmill.ledger.owner import is_dead
from pixmill.ledger.records import Claim, Doubt, Known, Recorded, Refused, RunLimits, State
from pixmill.ledger.schema import (
    SCHEMA_VERSION,
    UPGRADES,
    attempts,
    connect,
    jobs,
    meta,
    metadata,
    runs,
    use_write_ahead_log,
)
from pixmill.ledger.writer import GroupWriter

_NOT_PUBLISHED = {"job_key", "owner", "lease_until", "account", "runs", "transient", "rerolls"} | {
    "again",
    "claim_run",
    "claim_account",
    "claimed_at",
}
Answered = TypeVar("Answered")
OUTCOME_COLUMNS = tuple(column.name for column in jobs.columns if column.name not in _NOT_PUBLISHED)
"""The columns of `jobs` that a dataset is made from, in the order in which `outcomes` returns them."""


class Ledger:
    """An open ledger. `read_only` ones answer questions and refuse to write."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._claims = Claims()
        self._reading = connect(path, writing=False)
        self._writing = connect(path, writing=True)
        with _reported(path):
            self._check_version(create=not read_only)
        self._writer = None if read_only else GroupWriter(self._writing)

    def close(self) -> None:
        """Write what waits and fold the write-ahead log into the file, so that a copy of it is complete."""
        if self._writer:
            self._writer.close()
            with self._reading.connect() as connection:
                connection.connection.dbapi_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()  # type: ignore[union-attr]
        self._reading.dispose()
        self._writing.dispose()

    # Writing

    def claim(self, job_key: str, limits: RunLimits) -> Claim | Refused:
        """Claim `job_key` for one call of a run, reserve the call in its budgets and write the intent, durably."""
        return self._write(self._claims.claim, (job_key, limits))  # type: ignore[no-any-return]

    def record(self, recorded: Recorded) -> None:
        """Write an ended call and the outcome derived from it, durably."""
        self._write(entries.record, recorded)

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
        asked = json.dumps(list(urls)) if urls else None
        row = {"key": job_key, "run": run_id, "urls": asked, "images": images, "error": error, "ms": download_ms}
        self._write(entries.record_image, row)

    def record_input(self, image: InputImage) -> None:
        """Write the answer to a GET of an input image, durably."""
        self._write(input_table.record, image)

    def begin_run(self, run_id: str, name: str) -> int:
        """Write down that a run starts and put jobs whose owner died into doubt; return how many those were."""
        return self._write(entries.begin_run, (run_id, name))  # type: ignore[no-any-return]

    def ask_again(self, asked: Sequence[tuple[str, int]]) -> None:
        """Mark jobs, each with the attempts that it had when a person agreed, for one more payment each, durably."""
        self._write(again.ask_again, asked)

    def finish_run(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Write down how a run ended."""
        self._write(entries.finish_run, (run_id, json.dumps(summary)))

    # Reading

    def check_sound(self) -> None:
        """Compare the index of the job keys with their table. Raises LedgerError where they differ.

        A key that is not found any more would look like one that was never paid for. A million jobs take 3 to 4 s.
        """
        with self._read() as connection:
            found = connection.execute(text("PRAGMA integrity_check('jobs')")).scalars().all()
        if found != ["ok"]:
            raise LedgerError(f"{self.path} is damaged: {found[0]}", hint="nothing was sent; restore it from a backup")

    def is_empty(self) -> bool:
        """Whether no job has ever been claimed."""
        with self._read() as connection:
            return connection.execute(select(jobs.c.job_key).limit(1)).first() is None

    def has_runs(self) -> bool:
        """Whether a run was ever begun with it: a run that was refused makes the file, but begins nothing."""
        with self._read() as connection:
            return connection.execute(select(runs.c.run_id).limit(1)).first() is not None

    def known(self, keys: Sequence[str | None], *, max_runs: int, retry_doubt: bool = False) -> Known:
        """Return what is known of each of `keys`, by position.

        A transient failure with runs left counts as pending, a job whose owner died as in doubt.
        """
        state = case((again.tried_before(max_runs), State.PENDING.value), else_=jobs.c.state).label("state")
        missing = and_(jobs.c.state == State.SUCCEEDED, jobs.c.images.is_(None))
        no_image = case((missing, 1), else_=0).label("missing")
        wanted = case((again.wanted_again(max_runs, retry_doubt), 1)).label("again")
        # Of a job in flight whether it would be paid for again if its owner is dead, and so has left it in doubt.
        if_dead = and_(jobs.c.owner.is_not(None), jobs.c.runs + 1 < max_runs) if retry_doubt else false()
        columns = (state, no_image, jobs.c.image_error, jobs.c.owner, jobs.c.lease_until, wanted)
        with self._read() as connection:
            return _known(look_up(connection, (*columns, case((if_dead, 1)).label("if_dead")), keys))

    def settled(self, keys: Sequence[str | None]) -> pa.Table:
        """Return for each of `keys` what `retry` chooses by: `state`, `error_code` (published so) and `attempts`."""
        lacks = and_(jobs.c.state == State.SUCCEEDED, jobs.c.images.is_(None))
        code = case((lacks, jobs.c.image_error), else_=jobs.c.error_code).label("error_code")
        with self._read() as connection:
            found = look_up(connection, (jobs.c.state, jobs.c.owner, jobs.c.lease_until, code, jobs.c.attempts), keys)
        states = found["state"].to_pylist()
        for at in _left_by_the_dead(found, states):
            states[at] = State.IN_DOUBT.value
        return found.set_column(0, "state", pa.array(states, pa.string()))

    def doubts(self) -> list[Doubt]:
        """Return the jobs in doubt, longest ago first."""
        with self._read() as connection:
            return again.doubts(connection)

    def not_renewed(self, run_id: str) -> int:
        """How many jobs a run paid for, or tried to, that keep an earlier success, as their new call brought none."""
        tried = select(attempts.c.job_key).where(attempts.c.run_id == run_id)
        kept = select(func.count()).where(jobs.c.job_key.in_(tried), jobs.c.state == State.SUCCEEDED)
        with self._read() as connection:
            return connection.execute(kept.where(jobs.c.outcome_run != run_id)).scalar_one()

    def outcomes(self, keys: Sequence[str | None]) -> pa.Table:
        """Return the `OUTCOME_COLUMNS` of `keys`, a row for each in their order; null where nothing is known."""
        with self._read() as connection:
            return look_up(connection, [jobs.c[name] for name in OUTCOME_COLUMNS], keys)

    def missing_images(self, keys: Sequence[str | None]) -> list[tuple[str, list[str], int]]:
        """Of `keys`, return those that are paid and have no image although their URLs may live: key, URLs, expiry."""
        names = ("state", "images", "image_error", "output_urls", "url_expires_at")
        with self._read() as connection:
            found = look_up(connection, [jobs.c[name] for name in names], keys)
        paid = pc.and_(pc.equal(found["state"], State.SUCCEEDED.value), pc.is_null(found["images"]))
        lost = pc.fill_null(pc.equal(found["image_error"], "image_lost"), False)
        here = pc.and_(pc.fill_null(paid, False), pc.and_not(pc.is_valid(found["output_urls"]), lost))
        rows = found.append_column("key", pa.array(keys, pa.string())).filter(here).to_pylist()
        return [*{row["key"]: (row["key"], row["output_urls"], row["url_expires_at"]) for row in rows}.values()]

    def inputs(self, urls: Sequence[str]) -> dict[str, InputImage]:
        """Return the last answer for each of `urls`, a batch of them; absent ones were never asked for."""
        with self._read() as connection:
            return input_table.look_up(connection, urls)

    def bad_inputs(self, urls: Sequence[str]) -> dict[str, InputImage]:
        """Of `urls`, a batch of them, return those whose last answer was a problem."""
        with self._read() as connection:
            return input_table.look_up_bad(connection, urls)

    def kept_inputs(self, urls: Sequence[str]) -> list[str | None]:
        """Return for each of `urls`, a batch of them, the file of its image in the store, `None` if it was not kept."""
        with self._read() as connection:
            return input_table.look_up_files(connection, urls)

    def calls_of(self, run_id: str) -> int:
        """How many HTTP calls a run has claimed."""
        with self._read() as connection:
            return connection.execute(select(runs.c.calls).where(runs.c.run_id == run_id)).scalar() or 0

    def spent(self, *, account: str | None = None, since: int = 0, run_id: str | None = None) -> dict[str, float]:
        """Return the money of calls by whether they were charged: `yes`, `no`, `unknown`."""
        query = select(attempts.c.charged, func.sum(attempts.c.price)).where(attempts.c.answered_at >= since)
        if account is not None:
            query = query.where(attempts.c.account == account)
        if run_id is not None:
            query = query.where(attempts.c.run_id == run_id)
        with self._read() as connection:
            rows = connection.execute(query.group_by(attempts.c.charged)).all()
        return {charged: total or 0.0 for charged, total in rows}

    def mean_latency_ms(self, sample: int = 500) -> float | None:
        """The mean latency of the last `sample` successful calls, `None` without any."""
        recent = select(attempts.c.latency_ms).where(attempts.c.verdict == "succeeded")
        newest = recent.order_by(attempts.c.id.desc()).limit(sample).subquery()
        with self._read() as connection:
            return connection.execute(select(func.avg(newest.c.latency_ms))).scalar()

    def last_runs(self, name: str, limit: int = 5) -> list[dict[str, Any]]:
        """The newest runs of the config `name`, newest first, as plain columns."""
        query = select(runs).where(runs.c.name == name).order_by(runs.c.started_at.desc()).limit(limit)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def ask(self, question: Callable[..., Answered], *about: Any) -> Answered:
        """Return what `question`, a function of a connection, reads about `about`, all of it from one moment."""
        with self._read() as connection:
            return question(connection, *about)

    # Inside

    def _write(self, apply: Any, entry: Any) -> Any:
        if self._writer is None:
            raise LedgerError(f"{self.path} was opened for reading only")
        return self._writer.write(apply, entry)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _reported(self.path), self._reading.connect() as connection:
            yield connection

    def _check_version(self, *, create: bool) -> None:
        with self._reading.connect() as connection:
            version = _version_of(connection)
        if version is None and create:
            self._create()
        elif version is None or version > SCHEMA_VERSION:
            found = "an unknown program" if version is None else f"a newer pixmill (schema {version})"
            raise UserError(
                f"{self.path} was written by {found}; this one knows schema {SCHEMA_VERSION}",
                hint="upgrade pixmill; the ledger was not touched",
            )
        elif version < SCHEMA_VERSION:
            self._upgrade()

    def _create(self) -> None:
        """Make the tables, unless another process is faster."""
        use_write_ahead_log(self.path)
        seed = upsert(meta).values(name="schema_version", value=str(SCHEMA_VERSION)).on_conflict_do_nothing()
        with self._writing.begin() as connection:
            metadata.create_all(connection)
            connection.execute(seed)

    def _upgrade(self) -> None:
        """Bring a ledger of an earlier version up to date, unless another process is faster."""
        with self._writing.begin() as connection:
            for version in range(_version_of(connection) or SCHEMA_VERSION, SCHEMA_VERSION):
                for statement in UPGRADES[version]:
                    connection.execute(text(statement))
            metadata.create_all(connection)
            connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(SCHEMA_VERSION)))


def _version_of(connection: Connection) -> int | None:
    if not inspect(connection).has_table(meta.name):
        return None
    return int(connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one())


def open_ledger(path: Path, *, read_only: bool = False) -> Ledger | None:
    """Open the ledger at `path`, making it where it is absent; a read-only one that is absent is `None`.

    Raises LedgerError where it can't be used and UserError where it is newer than this program.
    """
    if read_only and not (path.exists() and path.stat().st_size):
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(path.parent.parent)
    except OSError as error:
        raise LedgerError(f"the store {path.parent} can't be made: {error.strerror}") from None
    if not read_only and (kind := network_disk(path.parent)):
        raise LedgerError(
            f"the store {path.parent} is on a network disk ({kind}), where SQLite can lose what was paid",
            hint="keep the store on a local disk",
        )
    return Ledger(path, read_only=read_only)


def _known(found: pa.Table) -> Known:
    states = found["state"].to_pylist()
    wanted = _mask(pc.is_valid(found["again"]))
    for at in _left_by_the_dead(found, states):
        states[at], wanted[at] = State.IN_DOUBT.value, found["if_dead"][at].is_valid
    missing = pc.fill_null(pc.equal(found["missing"], 1), False)
    lost = pc.and_(missing, pc.fill_null(pc.equal(found["image_error"], "image_lost"), False))
    return Known(states, _mask(missing), _mask(lost), wanted)


def _left_by_the_dead(found: pa.Table, states: Sequence[str | None]) -> list[int]:
    """The positions of jobs in flight whose owner is dead, but for those that keep an earlier success."""
    held = pc.indices_nonzero(pc.is_valid(found["owner"])).to_pylist()
    return [
        at
        for at in held
        if states[at] != State.SUCCEEDED and is_dead(found["owner"][at].as_py(), found["lease_until"][at].as_py())
    ]


def _mask(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(column.to_numpy(), np.bool_)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ValueError) as error:  # damaged text is no SQL error
        reason = str(getattr(error, "orig", error))
        raise LedgerError(
            f"{path} can't be read: {reason}", hint="nothing was sent; restore it from a backup"
        ) from error
