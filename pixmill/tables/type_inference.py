"""What a column of JSON values holds, widened value by value, and the Arrow type for it."""

from typing import Any, TypeAlias

import pyarrow as pa

# A scalar is its Arrow type, an object the shapes of its keys, a list the shape of its items (a list of one).
# To mypy all of that is Any, because Arrow has no type hints.
Shape: TypeAlias = Any

NOTHING = pa.null()
BOOL = pa.bool_()
INT = pa.int64()
DOUBLE = pa.float64()
TEXT = pa.string()
_SCALARS = {type(None): NOTHING, bool: BOOL, int: INT, float: DOUBLE, str: TEXT}
_NAMES = {
    BOOL: "true or false",
    INT: "a whole number",
    DOUBLE: "a number",
    TEXT: "text",
}

# Keys that are data (ids, dates) would make a column of each: refused before they fill the memory.
_MAX_KEYS = 10_000


class ShapeError(Exception):
    """Two values have no common type: what they are, and where, `a.b` in objects, `a[]` in lists."""


def widen(known: Shape, value: object, path: str) -> Shape:
    """The shape that holds what `known` holds and `value` too; objects and lists are widened in place."""
    found = _SCALARS.get(type(value))
    if found is known or found is NOTHING:
        return known
    if isinstance(value, dict):
        fields = {} if known is NOTHING else known
        if not isinstance(fields, dict):
            raise _conflict(known, value, path)
        for key, part in value.items():
            before = fields.get(key, NOTHING)
            # Nearly every value is a scalar of the type known by then, and a call for each would double the time.
            if before is NOTHING or _SCALARS.get(type(part)) is not before:
                fields[key] = widen(before, part, f"{path}.{key}" if path else key)
        if len(fields) > _MAX_KEYS:
            raise ShapeError(
                f"{path or 'the rows'!r} have more than {_MAX_KEYS:,} different keys"
            )
        return fields
    if isinstance(value, list):
        items = [NOTHING] if known is NOTHING else known
        if not isinstance(items, list):
            raise _conflict(known, value, path)
        for item in value:
            items[0] = widen(items[0], item, f"{path}[]")
        return items
    if known is NOTHING:
        return found
    if (known, found) in ((INT, DOUBLE), (DOUBLE, INT)):
        return DOUBLE
    raise _conflict(known, value, path)


def arrow_type(shape: Shape) -> pa.DataType:
    """The Arrow type of a shape; what never held a value is text."""
    if isinstance(shape, dict):
        return pa.struct([(key, arrow_type(part)) for key, part in shape.items()])
    if isinstance(shape, list):
        return pa.list_(arrow_type(shape[0]))
    return TEXT if shape is NOTHING else shape


def _conflict(known: Shape, value: object, path: str) -> ShapeError:
    found = widen(NOTHING, value, path)
    return ShapeError(
        f"{path!r} holds {_name(found)}, where earlier rows hold {_name(known)}"
    )


def _name(shape: Shape) -> str:
    if isinstance(shape, dict):
        return "an object"
    return "a list" if isinstance(shape, list) else _NAMES[shape]
