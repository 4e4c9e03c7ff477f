"""Look-ups of many job keys at once, read back columnar.

The database writes the rows as CSV lines and returns one text, which Arrow parses: no tuple is made
per row, and as neither needs the interpreter, a look-up in another thread continues while batches
are prepared. What an answer holds can be long, and a batch has many: texts and tables are bounded
by their bytes, not by the number of their rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
from sqlalchemy import (
    BigInteger,
    Connection,
    Float,
    Integer,
    Text,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.sql.expression import ColumnElement, Subquery

from pixmill.ledger.dialects import csv_line, json_values, octets
from pixmill.ledger.scan import NO_PLACE, ROW
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
_BATCH_KEYS = 2_500
"""Keys asked for by one statement: their lines are a text of about a megabyte."""

_LONG_BYTES = 2_500
"""From how many bytes on a line is asked for separately: `_BATCH_KEYS` shorter ones fit into one
text."""

_TEXT_BYTES = 8 << 20
"""How many bytes of long lines one statement returns, if it is more than one line."""

_TABLE_BYTES = 32 << 20
"""How many bytes of long lines go into one table."""

_KEY = "key"


def look_up(
    connection: Connection,
    columns: Sequence[ColumnElement[Any]],
    keys: Sequence[str | None],
) -> pa.Table:
    """Return `columns` of the jobs `keys`, one row for each in their order; null where a key is
    unknown or `None`.

    For columns whose cells are short; see `look_up_first`.
    """
    found = look_up_first(connection, columns, keys)
    if found.num_rows < len(keys):
        rest = look_up(connection, columns, keys[found.num_rows :])
        found = pa.concat_tables([found, rest]).combine_chunks()
    return found


def look_up_first(
    connection: Connection,
    columns: Sequence[ColumnElement[Any]],
    keys: Sequence[str | None],
    places: Sequence[int] = (),
) -> pa.Table:
    """Return `columns` of the jobs `keys` as `look_up` does, but no more rows than a table should
    have.

    Where cells are long, those are the rows of the first `keys`, at least of one: the others are
    asked for next. Where `places` of the keys are given (rows of SQLite, or 0), they are looked for
    there first, and only those that are elsewhere by their keys. The columns keep their names;
    those that hold JSON come as lists. Whole numbers are int64, the rest is text.
    """
    found = _LookupResult(connection, columns)
    asked = pa.array(keys, pa.string())
    if places:
        found.take(ROW, sorted({place for place in places if place != NO_PLACE}))
        elsewhere = found.unknown(asked)
    else:
        elsewhere = {key for key in keys if key}
    found.take(jobs.c.job_key, sorted(elsewhere))
    returned = keys
    if found.long:
        returned = next(_split_by_bytes(keys, found.long, _TABLE_BYTES))
    found.take_long(sorted(found.long.keys() & set(returned)))
    whole = found.table()
    positions = pc.index_in(asked.slice(0, len(returned)), value_set=whole[_KEY])
    return (
        whole.drop_columns(_KEY)
        .take(positions)
        .rename_columns([column.name for column in columns])
    )


class _LookupResult:
    """What a look-up has found: `tables` of keys and columns, and the keys of lines too `long` to
    be in them."""

    def __init__(
        self, connection: Connection, columns: Sequence[ColumnElement[Any]]
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._schema = pa.schema(
            [
                *((str(at), _kind(column)) for at, column in enumerate(columns)),
                # At the end, as pyarrow takes an empty last cell of a text for an invalid number.
                (_KEY, pa.string()),
            ]
        )
        self.tables = [self._schema.empty_table()]
        self.long: dict[str, int] = {}

    def table(self) -> pa.Table:
        """Return all that was taken, in one piece."""
        # Joined once: each look-up in it would join the pieces again.
        if len(self.tables) > 2:
            self.tables = [
                self.tables[0],
                pa.concat_tables(self.tables).combine_chunks(),
            ]
        return self.tables[-1]

    def unknown(self, keys: pa.Array) -> set[str]:
        """Return those of `keys` that were not found."""
        known = pc.or_(pc.is_in(keys, value_set=self.table()[_KEY]), pc.is_null(keys))
        return {
            key
            for key in keys.filter(pc.invert(known)).to_pylist()
            if key not in self.long
        }

    def take(self, column: ColumnElement[Any], values: Sequence[Any]) -> None:
        """Take the jobs whose `column` is one of `values`."""
        # A statement takes longer to build than a few jobs to find.
        if not values:
            return
        lines = self._lines(column)
        length = octets(lines.c.line)
        is_long = length >= _LONG_BYTES
        measured = lines.c.job_key + "\n" + cast(length, Text)
        statement = select(
            func.aggregate_strings(lines.c.line, "\n").filter(~is_long),
            func.aggregate_strings(measured, "\n").filter(is_long),
        )
        # One statement for all would make one text of them, which databases and Arrow limit.
        for start in range(0, len(values), _BATCH_KEYS):
            asked = json.dumps(values[start : start + _BATCH_KEYS], allow_nan=False)
            text, lengths = self._connection.execute(statement, {"values": asked}).one()
            self._add(text)
            # Keys and lengths in turn.
            words = iter((lengths or "").split())
            self.long |= {
                key: int(length) for key, length in zip(words, words, strict=True)
            }

    def take_long(self, keys: Sequence[str]) -> None:
        """Take jobs that `take` left out."""
        if not keys:
            return
        lines = self._lines(jobs.c.job_key)
        statement = select(func.aggregate_strings(lines.c.line, "\n"))
        for part in _split_by_bytes(keys, self.long, _TEXT_BYTES):
            asked = {"values": json.dumps(part, allow_nan=False)}
            self._add(self._connection.execute(statement, asked).scalar())

    def _add(self, text: str | None) -> None:
        if text:
            data = text.encode()
            # Columns of lists are JSON in the lines.
            texts = {
                field.name: pa.string() if pa.types.is_list(field.type) else field.type
                for field in self._schema
            }
            table = pa_csv.read_csv(
                pa.BufferReader(data),
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    block_size=len(data) + 1,
                    column_names=self._schema.names,
                ),
                parse_options=pa_csv.ParseOptions(
                    quote_char="'", newlines_in_values=True
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=texts,
                    null_values=["", "NULL"],
                    strings_can_be_null=True,
                    # An empty text is `''`, and the text NULL is `'NULL'`.
                    quoted_strings_can_be_null=False,
                ),
            )
            for at, field in enumerate(self._schema):
                if pa.types.is_list(field.type):
                    lists = _parse_lists(table.column(at).combine_chunks(), field.type)
                    table = table.set_column(at, field, lists)
            self.tables.append(table)

    def _lines(self, column: ColumnElement[Any]) -> Subquery:
        """The key and the CSV line of each job whose `column` is one of the values that are
        bound."""
        # One JSON parameter: ten thousand of their own take longer to name and bind than to look
        # up.
        wanted = json_values(bindparam("values")).table_valued("value")
        line = csv_line(*self._columns, jobs.c.job_key).label("line")
        rows = select(jobs.c.job_key, line).where(column.in_(select(wanted.c.value)))
        # The offset keeps both databases from making the line anew at each use.
        return rows.offset(0).subquery()


def _split_by_bytes(
    keys: Sequence[str | None], lengths: Mapping[str, int], most: int
) -> Iterator[list[str | None]]:
    """Yield `keys` in order, as many at once as have `most` bytes of long lines, at least one."""
    part: list[str | None] = []
    total = 0
    for key in keys:
        length = lengths.get(key or "", 0)
        if part and total + length > most:
            yield part
            part = []
            total = 0
        part.append(key)
        total += length
    if part:
        yield part


def nothing_known(columns: Sequence[ColumnElement[Any]], count: int) -> pa.Table:
    """Return what a look-up of `count` unknown keys returns."""
    return pa.table({column.name: pa.nulls(count, _kind(column)) for column in columns})


def _kind(column: ColumnElement[Any]) -> pa.DataType:
    if column.name in _JSON:
        return _JSON[column.name]
    if isinstance(column.type, Integer | BigInteger):
        return pa.int64()
    return pa.float64() if isinstance(column.type, Float) else pa.string()


def _parse_lists(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the lists of `kind` that `texts` are in JSON, null for null; all are parsed as one
    text."""
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), kind)
    lines = pc.binary_join_element_wise('{"":', texts.drop_null(), "}\n", "")
    _, _, data = lines.buffers()
    parsed = pa_json.read_json(
        pa.BufferReader(data),
        read_options=pa_json.ReadOptions(use_threads=False, block_size=data.size + 1),
        parse_options=pa_json.ParseOptions(
            explicit_schema=pa.schema([("", kind)]),
            newlines_in_values=True,
            unexpected_field_behavior="ignore",
        ),
    )
    lists = parsed.column(0).combine_chunks()
    if not texts.null_count:
        return lists
    # The n-th text that is not null is the n-th list that was parsed.
    is_text = texts.is_valid().to_numpy(zero_copy_only=False)
    return lists.take(pa.array(is_text.cumsum() - 1, mask=~is_text))
