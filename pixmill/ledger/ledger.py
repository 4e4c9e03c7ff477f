"""Claims, recorded answers and look-ups: the operations of the ledger.

Every write goes through the group writer and returns once it is on disk. A claim is one conditional upsert that
can't take a key that succeeded, was refused, is in flight or in doubt, so the database itself refuses a second
payment. A look-up that fails raises LedgerError: only proven absence may pay.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    TextClause,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from pixmill.errors import LedgerError, UserError
from pixmill.ledger.owner import is_dead, this_owner
from pixmill.ledger.records import Claim, Known, Recorded, Refused, RunLimits, State
from pixmill.ledger.schema import SCHEMA_VERSION, attempts, connect, jobs, meta, metadata, runs
from pixmill.ledger.writer import GroupWriter

LOOKUP_SIZE = 10_000
"""Keys asked for by one statement."""

OUTCOME_COLUMNS = tuple(
    column.name for column in jobs.columns if column.name not in ("owner", "lease_until", "account", "runs")
)
"""The columns of `jobs` that a dataset is made from, in the order in which `outcomes` returns them."""


def now_micros() -> int:
    """The wall clock in microseconds since 1970 UTC, for display and expiry only."""
    return time.time_ns() // 1000


class Ledger:
    """An open ledger. `read_only` ones answer questions and refuse to write."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
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
        """Claim `job_key` for one call of a run, reserve the call in its budget and write the intent, durably."""
        return self._write(_claim, (job_key, limits))  # type: ignore[no-any-return]

    def record(self, recorded: Recorded) -> None:
        """Write an ended call and the outcome derived from it, durably."""
        self._write(_record, recorded)

    def record_image(
        self, job_key: str, run_id: str, images: str | None, error: str | None, download_ms: float
    ) -> None:
        """Write where the images of a paid job are (a JSON list), or why they are missing, durably."""
        row = {"key": job_key, "run": run_id, "images": images, "error": error, "ms": download_ms}
        self._write(_record_image, row)

    def begin_run(self, run_id: str, name: str) -> int:
        """Write down that a run starts and put jobs whose owner died into doubt; return how many those were."""
        return self._write(_begin_run, (run_id, name))  # type: ignore[no-any-return]

    def finish_run(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Write down how a run ended."""
        self._write(_finish_run, (run_id, json.dumps(summary)))

    # Reading

    def is_empty(self) -> bool:
        """Whether no job has ever been claimed."""
        with self._read() as connection:
            return connection.execute(select(jobs.c.job_key).limit(1)).first() is None

    def known(self, keys: Sequence[str], *, max_runs: int) -> dict[str, Known]:
        """Return what is known of each of `keys`; absent ones have never been claimed.

        A transient failure with runs left counts as pending, a job whose owner died as in doubt.
        """
        again = and_(jobs.c.state == State.FAILED, jobs.c.transient == 1, jobs.c.runs < max_runs)
        columns = (
            jobs.c.job_key,
            case((again, State.PENDING.value), else_=jobs.c.state),
            jobs.c.images.is_(None),
            jobs.c.image_error,
            jobs.c.owner,
            jobs.c.lease_until,
        )
        found: dict[str, Known] = {}
        for rows in self._by_key(columns, keys):
            for key, state, no_image, image_error, owner, lease in rows:
                dead = owner is not None and state == State.IN_FLIGHT and is_dead(owner, lease)
                found[key] = _known(State.IN_DOUBT if dead else state, bool(no_image), image_error)
        return found

    def outcomes(self, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the rows of `keys` that exist, in no order, each in the order of `OUTCOME_COLUMNS`."""
        columns = [jobs.c[name] for name in OUTCOME_COLUMNS]
        return [tuple(row) for rows in self._by_key(columns, keys) for row in rows]

    def missing_images(self, keys: Sequence[str]) -> list[tuple[str, list[str], int]]:
        """Of `keys`, return those that are paid and have no image although their URLs may live: key, URLs, expiry."""
        columns = (jobs.c.job_key, jobs.c.state, jobs.c.images, jobs.c.image_error, jobs.c.output_urls)
        return [
            (key, json.loads(urls), expires_at)
            for rows in self._by_key([*columns, jobs.c.url_expires_at], keys)
            for key, state, images, error, urls, expires_at in rows
            if state == State.SUCCEEDED and images is None and urls and error != "image_lost"
        ]

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

    def top_codes(self, run_id: str, limit: int = 5) -> list[tuple[str, int]]:
        """The most frequent codes of a run's calls that were no success, with their counts."""
        count = func.count()
        query = select(attempts.c.code, count).where(attempts.c.run_id == run_id, attempts.c.verdict != "succeeded")
        with self._read() as connection:
            rows = connection.execute(query.group_by(attempts.c.code).order_by(count.desc()).limit(limit)).all()
        return [(code or "unknown", number) for code, number in rows]

    def last_runs(self, name: str, limit: int = 5) -> list[dict[str, Any]]:
        """The newest runs of the config `name`, newest first, as plain columns."""
        query = select(runs).where(runs.c.name == name).order_by(runs.c.started_at.desc()).limit(limit)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    # Inside

    def _write(self, apply: Any, entry: Any) -> Any:
        if self._writer is None:
            raise LedgerError(f"{self.path} was opened for reading only")
        return self._writer.write(apply, entry)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _reported(self.path), self._reading.connect() as connection:
            yield connection

    def _by_key(self, columns: Sequence[Any], keys: Sequence[str]) -> Iterator[Sequence[Any]]:
        # One JSON parameter: ten thousand of their own take longer to name and bind than to look up.
        wanted = func.json_each(bindparam("keys")).table_valued("value")
        statement = select(*columns).where(jobs.c.job_key.in_(select(wanted.c.value)))
        with self._read() as connection:
            for start in range(0, len(keys), LOOKUP_SIZE):
                part = json.dumps(keys[start : start + LOOKUP_SIZE])
                yield connection.execute(statement, {"keys": part}).all()

    def _check_version(self, *, create: bool) -> None:
        with self._writing.begin() if create else self._reading.connect() as connection:
            if create:
                metadata.create_all(connection)
                seed = upsert(meta).values(name="schema_version", value=str(SCHEMA_VERSION)).on_conflict_do_nothing()
                connection.execute(seed)
            version = int(connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one())
        if version > SCHEMA_VERSION:
            raise UserError(
                f"{self.path} was written by a newer pixmill (schema {version}; this one knows {SCHEMA_VERSION})",
                hint="upgrade pixmill; the ledger was not touched",
            )


def open_ledger(path: Path, *, read_only: bool = False) -> Ledger | None:
    """Open the ledger at `path`, making it where it is absent; a read-only one that is absent is `None`.

    Raises LedgerError where it can't be used and UserError where it is newer than this program.
    """
    if read_only and not path.exists():
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"the store {path.parent} can't be made: {error.strerror}") from None
    return Ledger(path, read_only=read_only)


