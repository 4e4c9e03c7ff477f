"""Look-ups of many job keys at once, read back columnar.

The database writes the rows as JSON lines and hands out one text, which Arrow parses: no tuple is made per row, and as
neither needs the interpreter, a look-up in another thread goes on while batches are prepared. What an answer holds can
be long, and a batch has many: texts and tables are bounded by their characters, not by the number of their rows.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from sqlalchemy import (
    BigInteger,
    Connection,
    Float,
    Integer,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.sql.expression import ColumnElement, Subquery

from pixmill.ledger.dialects import json_line, json_of, json_values
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
"""Keys asked for by one statement."""

_LONG = 2_500
"""Characters from which on a line is asked for apart: `_BATCH_KEYS` shorter ones fit into one text."""

_TEXT = 8 << 20
"""Characters of long lines that one statement returns, if it is more than one line."""

_TABLE = 32 << 20
"""Characters of long lines in one table."""

_KEY = "key"


def look_up(
    connection: Connection, columns: Sequence[ColumnElement[Any]], keys: Sequence[str | None]
) -> pa.Table:
    """Return `columns` of the jobs `keys`, one row for each in their order; null where a key is unknown or `None`.

    For columns whose cells are short; see `look_up_first`.
    """
    found = look_up_first(connection, columns, keys)
    if found.num_rows < len(keys):
        rest = look_up(connection, columns, keys[found.num_rows :])
        found = pa.concat_tables([found, rest]).combine_chunks()
    return found


def look_up_first(
    connection: Connection, columns: Sequence[ColumnElement[Any]], keys: Sequence[str | None]
) -> pa.Table:
    """Return `columns` of the jobs `keys` as `look_up` does, but no more rows than a table should have.

    Where cells are long, those are the rows of the first `keys`, at least of one: the others are asked for next.
    The columns keep their names; those that hold JSON come as lists. Whole numbers are int64, the rest is text.
    """
    lines = _lines(columns)
    is_long = func.length(lines.c.line) >= _LONG
    short = func.aggregate_strings(lines.c.line, "\n").filter(~is_long)
    measured = lines.c.job_key + "\n" + cast(func.length(lines.c.line), Text)
    texts: list[str] = []
    long: dict[str, int] = {}
    statement = select(short, func.aggregate_strings(measured, "\n").filter(is_long))
    asked = sorted({key for key in keys if key})
    for start in range(0, len(asked), _BATCH_KEYS):
        part = asked[start : start + _BATCH_KEYS]
        text, lengths = connection.execute(statement, {"keys": json.dumps(part)}).one()
        texts += [text] if text else []
        words = iter((lengths or "").split())
        long |= {key: int(length) for key, length in zip(words, words, strict=True)}
    returned = _fitting(keys, long)
    apart = select(func.aggregate_strings(lines.c.line, "\n"))
    for part in _parts(sorted(long.keys() & set(returned)), long):
        texts += connection.execute(apart, {"keys": json.dumps(part)}).scalars()
    schema = pa.schema(
        [(_KEY, pa.string()), *((str(at), _kind(of)) for at, of in enumerate(columns))]
    )
    found = pa.concat_tables([schema.empty_table(), *(_parsed(text, schema) for text in texts)])
    positions = pc.index_in(pa.array(returned, pa.string()), value_set=found[_KEY].combine_chunks())
    return (
        found.drop_columns(_KEY)
        .combine_chunks()
        .take(positions)
        .rename_columns([of.name for of in columns])
    )


def _lines(columns: Sequence[ColumnElement[Any]]) -> Subquery:
    """The JSON line of each known one of the JSON list `keys`: made once a row, however often it is looked at."""
    # Numbers for names: they stand in every row, and short ones are written and parsed faster.
    fields: list[Any] = [
        part for at, of in enumerate(columns) for part in (literal(str(at)), _as_json(of))
    ]
    # One JSON parameter: ten thousand of their own take longer to name and bind than to look up.
    wanted = json_values(bindparam("keys")).table_valued("value")
    line = json_line(literal(_KEY), jobs.c.job_key, *fields).label("line")
    rows = select(jobs.c.job_key, line).where(jobs.c.job_key.in_(select(wanted.c.value)))
    return rows.offset(
        0
    ).subquery()  # an offset keeps the line from being made for each of its uses


def _fitting(keys: Sequence[str | None], long: Mapping[str, int]) -> Sequence[str | None]:
    """Return the first of `keys` whose long lines fit into one table, at least one."""
    total = 0
    for at, key in enumerate(keys) if long else ():
        total += long.get(key or "", 0)
        if at and total > _TABLE:
            return keys[:at]
    return keys


def _parts(keys: Sequence[str], lengths: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield `keys` in order, as many at once as fit into one text, at least one."""
    part: list[str] = []
    total = 0
    for key in keys:
        if part and total + lengths[key] > _TEXT:
            yield part
            part = []
            total = 0
        part.append(key)
        total += lengths[key]
    if part:
        yield part


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
