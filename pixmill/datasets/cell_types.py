"""Columns of CSV that hold nothing but numbers or truth values, as such.

The dataset keeps every cell of CSV as the text that it was, since `007` may be a number or a name. Whoever
loads it for calculations wants numbers, but none that would be written differently from its cell.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r"^(?:0|-?[1-9][0-9]{0,17})$"
"""Without leading zeros and plus signs, which identifiers and phone numbers have; within 64 bits."""

_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+][0-9]+)?$"
"""An exponent has a sign where programs write one; `12e4` may be the digits of a hash."""

_LONG = r"^-?[1-9][0-9]{15}"
"""The start of a number with so many digits before the point that a double can't represent all of it."""

_TRUTH_VALUES = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))
"""The spellings of most programs, of pandas and of spreadsheets; a column has one of them throughout."""


def infer_types(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return `table` with those of the text columns `names` as numbers or truth values that hold
    nothing else. An empty cell is missing there.
    """
    for name in names:
        at = table.schema.get_field_index(name)
        inferred = _infer(table[name])
        if inferred is not None:
            table = table.set_column(at, name, inferred)
    return table


def _infer(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the values of a text column, `None` where it is text."""
    cells = pc.if_else(pc.equal(column, ""), None, column)
    given = cells.drop_null()
    # A column that is empty throughout says nothing about its type.
    if not len(given):
        return None
    if _all_match(given, _WHOLE):
        return cells.cast(pa.int64())
    is_long = pc.match_substring_regex(given, _LONG)
    if _all_match(given, _NUMBER) and not pc.any(is_long).as_py():
        numbers = cells.cast(pa.float64())
        # 1e999 is a number that no double can represent.
        return numbers if pc.all(pc.is_finite(numbers)).as_py() else None
    for spelling in _TRUTH_VALUES:
        if pc.all(pc.is_in(given, pa.array(spelling))).as_py():
            return pc.equal(cells, spelling[0])
    return None


def _all_match(texts: pa.ChunkedArray, pattern: str) -> bool:
    # Most columns of text are seen to be so by their first cell.
    parts = (texts.slice(0, 1), texts)
    return all(
        pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in parts
    )
