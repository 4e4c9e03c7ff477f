"""The text of typed values, for templates and keys. Columns keep their types; this is what they read like."""

import json
import math
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BY_ARROW = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_null,
)

# Up to here a double holds every whole number, so all its digits mean something: ids are often such doubles.
_EXACT = 2**53


def as_text(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """The text of each value, as a string column of the same length; null where there is none.

    Strings are as they are, whole numbers "7", fractions "0.6" (shortest form, at most 12 digits), whole
    floats "3", booleans "true", decimals plain, dates and times ISO 8601 (those with a zone in UTC: "…Z"),
    lists and objects compact JSON, bytes of fixed length (ids, digests) hexadecimal. NaN has no text, and
    neither have other bytes that are not UTF-8.
    """
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([as_text(chunk) for chunk in column.chunks], pa.string())
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return as_text(column.storage)
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode())
    if pa.types.is_floating(kind):
        return _texts(map(_number, _doubles(column).to_pylist()))
    if pa.types.is_timestamp(kind):
        return _timestamps(column)
    if pa.types.is_time(kind):
        return _short_fraction(column.cast(pa.string()))
    if pa.types.is_fixed_size_binary(kind):
        return _texts(value and value.hex() for value in column.to_pylist())
    if _is_written_by_arrow(kind):
        return column.cast(pa.string())
    return _texts(map(_written, column.to_pylist()))


def _texts(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _is_written_by_arrow(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in _BY_ARROW)


def _doubles(column: pa.Array) -> pa.Array:
    """Floats as doubles that read the same: 0.6 of 32 bits becomes 0.6, not 0.600000023842."""
    return (
        column if pa.types.is_float64(column.type) else column.cast(pa.string()).cast(pa.float64())
    )


def _number(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else f"{value:.12g}"


def _timestamps(column: pa.Array) -> pa.Array:
    # NumPy and not Arrow: Arrow needs a time zone database, and writes no T.
    ticks = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    texts = np.datetime_as_string(ticks.view(f"datetime64[{column.type.unit}]"))
    known = column.is_valid().to_numpy(zero_copy_only=False)
    shown = _short_fraction(pa.array(texts.tolist(), pa.string(), mask=~known))
    return shown if column.type.tz is None else pc.binary_join_element_wise(shown, "Z", "")


def _short_fraction(times: pa.Array) -> pa.Array:
    """12:30:00.500000 as 12:30:00.5, and 12:30:00.000 as 12:30:00."""
    return pc.replace_substring_regex(
        pc.replace_substring_regex(times, r"(\.\d*?)0+$", r"\1"), r"\.$", ""
    )


def _written(value: object) -> str | None:
    plain = _plain(value)
    if plain is None or isinstance(plain, str):
        return plain
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    """A value of Python in terms of JSON, numbers as `as_text` writes them."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _json_number(value)
        case Decimal():
            return f"{value:f}"
        case bytes():
            return _decoded(value)
        case date() | time():
            return value.isoformat()
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return str(value)


def _json_number(value: float) -> int | float | str | None:
    if not math.isfinite(value):
        return _number(value)
    return int(value) if value.is_integer() and abs(value) <= _EXACT else float(f"{value:.12g}")


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