@cache
def _known(state: str, no_image: bool, image_error: str | None) -> Known:
    """One value for all jobs that stand alike."""
    missing = state == State.SUCCEEDED and no_image
    return Known(State(state), missing, missing and image_error == "image_lost")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error))
        raise LedgerError(
            f"{path} can't be read: {reason}", hint="nothing was sent; restore it from a backup"
        ) from error


_CLAIMED = ("state", "owner", "lease_until", "run_id", "provider", "account", "req_key")


def _claim_statement() -> TextClause:
    """The conditional upsert of a JSON list of keys, as text: SQLAlchemy compiles an upsert anew at every use."""
    keys = func.json_each(bindparam("keys")).table_valued("value")
    source = select(keys.c.value, literal_column("1"), *(bindparam(name) for name in _CLAIMED)).where(true())
    new = upsert(jobs).from_select(["job_key", "attempts", *_CLAIMED], source, include_defaults=False)
    tried_before = and_(
        jobs.c.state == literal_column(f"'{State.FAILED}'"),
        jobs.c.transient == literal_column("1"),
        jobs.c.runs < bindparam("max_runs"),
        jobs.c.run_id != new.excluded.run_id,
    )
    claim = new.on_conflict_do_update(
        index_elements=[jobs.c.job_key],
        set_={
            **{name: new.excluded[name] for name in _CLAIMED},
            "attempts": jobs.c.attempts + literal_column("1"),
        },
        where=or_(jobs.c.state == literal_column(f"'{State.PENDING}'"), tried_before),
    ).returning(jobs.c.job_key, jobs.c.attempts)
    return text(str(claim.compile(dialect=sqlite.dialect(paramstyle="named"))))


_CLAIM = _claim_statement()
_SPEND = update(runs).where(runs.c.run_id == bindparam("run")).values(calls=runs.c.calls + bindparam("number"))


def _claim(connection: Connection, entries: Sequence[tuple[str, RunLimits]]) -> list[Claim | Refused]:
    """Grant what the states and the budgets allow."""
    granted: dict[tuple[str, str], int] = {}
    for limits in dict.fromkeys(limits for _, limits in entries):
        keys = [key for key, of in entries if of == limits]
        room = _room(connection, limits)
        taken = keys if room is None else keys[:room]
        if not taken:
            continue
        values = {**_claim_values(limits), "keys": json.dumps(taken), "max_runs": limits.max_runs}
        rows = connection.execute(_CLAIM, values).all()
        granted.update({(key, limits.run_id): number for key, number in rows})
        connection.execute(_SPEND, {"run": limits.run_id, "number": len(rows)})
    refused = [key for key, limits in entries if (key, limits.run_id) not in granted]
    states = _states(connection, refused)
    return [_decision(granted.pop((key, limits.run_id), None), states.get(key)) for key, limits in entries]


def _decision(number: int | None, state: State | None) -> Claim | Refused:
    return Refused(state) if number is None else Claim(number)


def _room(connection: Connection, limits: RunLimits) -> int | None:
    if limits.max_calls is None:
        return None
    used = connection.execute(select(runs.c.calls).where(runs.c.run_id == limits.run_id)).scalar() or 0
    return max(0, limits.max_calls - used)


