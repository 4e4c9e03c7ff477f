"""What is written to the ledger: claims, ended calls, images, runs, each kind as a group within one transaction.

A claim is one conditional upsert that can't take a key that succeeded, was refused, is in flight or in doubt, unless
one more payment for it is wanted (`pixmill.ledger.again`): then its outcome stays until the call brings another.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Connection,
    TextClause,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert

from pixmill.ledger.again import SETTLED, is_state, tried_before, wanted_again
from pixmill.ledger.owner import is_dead, this_owner
from pixmill.ledger.records import Claim, Recorded, Refused, RunLimits, State
from pixmill.ledger.schema import DOUBTFUL, attempts, jobs, now_micros, runs

_CLAIMED = ("owner", "lease_until", "claim_run", "claim_account", "claimed_at")
_OVERWRITTEN = ("state", "run_id", "provider", "account", "req_key")
"""What a claim overwrites where there is no outcome to keep."""

_MAX_RUNS: BindParameter[int] = bindparam("max_runs")
_RETRY_DOUBT: BindParameter[bool] = bindparam("retry_doubt", type_=Boolean)


def _claim_statement() -> TextClause:
    """The conditional upsert of a JSON list of keys, as text: SQLAlchemy compiles an upsert anew at every use."""
    keys = func.json_each(bindparam("keys")).table_valued("value")
    names = (*_OVERWRITTEN, *_CLAIMED)
    source = select(keys.c.value, literal_column("1"), *(bindparam(name) for name in names)).where(true())
    new = upsert(jobs).from_select(["job_key", "attempts", *names], source, include_defaults=False)
    in_another_run = jobs.c.run_id != new.excluded.run_id
    again = wanted_again(_MAX_RUNS, _RETRY_DOUBT)
    claim = new.on_conflict_do_update(
        index_elements=[jobs.c.job_key],
        set_={
            **{name: case((again, jobs.c[name]), else_=new.excluded[name]) for name in _OVERWRITTEN},
            **{name: new.excluded[name] for name in _CLAIMED},
            "again": literal_column("0"),
            "attempts": jobs.c.attempts + literal_column("1"),
        },
        where=or_(
            is_state(State.PENDING),
            and_(tried_before(_MAX_RUNS), in_another_run),
            and_(again, or_(in_another_run, jobs.c.again == literal_column("1"))),
        ),
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
            values = {**_claim_values(limits), "keys": json.dumps(taken), **_rules(limits)}
            rows = connection.execute(_CLAIM, values).all()
            granted.update({(key, limits.run_id): Claim(attempts, rerolls) for key, attempts, rerolls in rows})
            connection.execute(_SPEND, {"run": limits.run_id, "number": len(rows)})
    states = _states(connection, [(key, limits) for key, limits in entries if (key, limits.run_id) not in granted])
    return [
        granted.pop((key, limits.run_id))
        if (key, limits.run_id) in granted
        else _refused(states.get(key), key in over_budget)
        for key, limits in entries
    ]


def _refused(standing: tuple[State, bool] | None, over_budget: bool) -> Refused:
    """Say why: a key that could have been claimed was refused for the budget's sake."""
    if standing is None:
        return Refused(None)
    state, again = standing
    return Refused(None if over_budget and (again or state in (State.PENDING, State.FAILED)) else state)


def _room(connection: Connection, limits: RunLimits) -> int | None:
    if limits.max_calls is None:
        return None
    used = connection.execute(select(runs.c.calls).where(runs.c.run_id == limits.run_id)).scalar() or 0
    return max(0, limits.max_calls - used)


def _claim_values(limits: RunLimits) -> dict[str, Any]:
    now = now_micros()
    return {
        "state": State.IN_FLIGHT.value,
        "owner": this_owner(),
        "lease_until": now + int(limits.lease_seconds * 1e6),
        "run_id": limits.run_id,
        "provider": limits.provider,
        "account": limits.account,
        "req_key": limits.req_key,
        "claim_run": limits.run_id,
        "claim_account": limits.account,
        "claimed_at": now,
    }


def _rules(limits: RunLimits) -> dict[str, Any]:
    return {"max_runs": limits.max_runs, "retry_doubt": limits.retry_doubt}


_STANDING = select(jobs.c.job_key, jobs.c.state, wanted_again(_MAX_RUNS, _RETRY_DOUBT)).where(
    jobs.c.job_key == bindparam("key")
)


def _states(connection: Connection, entries: Sequence[tuple[str, RunLimits]]) -> dict[str, tuple[State, bool]]:
    """Where keys stand: their state, and whether one more payment for them is wanted."""
    rows = [connection.execute(_STANDING, {"key": key, **_rules(limits)}).first() for key, limits in entries]
    return {key: (State(state), bool(again)) for key, state, again in filter(None, rows)}


