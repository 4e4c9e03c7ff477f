"""The text of typed values, for templates and keys, and their form in JSON.

Columns keep their types; this is what they read like.

Everything is made of Arrow's own values, column by column: Python has no object for many of them.
"""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_timestamps import (
    date_texts,
    duration_texts,
    time_texts,
    timestamp_texts,
)
from pixmill.arrow_types import doubles, strip_extensions

_BY_ARROW = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_null,
)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_MOMENTS = (
    (pa.types.is_date, date_texts),
    (pa.types.is_time, time_texts),
    (pa.types.is_timestamp, timestamp_texts),
    (pa.types.is_duration, duration_texts),
)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
    pa.types.is_fixed_size_list,
)

# Up to here a double holds every whole number, so all its digits mean something: ids are often such
# doubles.
_EXACT = 2**53

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class _Form(NamedTuple):
    """How values are written where there is a choice."""

    number: Callable[[float], Any]
    """Floats."""

    data: Callable[[bytes], str | None]
    """Bytes of any length."""


def as_text(
    column: pa.ChunkedArray | pa.Array, *, encoded: bool = False
) -> pa.ChunkedArray | pa.Array:
    """The text of each value, as a string column of the same length; null where there is none.

    Strings are as they are, whole numbers "7", fractions "0.6" (shortest form, at most 12 digits),
    whole floats "3", booleans "true", decimals plain, dates and times ISO 8601 (those with a zone
    in UTC: "…Z"), durations "1 day, 0:00:01.500000", lists and objects compact JSON, bytes of fixed
    length (ids, digests) hexadecimal. Other bytes are UTF-8, and have no text where they are not;
    `encoded` makes all of them Base64. NaN has no text. Raises ValueError for types that have none:
    those that Parquet can't hold, and objects with two keys of one name.
    """
    form = _ENCODED if encoded else _READ
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array(
            [_texts(strip_extensions(chunk), form) for chunk in column.chunks],
            pa.string(),
        )
    return _texts(strip_extensions(column), form)


def as_json(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The value of each row in terms of JSON, for files that other programs read.

    Numbers, texts, booleans, lists and objects are what they are (a map is a list of pairs), NaN
    and infinities null, bytes Base64; all else is text as `as_text` writes it. Raises ValueError as
    that does.
    """
    if isinstance(column, pa.ChunkedArray):
        return [
            value
            for chunk in column.chunks
            for value in _values(strip_extensions(chunk), _KEPT)
        ]
    return _values(strip_extensions(column), _KEPT)


def json_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch as objects, each value as `as_json` has it."""
    columns = [as_json(column) for column in batch.columns]
    return (
        dict(zip(batch.schema.names, row, strict=True))
        for row in zip(*columns, strict=True)
    )


def _texts(column: pa.Array, form: _Form) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Each value is written once, however often it occurs.
        return _texts(column.dictionary, form).take(column.indices)
    if pa.types.is_run_end_encoded(kind):
        return _texts(pc.run_end_decode(column), form)
    if pa.types.is_floating(kind):
        return _strings(map(_number, doubles(column).to_pylist()))
    if _is_one(kind, _BY_ARROW):
        return column.cast(pa.string())
    if (found := _moments(column)) is not None:
        return found
    if pa.types.is_nested(kind):
        return _strings(
            None if value is None else _JSON.encode(value)
            for value in _values(column, form)
        )
    return _strings(_values(column, form))


def _values(column: pa.Array, form: _Form) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        known = _values(column.dictionary, form)
        return [None if at is None else known[at] for at in column.indices.to_pylist()]
    if pa.types.is_run_end_encoded(kind):
        return _values(pc.run_end_decode(column), form)
    if pa.types.is_floating(kind):
        return _convert(form.number, doubles(column))
    if _is_one(kind, _BY_ARROW):
        return column.to_pylist()  # type: ignore[no-any-return]
    if (found := _moments(column)) is not None:
        return found.to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_decimal(kind):
        return _convert("{:f}".format, column)
    if pa.types.is_fixed_size_binary(kind):
        return _convert(bytes.hex, column)
    if _is_one(kind, _BYTES):
        return _convert(form.data, column)
    return _nested_values(column, form)


def _nested_values(column: pa.Array, form: _Form) -> list[Any]:
    kind = column.type
    if pa.types.is_struct(kind):
        names = column.type.names
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"more than one key of its objects is named {twice[0]!r}")
        columns = [_values(column.field(at), form) for at in range(len(names))]
        rows = zip(*columns, strict=True) if columns else iter([()] * len(column))
        known = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if is_there else None
            for row, is_there in zip(rows, known, strict=True)
        ]
    if pa.types.is_map(kind):
        return _maps(column, form)
    if _is_one(kind, _LISTS):
        items = _values(column.flatten(), form)
        found: list[Any] = []
        start = 0
        for length in pc.list_value_length(column).to_pylist():
            found.append(
                None if length is None else list(items[start : start + length])
            )
            start += length or 0
        return found
    raise ValueError(f"values of {kind} have no text")


def _maps(column: pa.MapArray, form: _Form) -> list[Any]:
    """Maps as lists of pairs: their keys need not be texts."""
    offsets = column.offsets.to_pylist()
    # A slice of a map column still has all keys of the whole one: only its own are written.
    first = offsets[0]
    space = offsets[-1] - offsets[0]
    parts = [
        _values(part.slice(first, space), form) for part in (column.keys, column.items)
    ]
    pairs = [list(pair) for pair in zip(*parts, strict=True)]
    known = column.is_valid().to_pylist()
    spans = zip(offsets, offsets[1:], known, strict=False)
    return [
        pairs[begin - first : end - first] if is_there else None
        for begin, end, is_there in spans
    ]


def _moments(column: pa.Array) -> pa.Array | None:
    """The texts of dates, times, timestamps and durations, `None` for a column of anything else."""
    for is_one, texts in _MOMENTS:
        if is_one(column.type):
            return texts(column)
    return None


def _is_one(kind: pa.DataType, kinds: Iterable[Callable[[pa.DataType], bool]]) -> bool:
    return any(is_one(kind) for is_one in kinds)


def _strings(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _convert(convert: Callable[[Any], Any], column: pa.Array) -> list[Any]:
    return [None if value is None else convert(value) for value in column.to_pylist()]


def _number(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return (
        str(int(value))
        if value.is_integer() and abs(value) <= _EXACT
        else f"{value:.12g}"
    )


def _short_number(value: float) -> int | float | str | None:
    if not math.isfinite(value):
        return _number(value)
    return (
        int(value)
        if value.is_integer() and abs(value) <= _EXACT
        else float(f"{value:.12g}")
    )


def _finite_or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_READ = _Form(_short_number, _utf8)
_ENCODED = _Form(_short_number, _base64)
_KEPT = _Form(_finite_or_null, _base64)


def in_nfc(texts: pa.Array) -> pa.Array:
    """Return texts (Arrow strings) in Unicode NFC."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    buffers = [chunk.buffers()[-1] for chunk in chunks]
    # ASCII is, and a look at its bytes takes a hundredth of the time of normalizing.
    if all(
        (np.frombuffer(buffer, np.uint8) < 0x80).all() for buffer in buffers if buffer
    ):
        return texts
    return pc.utf8_normalize(texts, form="NFC")


def is_blank(texts: Any) -> Any:
    """Return a mask of texts (Arrow strings) that are missing or white space."""
    filled = pc.fill_null(texts, "")
    return pc.or_(pc.equal(pc.binary_length(filled), 0), pc.utf8_is_space(filled))
