"""What is written to the ledger: claims, ended calls, images, runs, each kind as a group within one transaction.

A claim is one conditional upsert that can't take a key that succeeded, was refused, is in flight or in doubt.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    TextClause,
    and_,
    bindparam,
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

from pixmill.ledger.owner import is_dead, this_owner
from pixmill.ledger.records import Claim, Recorded, Refused, RunLimits, State
from pixmill.ledger.schema import DOUBTFUL, attempts, jobs, now_micros, runs

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
    ).returning(jobs.c.job_key, jobs.c.attempts, jobs.c.rerolls)
    return text(str(claim.compile(dialect=sqlite.dialect(paramstyle="named"))))


_CLAIM = _claim_statement()
_SPEND = update(runs).where(runs.c.run_id == bindparam("run")).values(calls=runs.c.calls + bindparam("number"))


def claim(connection: Connection, entries: Sequence[tuple[str, RunLimits]]) -> list[Claim | Refused]:
    """Grant what the states and the budgets allow."""
    granted: dict[tuple[str, str], Claim] = {}
    over_budget: set[str] = set()
    for limits in dict.fromkeys(limits for _, limits in entries):
        keys = [key for key, of in entries if of == limits]
        room = _room(connection, limits)
        taken = keys if room is None else keys[:room]
        over_budget.update(keys[len(taken) :])
        if taken:
            values = {**_claim_values(limits), "keys": json.dumps(taken), "max_runs": limits.max_runs}
            rows = connection.execute(_CLAIM, values).all()
            granted.update({(key, limits.run_id): Claim(attempts, rerolls) for key, attempts, rerolls in rows})
            connection.execute(_SPEND, {"run": limits.run_id, "number": len(rows)})
    states = _states(connection, [key for key, limits in entries if (key, limits.run_id) not in granted])
    return [
        granted.pop((key, limits.run_id))
        if (key, limits.run_id) in granted
        else _refused(states.get(key), key in over_budget)
        for key, limits in entries
    ]


def _refused(state: State | None, over_budget: bool) -> Refused:
    """Say why: a key that could have been claimed was refused for the budget's sake."""
    return Refused(None if over_budget and state in (None, State.PENDING, State.FAILED) else state)


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
    "effective_seed": "seed",
    "rerolls": "rerolls",
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


def record(connection: Connection, entries: Sequence[Recorded]) -> list[None]:
    """Append ended calls to `attempts` and settle their jobs."""
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


def record_image(connection: Connection, entries: Sequence[dict[str, Any]]) -> list[None]:
    """Write where images are or why they are missing."""
    connection.execute(_IMAGE, list(entries))
    return [None] * len(entries)


def begin_run(connection: Connection, entries: Sequence[tuple[str, str]]) -> list[int]:
    """Insert runs and put what dead processes left in flight into doubt; return how many jobs for each run."""
    recovered = []
    for run_id, name in entries:
        connection.execute(
            insert(runs),
            {"run_id": run_id, "name": name, "owner": this_owner(), "started_at": now_micros(), "calls": 0},
        )
        recovered.append(_recover(connection))
        _take_note(connection, run_id, name)
    return recovered


def _recover(connection: Connection) -> int:
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
    doubt = {"state": State.IN_DOUBT, "owner": None, "lease_until": None, "outcome_run": None, "finished_at": now}
    statement = update(jobs).where(jobs.c.job_key == bindparam("key"))
    statement = statement.values(**doubt, error_code="process_died", error_message=message)
    connection.execute(statement, [{"key": row.job_key} for row in rows])
    return len(rows)


def _take_note(connection: Connection, run_id: str, name: str) -> None:
    """Make jobs that died in earlier runs of the config `name` news of this run, whichever config found them."""
    earlier = select(runs.c.run_id).where(runs.c.name == name)
    found = update(jobs).where(text(DOUBTFUL), jobs.c.outcome_run.is_(None), jobs.c.run_id.in_(earlier))
    connection.execute(found.values(outcome_run=run_id))


def finish_run(connection: Connection, entries: Sequence[tuple[str, str]]) -> list[None]:
    """Write how runs ended."""
    for run_id, summary in entries:
        ended = update(runs).where(runs.c.run_id == run_id)
        connection.execute(ended.values(finished_at=now_micros(), summary=summary))
    return [None] * len(entries)
