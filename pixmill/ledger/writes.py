"""What is written to the ledger beside claims: ended calls, images, runs, each kind as a group
within a transaction.

Every ended call is a row of `attempts`. What it does to its job depends on whether this process
still holds the claim:

| claim    | outcome before | the call ended in    | the job                                    |
|----------|----------------|----------------------|--------------------------------------------|
| held     | none           | any state            | `_SETTLE`: takes this state, and is free   |
| held     | a success      | anything but success | `_KEEP`: keeps its outcome, and is free    |
| held     | any            | `pending`            | `_KEEP`                                    |
| held     | any            | anything else        | `_SETTLE`                                  |
| given up | in doubt, free | any state            | `_SETTLE`: a late answer is better         |
| given up | any            | a success            | `_SETTLE`: it is paid for; new claims stay |
| given up | anything else  | anything but success | stays as it is                             |

A process that polled a task counts as holding the claim that this task belongs to, even if another
process has taken it over. The end of a task is written once: a second process that saw it writes
nothing (`tasks.leave_out_repeated`). A job that has an outcome while its claim is held is one that
is paid for again. A call ends in `pending` if its job is to be called again, for example as it was
throttled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    insert,
    not_,
    or_,
    select,
    text,
    update,
)

from pixmill.ledger.dead_owners import ENDED_CLAIM, put_dead_into_doubt
from pixmill.ledger.dialects import execute
from pixmill.ledger.job_conditions import is_state
from pixmill.ledger.payment_marks import MARK_IN_USE, MARKED, NO_MARK
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.records import SETTLED, Attempt, State
from pixmill.ledger.schema import DOUBTFUL, attempts, jobs, now_micros, runs
from pixmill.ledger.tasks import leave_out_repeated
from pixmill.money import from_units, to_units

_RENAMED = {
    "error_code": "error_code",
    "error_message": "error_message",
    "started_at": "sent_at",
    "finished_at": "answered_at",
    "cost": "cost",
    "effective_seed": "seed",
}
"""Columns of `jobs` whose values an `Attempt` has under another name, or that follow from it (see
`_settle_values`)."""

_OUTCOME_FIELDS = {
    name: name for name in Attempt._fields if name in jobs.c and name != "job_key"
} | _RENAMED
"""By column of `jobs`, where an ended call has its value."""

# Parameters named `p_…` have the values of the ended call, as `_settle_values` gives them.
_IS_HELD = or_(
    # An answer without a task id is not about a job whose task is out.
    and_(jobs.c.owner == bindparam("own"), jobs.c.claim_task.is_(None)),
    jobs.c.claim_task == bindparam("p_task_id"),
)
_IS_SUCCESS = bindparam("p_state") == State.SUCCEEDED
_IS_PENDING = bindparam("p_state") == State.PENDING
_OUTCOME_STAYS = and_(
    is_state(*SETTLED),
    or_(_IS_PENDING, and_(is_state(State.SUCCEEDED), not_(_IS_SUCCESS))),
)
"""The condition that the call brings nothing that could take the place of the outcome."""

_COUNTS_LATE = or_(and_(jobs.c.owner.is_(None), is_state(State.IN_DOUBT)), _IS_SUCCESS)
"""The condition that an answer counts although its claim was given up before it came: it may have
been paid for."""

_OF_JOB = update(jobs).where(jobs.c.job_key == bindparam("key"))
_SETTLE = _OF_JOB.where(or_(and_(_IS_HELD, not_(_OUTCOME_STAYS)), _COUNTS_LATE)).values(
    {column: bindparam(f"p_{source}") for column, source in _OUTCOME_FIELDS.items()}
    | {"again": NO_MARK, "image_error": None, "image_run": None, "download_ms": None}
    | {"runs": jobs.c.runs + bindparam("fruitless")}
    # Who has claimed the job since then still holds it.
    | {name: case((_IS_HELD, None), else_=jobs.c[name]) for name in ENDED_CLAIM}
)
_GIVES_MARK_BACK = and_(
    jobs.c.again == MARK_IN_USE, or_(_IS_PENDING, bindparam("p_transient") == 1)
)
"""The condition that this claim consumed a mark and the call ended in a way that any job is retried
after."""

_KEEP = _OF_JOB.where(_IS_HELD, _OUTCOME_STAYS).values(
    again=case((_GIVES_MARK_BACK, MARKED), else_=NO_MARK),
    runs=jobs.c.runs + bindparam("p_transient"),
    rerolls=bindparam("p_rerolls"),
    **ENDED_CLAIM,
)
_ATTEMPT_FIELDS = [
    column.name
    for column in attempts.columns
    if column.name not in ("id", "supersedes", "images")
]
_lost = attempts.alias("lost")
_APPEND = insert(attempts).values(
    {name: bindparam(name) for name in _ATTEMPT_FIELDS}
    # In this table the column `images` is a number.
    | {"images": bindparam("image_count")}
    # An answer that comes after its claim was given up takes the place of what was written down
    # then.
    | {
        "supersedes": select(_lost.c.id)
        .where(
            _lost.c.job_key == bindparam("job_key"),
            _lost.c.attempt == bindparam("attempt"),
        )
        .where(text("lost.code = 'process_died'"))
        .scalar_subquery()
    }
)


def record(connection: Connection, entries: Sequence[Attempt]) -> list[None]:
    """Append ended calls to `attempts` and settle their jobs; an outcome that was there before
    stays until replaced."""
    rows = []
    for entry in leave_out_repeated(connection, entries):
        amount = None if entry.amount is None else to_units(entry.amount)
        rows.append({**entry._asdict(), "amount": amount})
    if not rows:
        return [None] * len(entries)
    execute(connection, _APPEND, rows)
    values = [_settle_values(row) for row in rows]
    # Both statements for each call, as only the database knows which row of the table holds: a job
    # that `_SETTLE` changed has no claim that `_KEEP` could find.
    execute(connection, _SETTLE, values)
    without_success = [row for row in values if row["p_state"] != State.SUCCEEDED]
    # A success always settles its job, which spares the usual call the second statement.
    if without_success:
        execute(connection, _KEEP, without_success)
    return [None] * len(entries)


_SETTLED_FIELDS = tuple(set(_OUTCOME_FIELDS.values()))


def _settle_values(row: Mapping[str, Any]) -> dict[str, Any]:
    succeeded = row["state"] == State.SUCCEEDED
    cost = None
    if row["amount"] is not None and row["charged"] == "yes":
        cost = float(from_units(row["amount"]))
    values = {
        **row,
        "transient": int(row["transient"]),
        "outcome_run": row["outcome_run"] or row["run_id"],
        "error_code": None if succeeded else row["code"],
        "error_message": None if succeeded else row["message"],
        "cost": cost,
    }
    return {f"p_{name}": values[name] for name in _SETTLED_FIELDS} | {
        "key": row["job_key"],
        "own": this_owner(),
        "fruitless": int(row["transient"] or row["state"] == State.IN_DOUBT),
    }


_IMAGE = (
    update(jobs)
    # Another call may have brought other images since these were asked for.
    .where(
        jobs.c.job_key == bindparam("key"),
        jobs.c.output_urls.is_not_distinct_from(bindparam("urls")),
    )
    .values(
        images=bindparam("images"),
        image_error=bindparam("error"),
        # What is still missing for the same reason is not news of another run.
        image_run=case(
            (jobs.c.image_error == bindparam("error"), jobs.c.image_run),
            else_=bindparam("run"),
        ),
        download_ms=bindparam("ms"),
    )
)


def record_image(
    connection: Connection, entries: Sequence[dict[str, Any]]
) -> list[None]:
    """Write where images are or why they are missing."""
    connection.execute(_IMAGE, list(entries))
    return [None] * len(entries)


def begin_run(connection: Connection, entries: Sequence[tuple[str, str]]) -> list[int]:
    """Insert runs, then `doubt_calls_of_the_dead`; return what that does."""
    for run_id, name in entries:
        connection.execute(
            insert(runs),
            {
                "run_id": run_id,
                "name": name,
                "owner": this_owner(),
                "started_at": now_micros(),
                "calls": 0,
            },
        )
    return doubt_calls_of_the_dead(connection, entries)


def doubt_calls_of_the_dead(
    connection: Connection, entries: Sequence[tuple[str, str]]
) -> list[int]:
    """Put what dead processes left in flight into doubt, and release their tasks; return for each
    run how many calls that were."""
    numbers = []
    for run_id, name in entries:
        numbers.append(put_dead_into_doubt(connection))
        # The doubt is news of this run, whichever run of this config wrote it down.
        earlier = select(runs.c.run_id).where(runs.c.name == name)
        found = update(jobs).where(
            text(DOUBTFUL), jobs.c.outcome_run.is_(None), jobs.c.run_id.in_(earlier)
        )
        connection.execute(found.values(outcome_run=run_id))
    return numbers


def finish_run(
    connection: Connection, entries: Sequence[tuple[str, str]]
) -> list[None]:
    """Write how runs ended."""
    for run_id, summary in entries:
        ended = update(runs).where(runs.c.run_id == run_id)
        connection.execute(ended.values(finished_at=now_micros(), summary=summary))
    return [None] * len(entries)
