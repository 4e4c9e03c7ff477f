"""Invalid rows as a table for their owner: row number, column, reason, and the values as they stood
in the input."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pixmill.errors import UserError
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.tables import as_text

INVALID_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("values", pa.string()),
    ]
)
"""`values` is a JSON object of the row's cells as text, by column."""


def invalid_rows(jobs: JobBatch) -> list[dict[str, Any]]:
    """Return the invalid rows of a batch as rows of `INVALID_SCHEMA`."""
    if not jobs.problems:
        return []
    positions = sorted(jobs.problems)
    rows = jobs.rows.rows.take(pa.array(positions, pa.int64()))
    texts = {name: as_text(rows[name]).to_pylist() for name in rows.column_names}
    return [
        {
            "row_number": jobs.rows.first_row + at,
            "column": jobs.problems[at].column,
            "reason": jobs.problems[at].reason,
            "message": jobs.problems[at].message,
            "values": json.dumps(
                {name: column[number] for name, column in texts.items()},
                ensure_ascii=False,
                allow_nan=False,
            ),
        }
        for number, at in enumerate(positions)
    ]


class PreviouslyInvalid:
    """What was invalid in the version that is published now; an unreadable file counts as nothing,
    so all is new."""

    def __init__(self, path: Path) -> None:
        try:
            rows = pq.read_table(path, columns=["reason", "values"]).to_pylist()
        except (OSError, pa.ArrowException):
            rows = []
        self._left = Counter(_identity(row) for row in rows)

    def count_new(self, rows: list[dict[str, Any]]) -> int:
        """Say how many of `rows` were not there before; each one known is used up."""
        new = 0
        for row in rows:
            identity = _identity(row)
            # Of rows that are alike, as many are known as there were before.
            self._left[identity] -= 1
            new += self._left[identity] < 0
        return new


def write_invalid_rows(plan: Plan, path: str) -> None:
    """Write all invalid rows to the CSV file `path`. Raises UserError where it can't be written."""
    try:
        with pa_csv.CSVWriter(path, INVALID_SCHEMA) as writer:
            for jobs in plan.batches():
                rows = invalid_rows(jobs)
                if rows:
                    writer.write_table(pa.Table.from_pylist(rows, INVALID_SCHEMA))
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}") from None


def is_table_of_invalid(path: Path) -> bool:
    """Whether the file at `path` is one that `write_invalid_rows` wrote."""
    header = pa.BufferOutputStream()
    pa_csv.write_csv(INVALID_SCHEMA.empty_table(), header)
    begin: bytes = header.getvalue().to_pybytes()
    try:
        with path.open("rb") as file:
            return file.read(len(begin)) == begin
    except OSError:
        return False


def _identity(row: Mapping[str, Any]) -> str:
    return f"{row['reason']} {row['values']}"
