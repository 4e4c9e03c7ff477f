"""Jobs that dead processes left claimed: nobody knows whether their calls were sent, so each may
have been charged."""

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
    """Return `columns`, `owner` and `lease_until` of all jobs that are claimed by a process that is
    dead."""
    held = select(*dict.fromkeys((*columns, jobs.c.owner, jobs.c.lease_until)))
    rows = connection.execute(held.where(jobs.c.owner.is_not(None))).all()
    now = clock(connection)
    return [row for row in rows if is_dead(row.owner, row.lease_until, now)]


def mark_left_by_the_dead(connection: Connection, found: pa.Table) -> pa.BooleanArray:
    """Mark those of jobs that were looked up which a dead process left in doubt, whatever their
    state says.

    `found` has the columns `state`, `owner` and `lease_until`. A job that had succeeded before is
    none of them: its picture is still there.
    """
    left = [False] * found.num_rows
    now = clock(connection)
    for at in pc.indices_nonzero(pc.is_valid(found["owner"])).to_pylist():
        if found["state"][at].as_py() != State.SUCCEEDED:
            owner = found["owner"][at].as_py()
            left[at] = is_dead(owner, found["lease_until"][at].as_py(), now)
    return pa.array(left, pa.bool_())
