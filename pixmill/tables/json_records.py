"""One line of JSON lines: its cells, and what is wrong with it."""

import json
import math
from typing import Any

from pixmill.tables.batch import LineProblem

# Arrow and Parquet handle nesting by recursion; nothing that people make by hand comes near this.
_MAX_DEPTH = 32
_INT64 = range(-(2**63), 2**63)

_MESSAGES = {
    "bad_json": "NaN or an infinity, which are not JSON, or nested too deeply",
    "lone_surrogate": "half of a surrogate pair, which is not a character",
    "number_too_large": "a number beyond 64 bits",
}


_NO_JSON = object()
"""Stands for NaN and the infinities, which Python's parser accepts, until their cell is found bad."""


class _NotJsonError(ValueError):
    """Something that Python's parser accepts and JSON, or a table, does not."""


def parse(line: str, number: int) -> tuple[dict[str, Any], LineProblem | None]:
    """The cells of line `number` by column, and its first problem. What no column can hold is null there.

    An object without keys holds nothing, so it counts as null: Parquet has no type for it.
    """
    try:
        value = _decode(line)
    except json.JSONDecodeError as error:
        return {}, _problem(
            number, "bad_json", None, f"{error.msg} at character {error.colno}"
        )
    except _NotJsonError as error:
        return {}, _problem(number, "bad_json", None, str(error))
    except RecursionError:
        return {}, _problem(number, "bad_json", None)
    except ValueError:  # Python's own limit on the digits of an integer
        return {}, _problem(number, "number_too_large", None)
    if not line.lstrip().startswith("{"):
        return {}, _problem(number, "bad_json", None, "not a JSON object")
    cells = value or {}
    flaws = {
        name: flaw
        for name, value in cells.items()
        if (flaw := _flaw(value) or _flaw(name))
    }
    if not flaws:
        return cells, None
    kept = {
        name: None if name in flaws else value
        for name, value in cells.items()
        if not _flaw(name)
    }
    first, *others = [
        _problem(number, reason, column if column in kept else None)
        for column, reason in flaws.items()
    ]
    return kept, first._replace(others=tuple(others))


def _flaw(value: object, depth: int = 0) -> str:
    """The reason why a value can't be stored, or ""."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return "lone_surrogate"
        return ""
    # bool is an int, and in the range of one.
    if isinstance(value, int):
        return "" if value in _INT64 else "number_too_large"
    if value is _NO_JSON:
        return "bad_json"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "number_too_large"
    if isinstance(value, list | dict):
        if depth == _MAX_DEPTH:
            return "bad_json"
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return next((flaw for part in parts if (flaw := _flaw(part, depth + 1))), "")
    return ""


def _problem(
    number: int, reason: str, column: str | None, detail: str = ""
) -> LineProblem:
    place = f"line {number}" if column is None else f"line {number}, column {column!r}"
    return LineProblem(reason, column, f"{place}: {detail or _MESSAGES[reason]}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    # JSON does not say which of two equal keys counts, and parsers differ.
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _NotJsonError("a key is duplicated in one object")
    return value or None


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=lambda _: _NO_JSON
).decode