def _claim_values(limits: RunLimits) -> dict[str, Any]:
    return {
        "state": State.IN_FLIGHT.value,
        "owner": this_owner(),
        "lease_until": now_micros() + int(limits.lease_seconds * 1e6),
        "run_id": limits.run_id,
        "provider": limits.provider,
        "account": limits.account,
        "req_key": limits.req_key,
    }


def _states(connection: Connection, keys: Sequence[str]) -> dict[str, State]:
    if not keys:
        return {}
    rows = connection.execute(select(jobs.c.job_key, jobs.c.state).where(jobs.c.job_key.in_(keys)))
    return {key: State(state) for key, state in rows}


_OUTCOME_FIELDS = {
    "state": "state",
    "transient": "transient",
    "outcome_run": "run_id",
    "error_code": "error_code",
    "error_message": "error_message",
    "request_id": "request_id",
    "rephraser_result": "rephraser_result",
    "output_urls": "output_urls",
    "url_expires_at": "url_expires_at",
    "images": "images",
    "started_at": "sent_at",
    "finished_at": "answered_at",
    "queue_ms": "queue_ms",
    "latency_ms": "latency_ms",
    "provider_ms": "provider_ms",
    "cost": "cost",
    "currency": "currency",
}
_SETTLE = (
    update(jobs)
    .where(jobs.c.job_key == bindparam("key"))
    # An answer that comes after the claim was given up is paid all the same: it is kept, not thrown away.
    .where(or_(jobs.c.owner == bindparam("own"), jobs.c.state == State.IN_DOUBT))
    .values(
        {column: bindparam(f"p_{source}") for column, source in _OUTCOME_FIELDS.items()}
        | {"owner": None, "lease_until": None, "runs": jobs.c.runs + bindparam("p_transient")}
    )
)


def _record(connection: Connection, entries: Sequence[Recorded]) -> list[None]:
    rows = [entry._asdict() for entry in entries]
    connection.execute(insert(attempts), [{name: row[name] for name in _ATTEMPT_FIELDS} for row in rows])
    connection.execute(_SETTLE, [_settled(row) for row in rows])
    return [None] * len(entries)


_ATTEMPT_FIELDS = tuple(column.name for column in attempts.columns if column.name != "id")


def _settled(row: Mapping[str, Any]) -> dict[str, Any]:
    succeeded = row["state"] == State.SUCCEEDED
    values = {
        **row,
        "transient": int(row["transient"]),
        "error_code": None if succeeded else row["code"],
        "error_message": None if succeeded else row["message"],
        "cost": row["price"] if row["charged"] == "yes" else None,
    }
    return {f"p_{name}": values[name] for name in set(_OUTCOME_FIELDS.values())} | {
        "key": row["job_key"],
        "own": this_owner(),
    }


_IMAGE = (
    update(jobs)
    .where(jobs.c.job_key == bindparam("key"))
    .values(
        images=bindparam("images"),
        image_error=bindparam("error"),
        image_run=bindparam("run"),
        download_ms=bindparam("ms"),
    )
)


def _record_image(connection: Connection, entries: Sequence[dict[str, Any]]) -> list[None]:
    connection.execute(_IMAGE, list(entries))
    return [None] * len(entries)


def _begin_run(connection: Connection, entries: Sequence[tuple[str, str]]) -> list[int]:
    recovered = []
    for run_id, name in entries:
        connection.execute(
            insert(runs),
            {"run_id": run_id, "name": name, "owner": this_owner(), "started_at": now_micros(), "calls": 0},
        )
        recovered.append(_recover(connection, run_id))
    return recovered


def _recover(connection: Connection, run_id: str) -> int:
    """Put jobs that a dead process left in flight into doubt: their calls may have been charged."""
    held = select(jobs.c.job_key, jobs.c.owner, jobs.c.lease_until, jobs.c.run_id, jobs.c.account)
    rows = [
        row
        for row in connection.execute(held.where(jobs.c.owner.is_not(None), jobs.c.state == State.IN_FLIGHT)).all()
        if is_dead(row.owner, row.lease_until)
    ]
    if not rows:
        return 0
    now = now_micros()
    message = "the process that sent this ended before it saw an answer"
    lost = {"verdict": "in_doubt", "code": "process_died", "message": message, "charged": "unknown"}
    connection.execute(
        insert(attempts),
        [
            {"job_key": row.job_key, "run_id": row.run_id, "account": row.account, "answered_at": now, **lost}
            for row in rows
        ],
    )
    doubt = {
        "state": State.IN_DOUBT,
        "owner": None,
        "lease_until": None,
        "outcome_run": run_id,
        "finished_at": now,
    }
    statement = update(jobs).where(jobs.c.job_key == bindparam("key"))
    statement = statement.values(**doubt, error_code="process_died", error_message=message)
    connection.execute(statement, [{"key": row.job_key} for row in rows])
    return len(rows)


def _finish_run(connection: Connection, entries: Sequence[tuple[str, str]]) -> list[None]:
    for run_id, summary in entries:
        ended = update(runs).where(runs.c.run_id == run_id)
        connection.execute(ended.values(finished_at=now_micros(), summary=summary))
    return [None] * len(entries)
