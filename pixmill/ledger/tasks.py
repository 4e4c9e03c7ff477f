"""Running tasks: what their submits leave in the ledger, and which process polls them.

`record_tasks` writes a task down before it is polled for the first time. From then on its job is
not in doubt, whatever happens to the process: whichever run comes next takes the task over.

| event                          | owner afterwards | `state` afterwards                   |
|--------------------------------|------------------|--------------------------------------|
| the job is claimed             | the claimer      | `in_flight`, or a kept outcome       |
| its task is recorded           | the same         | `submitted`, or a kept outcome       |
| `release_tasks`, or it is dead | nobody (release) | unchanged                            |
| the job is claimed again       | the new claimer  | unchanged                            |
| the task's outcome is recorded | nobody           | the outcome; `claim_task` is cleared |
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, case, or_, select, update

from pixmill.ledger.dialects import clock, execute, json_values
from pixmill.ledger.job_conditions import (
    has_task,
    is_state,
    is_unattended,
    is_unclaimed,
)
from pixmill.ledger.payment_marks import NO_MARK
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.records import Attempt, State
from pixmill.ledger.schema import attempts, jobs


class SubmittedTask(NamedTuple):
    """A task that a submit has started, and for how long the claim of its process is honoured."""

    job_key: str
    task_id: str
    lease_seconds: float


_OF_JOB = update(jobs).where(jobs.c.job_key == bindparam("key"))
_IS_OURS = jobs.c.owner == bindparam("own")
# A process that was suspended past its lease may receive the answer to its submit after its job was
# put in doubt. The task can be polled then, so the job is no longer in doubt.
_WAS_GIVEN_UP = and_(
    is_state(State.IN_DOUBT),
    is_unclaimed(),
    jobs.c.error_code == "process_died",
)
_HAS_NO_OUTCOME = or_(is_state(State.IN_FLIGHT), _WAS_GIVEN_UP)
_RECORD = _OF_JOB.where(or_(_IS_OURS, _WAS_GIVEN_UP)).values(
    claim_task=bindparam("task"),
    task_since=bindparam("since"),
    owner=bindparam("own"),
    lease_until=bindparam("until"),
    state=case((_HAS_NO_OUTCOME, State.SUBMITTED.value), else_=jobs.c.state),
    # People look for a running task by its id.
    task_id=case((_HAS_NO_OUTCOME, bindparam("task")), else_=jobs.c.task_id),
    # Drop a mark set meanwhile: whoever set it did not know of the task.
    again=case((_WAS_GIVEN_UP, NO_MARK), else_=jobs.c.again),
)
_RELEASE = _OF_JOB.where(_IS_OURS, has_task()).values(owner=None, lease_until=None)


def record_tasks(
    connection: Connection, entries: Sequence[SubmittedTask]
) -> list[None]:
    """Write down the tasks of submits that were answered, and let their claims last longer."""
    now = clock(connection)()
    rows = [
        {
            "key": entry.job_key,
            "own": this_owner(),
            "task": entry.task_id,
            "since": now,
            "until": now + int(entry.lease_seconds * 1e6),
        }
        for entry in entries
    ]
    execute(connection, _RECORD, rows)
    return [None] * len(entries)


def release_tasks(connection: Connection, entries: Sequence[str]) -> list[None]:
    """Release tasks of this process that are still running: any run may poll them."""
    execute(
        connection, _RELEASE, [{"key": key, "own": this_owner()} for key in entries]
    )
    return [None] * len(entries)


def take_over(
    connection: Connection, keys: Sequence[str], new_owner: Mapping[str, Any]
) -> Sequence[Row[Any]]:
    """Claim those of `keys` whose tasks no process polls; return what is known of these.

    `new_owner` has the new `owner` and `lease_until`. `claim_run`, `claim_account` and
    `claim_amount` are not changed: the call stays in the budgets of the run and the account that
    submitted it.
    """
    rows = execute(
        connection,
        _TAKE_OVER,
        [{**new_owner, "keys": json.dumps(keys, allow_nan=False)}],
    )
    return rows.all()


_ASKED = json_values(bindparam("keys")).table_valued("value")
_TAKE_OVER = (
    update(jobs)
    .where(jobs.c.job_key.in_(select(_ASKED.c.value)), is_unattended())
    .values(owner=bindparam("owner"), lease_until=bindparam("lease_until"))
    .returning(
        *(
            jobs.c[name]
            for name in (
                "job_key",
                "attempts",
                "rerolls",
                "claim_task",
                "claim_run",
                "claim_account",
                "claim_amount",
                "task_since",
            )
        )
    )
)


def leave_out_repeated(
    connection: Connection, entries: Sequence[Attempt]
) -> Sequence[Attempt]:
    """Return `entries` without duplicates of an outcome already recorded.

    Two processes may poll the same task if the lease of one ended while it was suspended.
    """
    keys = [entry.job_key for entry in entries if entry.task_id is not None]
    if not keys:
        return entries
    asked = {"keys": json.dumps(keys, allow_nan=False)}
    known = set(connection.execute(_RECORDED, asked).tuples())
    first = []
    for entry in entries:
        of_task = (entry.job_key, entry.task_id)
        if of_task not in known:
            first.append(entry)
        if entry.task_id is not None:
            known.add(of_task)
    return first


_RECORDED = select(attempts.c.job_key, attempts.c.task_id).where(
    attempts.c.job_key.in_(select(_ASKED.c.value)), attempts.c.task_id.is_not(None)
)