_OUTCOME_FIELDS = {
    "state": "state",
    "transient": "transient",
    "run_id": "run_id",
    "outcome_run": "run_id",
    "provider": "provider",
    "account": "account",
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
_MINE = jobs.c.owner == bindparam("own")
_NO_SUCCESS = bindparam("p_state") != State.SUCCEEDED
_STAYS = and_(
    is_state(*SETTLED),
    or_(bindparam("p_state") == State.PENDING, and_(is_state(State.SUCCEEDED), _NO_SUCCESS)),
)
"""The condition that a call, made although there was an outcome, brings none that could take its place."""

_GIVEN_UP = and_(jobs.c.owner.is_(None), or_(is_state(State.IN_DOUBT), not_(_NO_SUCCESS)))
"""The condition that an answer is kept although its claim was given up before it came: it may have been paid for."""

_OF_JOB = update(jobs).where(jobs.c.job_key == bindparam("key"))
_RELEASED = {"owner": None, "lease_until": None}
_SETTLE = _OF_JOB.where(or_(and_(_MINE, not_(_STAYS)), _GIVEN_UP)).values(
    {column: bindparam(f"p_{source}") for column, source in _OUTCOME_FIELDS.items()}
    | {"again": 0, "image_error": None, "image_run": None, "download_ms": None}
    | {"runs": jobs.c.runs + bindparam("fruitless"), **_RELEASED}
)
_KEEP = _OF_JOB.where(_MINE, _STAYS).values(
    # An answer after which any job is sent again does not use the mark up.
    again=case((or_(bindparam("p_state") == State.PENDING, bindparam("p_transient") == 1), 1), else_=0),
    runs=jobs.c.runs + bindparam("p_transient"),
    rerolls=bindparam("p_rerolls"),
    **_RELEASED,
)
_KEEP_READS = ("key", "own", "p_state", "p_transient", "p_rerolls")


def record(connection: Connection, entries: Sequence[Recorded]) -> list[None]:
    """Append ended calls to `attempts` and settle their jobs; an outcome that was there before stays until replaced."""
    rows = [entry._asdict() for entry in entries]
    connection.execute(insert(attempts), [{name: row[name] for name in _ATTEMPT_FIELDS} for row in rows])
    settled = [_settled(row) for row in rows]
    connection.execute(_SETTLE, settled)
    without_success = [row for row in settled if row["p_state"] != State.SUCCEEDED]
    if without_success:
        connection.execute(_KEEP, [{name: row[name] for name in _KEEP_READS} for row in without_success])
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
        "fruitless": int(row["transient"] or row["state"] == State.IN_DOUBT),
    }


_IMAGE = (
    update(jobs)
    # Another call may have brought other images since these were asked for.
    .where(jobs.c.job_key == bindparam("key"), jobs.c.output_urls.is_not_distinct_from(bindparam("urls")))
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
    """Write down that calls of dead processes may have been charged, and put their jobs into doubt.

    A job that had succeeded before stays so: its picture is still there.
    """
    held = select(*(jobs.c[name] for name in _HELD)).where(jobs.c.owner.is_not(None))
    rows = [row for row in connection.execute(held) if is_dead(row.owner, row.lease_until)]
    if not rows:
        return 0
    now = now_micros()
    connection.execute(insert(attempts), [_lost_call(row, now) for row in rows])
    connection.execute(_FREE, [{"key": row.job_key} for row in rows])
    doubted = [_doubted(row, now) for row in rows if row.state != State.SUCCEEDED]
    if doubted:
        connection.execute(_DOUBT, doubted)
    return len(rows)


_HELD = ("job_key", "state", "owner", "lease_until", "run_id", "account", "claim_run", "claim_account", "claimed_at")
_DIED = {"code": "process_died", "message": "the process that sent this ended before it saw an answer"}
_FREE = _OF_JOB.values(**_RELEASED)
_DOUBT = _OF_JOB.values(
    state=State.IN_DOUBT,
    runs=jobs.c.runs + 1,
    outcome_run=None,
    request_id=None,
    error_code=_DIED["code"],
    error_message=_DIED["message"],
    **{name: bindparam(f"p_{name}") for name in ("run_id", "account", "started_at", "finished_at")},
)


def _lost_call(row: Any, now: int) -> dict[str, Any]:
    return {
        "job_key": row.job_key,
        "run_id": row.claim_run or row.run_id,  # a ledger of an earlier version did not write claims down apart
        "account": row.claim_account or row.account,
        "sent_at": row.claimed_at,
        "answered_at": now,
        "verdict": State.IN_DOUBT.value,
        "charged": "unknown",
        **_DIED,
    }


def _doubted(row: Any, now: int) -> dict[str, Any]:
    lost = _lost_call(row, now)
    return {
        "key": row.job_key,
        "p_run_id": lost["run_id"],
        "p_account": lost["account"],
        "p_started_at": lost["sent_at"],
        "p_finished_at": now,
    }


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
