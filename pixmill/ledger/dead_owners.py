"""Jobs that dead processes left claimed. Nobody knows whether their calls were sent, so each may
have been charged; but for those with a task, which the next run asks for."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, select
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.dialects import clock
from pixmill.ledger.process_owner import is_dead
from pixmill.ledger.records import State
from pixmill.ledger.schema import jobs


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
