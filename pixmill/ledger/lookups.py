"""Look-ups of many job keys at once, read back columnar.

The database writes the rows as JSON lines and hands out one text, which Arrow parses: no tuple is made per row, and as
neither needs the interpreter, a look-up in another thread goes on while batches are prepared.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from sqlalchemy import BigInteger, Connection, Float, Integer, bindparam, literal, select
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.dialects import json_lines, json_of, json_values
from pixmill.ledger.schema import jobs

IMAGES = pa.list_(
    pa.struct(
        [
            ("file_name", pa.string()),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("bytes", pa.int64()),
        ]
    )
)
"""The image files of a job, as `jobs.images` holds them in JSON."""

_JSON = {"images": IMAGES, "output_urls": pa.list_(pa.string())}
_BATCH_KEYS = 10_000
"""Keys asked for by one statement: what they bring has to fit into one text."""

_KEY = "key"


def look_up(
    connection: Connection, columns: Sequence[ColumnElement[Any]], keys: Sequence[str | None]
) -> pa.Table:
    """Return `columns` of the jobs `keys`, one row for each in their order; null where a key is unknown or `None`.

    The columns keep their names; those that hold JSON come as lists. Whole numbers are int64, the rest is text.
    """
    # Numbers for names: they stand in every row, and short ones are written and parsed faster.
    fields: list[Any] = [
        part for at, of in enumerate(columns) for part in (literal(str(at)), _as_json(of))
    ]
    # One JSON parameter: ten thousand of their own take longer to name and bind than to look up.
    wanted = json_values(bindparam("keys")).table_valued("value")
    lines = json_lines(literal(_KEY), jobs.c.job_key, *fields)
    statement = select(lines).where(jobs.c.job_key.in_(select(wanted.c.value)))
    schema = pa.schema(
        [(_KEY, pa.string()), *((str(at), _kind(of)) for at, of in enumerate(columns))]
    )
    asked = sorted({key for key in keys if key})
    parts = [asked[start : start + _BATCH_KEYS] for start in range(0, len(asked), _BATCH_KEYS)]
    texts = (connection.execute(statement, {"keys": json.dumps(part)}).scalar() for part in parts)
    found = pa.concat_tables(
        [schema.empty_table(), *(_parsed(text, schema) for text in texts if text)]
    )
    positions = pc.index_in(pa.array(keys, pa.string()), value_set=found[_KEY].combine_chunks())
    return (
        found.drop_columns(_KEY)
        .combine_chunks()
        .take(positions)
        .rename_columns([of.name for of in columns])
    )


def _as_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return json_of(column) if column.name in _JSON else column


def _kind(column: ColumnElement[Any]) -> pa.DataType:
    if column.name in _JSON:
        return _JSON[column.name]
    if isinstance(column.type, Integer | BigInteger):
        return pa.int64()
    return pa.float64() if isinstance(column.type, Float) else pa.string()


def _parsed(text: str, schema: pa.Schema) -> pa.Table:
    data = text.encode()
    return pj.read_json(
        io.BytesIO(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
