"""Which rows a condition holds for: a checked tree over Arrow columns, all rows at once.

Every comparison gives true or false, never null; so `and`, `or` and `not` mean what they say.
"""

import ast
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_text import as_text, in_nfc
from pixmill.arrow_types import doubles
from pixmill.conditions.parser import is_none
from pixmill.text import normalized

Operand: TypeAlias = Any
"""An Arrow array with a value a row, or an Arrow scalar for all rows."""
Columns: TypeAlias = Mapping[str, Operand]

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Operand, Operand], Operand]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_TEXT_TESTS: Mapping[str, Callable[[Operand, str], Operand]] = {
    "contains": pc.match_substring,
    "startswith": pc.starts_with,
    "endswith": pc.ends_with,
    "matches": pc.match_substring_regex,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Operand, Operand], Operand]] = {
    ast.Add: pc.add_checked,
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
    ast.Div: lambda left, right: pc.divide(_double(left), _double(_not_zero(right))),
    ast.Mod: lambda left, right: _modulo(left, _not_zero(right)),
}


def mask(
    tree: ast.expr, columns: Mapping[str, Any], count: int
) -> npt.NDArray[np.bool_]:
    """Return whether `tree` holds, for each of `count` rows; ValueError where values can't be compared."""
    used = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in columns
    }
    try:
        holds = _truth(tree, {name: _operand(columns[name]) for name in used})
    except pa.ArrowException as error:
        raise ValueError(f"can't be calculated: {error}") from None
    if isinstance(holds, pa.Scalar):
        return np.full(count, holds.as_py(), dtype=np.bool_)
    return np.asarray(holds.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _operand(value: Any) -> Operand:
    """Return a column or plain value as truth values, numbers, NFC text, a list, or nothing but nulls."""
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        return _plain(value)
    column = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_floating(kind):
        numbers = doubles(column)
        return pc.if_else(pc.is_nan(numbers), None, numbers)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_integer(kind):
        return _whole(column)
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_list(kind):
        return column
    return in_nfc(as_text(column))


def _whole(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # 64 bits without a sign
        return _double(column)


def _plain(value: Any) -> Operand:
    try:
        return _operand(pa.array([value]))[0]
    except OverflowError:  # a whole number beyond 64 bits
        return pa.scalar(float(value))


def _truth(node: ast.expr, columns: Columns) -> Operand:
    """Return truth values without nulls."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = pc.and_ if isinstance(op, ast.And) else pc.or_
            return reduce(join, (_truth(part, columns) for part in parts))
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return pc.invert(_truth(part, columns))
        case ast.Compare(left=first, ops=ops, comparators=rest):
            links = zip([first, *rest], ops, rest, strict=False)
            return reduce(
                pc.and_, (_link(left, op, right, columns) for left, op, right in links)
            )
        case ast.Call(
            func=ast.Name(id=name), args=[subject, ast.Constant(value=str() as text)]
        ):
            return _known(
                _TEXT_TESTS[name](_text(_value(subject, columns)), normalized(text))
            )
    found = _value(node, columns)
    if not (pa.types.is_boolean(found.type) or pa.types.is_null(found.type)):
        raise ValueError(
            f"{ast.unparse(node)} is neither true nor false; compare it with something"
        )
    return _known(found.cast(pa.bool_()))


def _known(truths: Operand) -> Operand:
    return pc.fill_null(truths, False)


def _value(node: ast.expr, columns: Columns) -> Operand:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=value):
            return pa.scalar(normalized(value) if isinstance(value, str) else value)
        case ast.BinOp(left=left, op=op, right=right):
            numbers = _same_type(
                _number(_value(left, columns)), _number(_value(right, columns))
            )
            return _ARITHMETIC[type(op)](*numbers)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return pc.negate_checked(_number(_value(part, columns)))
        case ast.UnaryOp(op=ast.UAdd(), operand=part):
            return _number(_value(part, columns))
        case ast.Call(func=ast.Name(id="len"), args=[subject]):
            return _length(_value(subject, columns))
        case ast.Call(func=ast.Name(id="lower"), args=[subject]):
            return pc.utf8_lower(_text(_value(subject, columns)))
    return _truth(node, columns)


class _Operand(NamedTuple):
    """One side of a comparison: what the user wrote, and its value."""

    node: ast.expr
    value: Operand


def _link(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Columns) -> Operand:
    """Return one link of a chain of comparisons: `left op right`."""
    side = _Operand(left, _value(left, columns))
    if isinstance(right, ast.List | ast.Tuple):
        return _membership(
            side, op, [_Operand(item, _value(item, columns)) for item in right.elts]
        )
    return _compared(side, op, _Operand(right, _value(right, columns)))


def _membership(left: _Operand, op: ast.cmpop, items: list[_Operand]) -> Operand:
    numeric = any(_is_number(item.value.type) for item in items)
    spelled = (
        left._replace(value=_number(left.value)) if numeric else left
    )  # once, not for every item
    sides = [(spelled if _is_number(item.value.type) else left, item) for item in items]
    if isinstance(op, ast.In):
        return reduce(pc.or_, (_compared(side, ast.Eq(), item) for side, item in sides))
    return reduce(pc.and_, (_compared(side, ast.NotEq(), item) for side, item in sides))


def _compared(left: _Operand, op: ast.cmpop, right: _Operand) -> Operand:
    if is_none(left.node) or is_none(right.node):
        tested = (right if is_none(left.node) else left).value
        return (
            pc.is_null(tested)
            if isinstance(op, ast.Eq | ast.Is)
            else pc.is_valid(tested)
        )
    return _known(_COMPARISONS[type(op)](*_alike(left, right)))


def _alike(left: _Operand, right: _Operand) -> tuple[Operand, Operand]:
    """Return two values of one kind: the number or truth value that a text spells, where the other side is one."""
    kinds = (left.value.type, right.value.type)
    if any(map(pa.types.is_null, kinds)):
        return pa.scalar(None, pa.bool_()), pa.scalar(None, pa.bool_())
    if any(map(_is_number, kinds)):
        return _same_type(
            _converted(left, _number, right), _converted(right, _number, left)
        )
    if any(map(pa.types.is_boolean, kinds)):
        return _converted(left, _spelled_truth, right), _converted(
            right, _spelled_truth, left
        )
    return _text(left.value), _text(right.value)


def _converted(
    side: _Operand, convert: Callable[[Operand], Operand], other: _Operand
) -> Operand:
    converted = convert(side.value)
    if isinstance(side.node, ast.Constant) and not converted.is_valid:
        raise ValueError(
            f"{ast.unparse(other.node)} is not text, and can't be compared with {side.node.value!r}"
        )
    return converted


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in kinds)


def _length(value: Operand) -> Operand:
    return (
        pc.list_value_length(value)
        if _is_list(value.type)
        else pc.utf8_length(_text(value))
    )


def _text(value: Operand) -> Operand:
    if pa.types.is_string(value.type):
        return value
    if isinstance(value, pa.Scalar):
        return as_text(pa.array([value.as_py()], value.type))[0]
    return as_text(value)


def _number(value: Operand) -> Operand:
    """Return numbers; of texts those that they spell, of truth values 1 and 0."""
    if _is_number(value.type):
        return value
    if pa.types.is_boolean(value.type) or pa.types.is_null(value.type):
        return value.cast(pa.int64())
    texts = pc.replace_substring_regex(
        pc.utf8_trim_whitespace(_text(value)), r"^\+", ""
    )
    whole = pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")
    number = pc.match_substring_regex(
        texts, r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
    )
    exact = not pc.any(
        _known(pc.xor(number, whole))
    ).as_py()  # ids lose digits as floats
    return pc.if_else(number, texts, None).cast(pa.int64() if exact else pa.float64())


def _spelled_truth(value: Operand) -> Operand:
    if pa.types.is_boolean(value.type):
        return value
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(_text(value)))
    spelled = pc.or_(pc.equal(texts, "true"), pc.equal(texts, "false"))
    return pc.if_else(spelled, pc.equal(texts, "true"), None)


def _double(value: Operand) -> Operand:
    return pc.cast(
        value, pa.float64(), safe=False
    )  # the safe cast refuses whole numbers beyond 2**53


def _same_type(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    return (left, right) if left.type == right.type else (_double(left), _double(right))


def _not_zero(value: Operand) -> Operand:
    return pc.if_else(pc.equal(value, 0), None, value)


def _modulo(left: Operand, right: Operand) -> Operand:
    """Return the remainder with the sign of `right`, as Python has it."""
    quotient = pc.trunc(pc.divide(left, right))
    rest = pc.subtract(left, pc.multiply(quotient, right))
    differs = pc.and_(
        pc.not_equal(rest, 0), pc.xor(pc.less(rest, 0), pc.less(right, 0))
    )
    return pc.if_else(differs, pc.add(rest, right), rest)
