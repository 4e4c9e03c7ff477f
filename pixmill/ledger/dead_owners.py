"""Jobs that dead processes left claimed. Nobody knows whether their calls were sent, so each may
have been charged, and its job is in doubt; but for those with a task, which the next run asks for.

Look-ups say so at once, whether or not a run has written it down (`put_dead_into_doubt`) by then.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, bindparam, insert, select, update
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.dialects import clock
from pixmill.ledger.payment_marks import NO_MARK
from pixmill.ledger.process_owner import is_dead
from pixmill.ledger.records import State
from pixmill.ledger.schema import attempts, jobs

ENDED_CLAIM = dict.fromkeys(
    ("owner", "lease_until", "claim_task", "task_since", "claim_amount")
)
"""The new values of a job whose claim has ended: nobody has it, and its call is in flight no
longer."""


def held_by_the_dead(
    connection: Connection, columns: Sequence[ColumnElement[Any]]
) -> list[Row[Any]]:
    """Return `columns`, `owner`, `lease_until` and `claim_task` of all jobs that are claimed by a
    process that is dead."""
    looked_at = (jobs.c.owner, jobs.c.lease_until, jobs.c.claim_task)
    held = select(*dict.fromkeys((*columns, *looked_at)))
    rows = connection.execute(held.where(jobs.c.owner.is_not(None))).all()
    now = clock(connection)
    return [row for row in rows if is_dead(row.owner, row.lease_until, now)]


def mark_held_by_the_dead(connection: Connection, found: pa.Table) -> pa.BooleanArray:
    """Mark those of jobs that were looked up which are claimed by a process that is dead, by their
    columns `owner` and `lease_until`."""
    dead = [False] * found.num_rows
    now = clock(connection)
    for at in pc.indices_nonzero(pc.is_valid(found["owner"])).to_pylist():
        owner = found["owner"][at].as_py()
        dead[at] = is_dead(owner, found["lease_until"][at].as_py(), now)
    return pa.array(dead, pa.bool_())


def mark_doubtful(found: pa.Table, dead: pa.BooleanArray) -> pa.BooleanArray:
    """Mark those of jobs that a dead process left in doubt, whatever their column `state` says.

    A job that had succeeded before is none of them: its picture is still there. Nor is one whose
    `claim_task` says what the process has sent.
    """
    had_succeeded = pc.fill_null(pc.equal(found["state"], State.SUCCEEDED.value), False)
    is_known = pc.or_(had_succeeded, pc.is_valid(found["claim_task"]))
    return pc.and_not(dead, is_known)


def put_dead_into_doubt(connection: Connection) -> int:
    """Write down that calls of dead processes may have been charged, and put their jobs into doubt.

    A job that had succeeded before stays so: its picture is still there. A task that was out is
    released: whoever claims its job next asks for it. Returns how many calls were written down.
    """
    now = clock(connection)
    held = held_by_the_dead(connection, [jobs.c[name] for name in _HELD_COLUMNS])
    with_task = [{"key": row.job_key} for row in held if row.claim_task is not None]
    if with_task:
        connection.execute(_RELEASE_TASK, with_task)
    rows = [row for row in held if row.claim_task is None]
    if not rows:
        return 0
    # Each of these calls may have been charged, so it counts in budgets and bills from now on.
    connection.execute(insert(attempts), [_lost_call(row, now()) for row in rows])
    connection.execute(_END_CLAIM, [{"key": row.job_key} for row in rows])
    doubted = []
    for row in rows:
        if row.state != State.SUCCEEDED:
            lost = _lost_call(row, now())
            values = {
                "key": row.job_key,
                "p_run_id": lost["run_id"],
                "p_account": lost["account"],
                "p_started_at": lost["sent_at"],
                "p_finished_at": lost["answered_at"],
            }
            doubted.append(values)
    if doubted:
        connection.execute(_DOUBT, doubted)
    return len(rows)


_OF_JOB = update(jobs).where(jobs.c.job_key == bindparam("key"))
_HELD_COLUMNS = (
    "job_key",
    "state",
    "owner",
    "lease_until",
    "run_id",
    "account",
    "claim_run",
    "claim_account",
    "claimed_at",
    "claim_amount",
    "attempts",
)
_DIED = {
    "code": "process_died",
    "message": "the process that sent this died before it saw an answer",
}
_RELEASE_TASK = _OF_JOB.values(owner=None, lease_until=None)
_END_CLAIM = _OF_JOB.values(again=NO_MARK, **ENDED_CLAIM)
_DOUBT = _OF_JOB.values(
    state=State.IN_DOUBT,
    runs=jobs.c.runs + 1,
    outcome_run=None,
    request_id=None,
    task_id=None,
    image_count=None,
    error_code=_DIED["code"],
    error_message=_DIED["message"],
    **{
        name: bindparam(f"p_{name}")
        for name in ("run_id", "account", "started_at", "finished_at")
    },
)


def _lost_call(row: Any, now: int) -> dict[str, Any]:
    return {
        "job_key": row.job_key,
        # A ledger of an earlier version did not write claims down separately.
        "run_id": row.claim_run or row.run_id,
        "account": row.claim_account or row.account,
        "attempt": row.attempts,
        "sent_at": row.claimed_at,
        "answered_at": now,
        "verdict": State.IN_DOUBT.value,
        "charged": "unknown",
        "amount": row.claim_amount,
        **_DIED,
    }
