"""Says which rows a condition holds for: a checked tree over Arrow columns, all rows at once.

Every comparison gives true or false, never null; so `and`, `or` and `not` mean what they say.
"""

import ast
import re
from ast import (
    Add,
    And,
    BinOp,
    BoolOp,
    Call,
    Compare,
    Constant,
    Div,
    Eq,
    Gt,
    GtE,
    In,
    Is,
    List,
    Lt,
    LtE,
    Mult,
    Name,
    Not,
    NotEq,
    Sub,
    Tuple,
    UAdd,
    UnaryOp,
    USub,
)
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from pixmill.arrow_text import as_text, in_nfc
from pixmill.arrow_types import doubles
from pixmill.conditions.parser import is_none
from pixmill.text import to_nfc

Operand: TypeAlias = Any
"""An Arrow array with one value for each row, or an Arrow scalar for all rows."""

Columns: TypeAlias = Mapping[str, Operand]
"""The columns and axes that a condition reads, by name, as `_to_operand` returns them."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Operand, Operand], Operand]] = {
    Eq: pc.equal,
    NotEq: pc.not_equal,
    Lt: pc.less,
    LtE: pc.less_equal,
    Gt: pc.greater,
    GtE: pc.greater_equal,
}

_TEXT_TESTS: Mapping[str, Callable[[Operand, str], Operand]] = {
    "contains": pc.match_substring,
    "startswith": pc.starts_with,
    "endswith": pc.ends_with,
    "matches": pc.match_substring_regex,
}

# Longer whole numbers may not fit into 64 bits, and are read as floats.
_WHOLE_NUMBER = r"^-?[0-9]{1,18}$"
_NUMBER_IN_QUOTES = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"


def mask(
    tree: ast.expr,
    columns: Mapping[str, Any],
    count: int,
) -> npt.NDArray[np.bool_]:
    """Return for each of `count` rows whether `tree` holds: a Boolean array (count,).

    Raises ValueError where values can't be compared or calculated.
    """
    try:
        holds = _truth(tree, _operands(tree, columns))
    except pa.ArrowException as error:
        raise ValueError(f"can't be calculated: {error}") from None
    if isinstance(holds, pa.Scalar):
        # It reads no column: the same for all rows.
        return np.full(count, holds.as_py(), dtype=np.bool_)
    return np.asarray(holds.to_numpy(zero_copy_only=False), dtype=np.bool_)


def numbers(
    tree: ast.expr,
    columns: Mapping[str, Any],
    count: int,
) -> npt.NDArray[np.float64]:
    """Return the number that `tree` has for each of `count` rows, NaN where it has none: (count,).

    Raises ValueError where values can't be calculated with.
    """
    try:
        found = _to_number(_value(tree, _operands(tree, columns)))
    except pa.ArrowException as error:
        raise ValueError(f"can't be calculated: {error}") from None
    if isinstance(found, pa.Scalar):
        found = pa.array([found.as_py()] * count, found.type)
    filled = pc.fill_null(_to_double(found), float("nan"))
    return np.asarray(filled, dtype=np.float64)


def _operands(tree: ast.expr, columns: Mapping[str, Any]) -> Columns:
    return {
        node.id: _to_operand(columns[node.id])
        for node in ast.walk(tree)
        if isinstance(node, Name) and node.id in columns
    }


def _to_operand(value: Any) -> Operand:
    """Return a column or plain value as one of the few types that the rest knows.

    These are truth values, 64-bit numbers, NFC text, lists, and nothing but nulls.
    """
    if isinstance(value, pa.ChunkedArray):
        return _to_operand(value.combine_chunks())
    if not isinstance(value, pa.Array):
        try:
            return _to_operand(pa.array([value]))[0]
        except OverflowError:
            # A whole number beyond 64 bits.
            return pa.scalar(float(value))
    column = value
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if types.is_floating(kind):
        numbers = doubles(column)
        # NaN is a missing value here, as it is in pandas.
        return pc.if_else(pc.is_nan(numbers), None, numbers)
    if types.is_decimal(kind):
        return column.cast(pa.float64())
    if types.is_integer(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            # 64 bits without a sign, and a value that needs them all.
            return _to_double(column)
    if types.is_boolean(kind) or types.is_null(kind) or _is_list(kind):
        return column
    return in_nfc(as_text(column))


def _truth(node: ast.expr, columns: Columns) -> Operand:
    """Return what `node` says of each row: true or false, never null."""
    match node:
        case BoolOp(op=op, values=parts):
            join = pc.and_ if isinstance(op, And) else pc.or_
            return reduce(join, (_truth(part, columns) for part in parts))
        case UnaryOp(op=Not(), operand=part):
            return pc.invert(_truth(part, columns))
        case Compare():
            return _compare_chain(node, columns)
        case Call(
            func=Name(id=name),
            args=[subject, Constant(value=str() as text)],
        ):
            subjects = _to_text(_value(subject, columns))
            test = _TEXT_TESTS[name]
            return _null_is_false(test(subjects, to_nfc(text)))
    found = _value(node, columns)
    if not (types.is_boolean(found.type) or types.is_null(found.type)):
        raise ValueError(
            f"{ast.unparse(node)} is neither true nor false; compare it with something"
        )
    return _null_is_false(found.cast(pa.bool_()))


def _null_is_false(truths: Operand) -> Operand:
    return pc.fill_null(truths, False)


def _value(node: ast.expr, columns: Columns) -> Operand:
    """Return the values of `node`, null where one that it needs is missing."""
    match node:
        case Name(id=name):
            return columns[name]
        case Constant(value=str() as text):
            return pa.scalar(to_nfc(text))
        case Constant(value=value):
            return pa.scalar(value)
        case BinOp(left=left, op=op, right=right):
            left_number = _to_number(_value(left, columns))
            right_number = _to_number(_value(right, columns))
            return _calculate(op, *_to_same_type(left_number, right_number))
        case UnaryOp(op=USub(), operand=part):
            return pc.negate_checked(_to_number(_value(part, columns)))
        case UnaryOp(op=UAdd(), operand=part):
            return _to_number(_value(part, columns))
        case Call(func=Name(id="len"), args=[subject]):
            value = _value(subject, columns)
            if _is_list(value.type):
                return pc.list_value_length(value)
            return pc.utf8_length(_to_text(value))
        case Call(func=Name(id="lower"), args=[subject]):
            return pc.utf8_lower(_to_text(_value(subject, columns)))
    return _truth(node, columns)


def _calculate(
    op: ast.operator,
    left: Operand,
    right: Operand,
) -> Operand:
    """Return `left op right` of two operands of one numeric type."""
    match op:
        case Add():
            return pc.add_checked(left, right)
        case Sub():
            return pc.subtract_checked(left, right)
        case Mult():
            return pc.multiply_checked(left, right)
    # A division by zero has no result, instead of an error or an infinity.
    divisor = pc.if_else(pc.equal(right, 0), None, right)
    if isinstance(op, Div):
        return pc.divide(_to_double(left), _to_double(divisor))
    quotient = pc.trunc(pc.divide(left, divisor))
    # Arrow has no remainder. This one has the sign of `left`, but Python's that of `right`:
    # -1 % 3 is 2.
    rest = pc.subtract(left, pc.multiply(quotient, divisor))
    signs_differ = pc.xor(pc.less(rest, 0), pc.less(divisor, 0))
    has_wrong_sign = pc.and_(pc.not_equal(rest, 0), signs_differ)
    return pc.if_else(has_wrong_sign, pc.add(rest, divisor), rest)


class _Side(NamedTuple):
    """One side of a comparison."""

    node: ast.expr
    """What the user wrote."""

    value: Operand
    """Its values."""


def _compare_chain(node: Compare, columns: Columns) -> Operand:
    """Return whether all links of a chain such as `2 < scale <= 4` hold."""
    left = node.left
    links: list[Operand] = []
    for op, right in zip(node.ops, node.comparators, strict=True):
        side = _Side(left, _value(left, columns))
        if isinstance(right, List | Tuple):
            items = [_Side(item, _value(item, columns)) for item in right.elts]
            links.append(_find_in_list(side, op, items))
        else:
            links.append(_compare(side, op, _Side(right, _value(right, columns))))
        left = right
    return reduce(pc.and_, links)


def _find_in_list(
    left: _Side,
    op: ast.cmpop,
    items: list[_Side],
) -> Operand:
    """Return `left in items` or `left not in items`."""
    as_number = left
    if any(_is_number(item.value.type) for item in items):
        # Here once, instead of in the comparison with every item: lists may be long.
        as_number = left._replace(value=_to_number(left.value))
    if isinstance(op, In):
        compare_with: ast.cmpop = Eq()
        join = pc.or_
    else:
        compare_with = NotEq()
        join = pc.and_
    found = (
        _compare(
            as_number if _is_number(item.value.type) else left,
            compare_with,
            item,
        )
        for item in items
    )
    return reduce(join, found)


def _compare(
    left: _Side,
    op: ast.cmpop,
    right: _Side,
) -> Operand:
    """Return `left op right`; false where a value is missing, unless None is asked for."""
    for side, other in ((left, right), (right, left)):
        if is_none(side.node):
            is_same = isinstance(op, Eq | Is)
            return pc.is_null(other.value) if is_same else pc.is_valid(other.value)
    values = _to_comparable(left, right)
    holds = _COMPARISONS[type(op)](*values)
    if isinstance(op, Lt | LtE | Gt | GtE) and types.is_string(values[0].type):
        _check_order_of_numbers(left, op, right, holds)
    return _null_is_false(holds)


def _check_order_of_numbers(
    left: _Side, op: ast.cmpop, right: _Side, holds: Operand
) -> None:
    """Raise ValueError where texts are ordered by one that spells a number, and `holds` is not what
    the numbers say: `Price > "20"`.

    Of texts "9" is greater than "20", and nobody who writes a number in quotes means that. Years
    and codes of one length are ordered as their numbers are.
    """
    for side, other in ((left, right), (right, left)):
        literal = side.node.value if isinstance(side.node, Constant) else None
        # `"0100"` is a code of four digits.
        if not isinstance(literal, str) or not re.fullmatch(_NUMBER_IN_QUOTES, literal):
            continue
        if isinstance(other.value, pa.Scalar):
            continue
        # Of dates and sizes, which are no numbers, the text is what is meant: `taken >= "2000"`.
        numbers = (_to_number(left.value), _to_number(right.value))
        by_number = _COMPARISONS[type(op)](*numbers)
        if not pc.any(pc.xor(by_number, holds)).as_py():
            continue
        number = ast.parse(literal, mode="eval").body
        sides = (number, other.node) if side is left else (other.node, number)
        meant = ast.unparse(Compare(sides[0], [op], [sides[1]]))
        raise ValueError(
            f"{literal!r} is compared with {ast.unparse(other.node)} as text, in which '9' "
            "is greater "
            f"than '20'; without quotes it is a number: {meant}"
        )


def _to_comparable(
    left: _Side,
    right: _Side,
) -> tuple[Operand, Operand]:
    """Return the values of both sides as one type.

    A text next to a number or a truth value counts as the one that it spells. All else
    that is not of one kind is compared as text.
    """
    kinds = (left.value.type, right.value.type)
    if any(map(types.is_null, kinds)):
        # Arrow compares no other type with null.
        nothing = pa.scalar(None, pa.bool_())
        return nothing, nothing
    if any(map(_is_number, kinds)):
        return _to_same_type(
            _convert(left, _to_number, right),
            _convert(right, _to_number, left),
        )
    if any(map(types.is_boolean, kinds)):
        return (
            _convert(left, _to_truth, right),
            _convert(right, _to_truth, left),
        )
    return _to_text(left.value), _to_text(right.value)


def _convert(
    side: _Side,
    convert: Callable[[Operand], Operand],
    other: _Side,
) -> Operand:
    """Return the values of `side` as those of `other` are.

    Raises ValueError for a literal that spells no such value: the comparison would be false
    for every row, and whoever wrote it meant something else.
    """
    converted = convert(side.value)
    if isinstance(side.node, Constant) and not converted.is_valid:
        raise ValueError(
            f"{ast.unparse(other.node)} is not text, "
            f"and can't be compared with {side.node.value!r}"
        )
    return converted


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _to_text(value: Operand) -> Operand:
    if types.is_string(value.type):
        return value
    if isinstance(value, pa.Scalar):
        return as_text(pa.array([value.as_py()], value.type))[0]
    return as_text(value)


def _to_number(value: Operand) -> Operand:
    """Return numbers; of texts those that they spell, of truth values 1 and 0."""
    if _is_number(value.type):
        return value
    if types.is_boolean(value.type) or types.is_null(value.type):
        return value.cast(pa.int64())
    trimmed = pc.utf8_trim_whitespace(_to_text(value))
    texts = pc.replace_substring_regex(trimmed, r"^\+", "")
    is_whole = pc.match_substring_regex(texts, _WHOLE_NUMBER)
    is_number = pc.match_substring_regex(texts, _NUMBER)
    has_fraction = pc.any(_null_is_false(pc.xor(is_number, is_whole))).as_py()
    # Not always floats: ids of more than 15 digits would lose the last ones.
    kind = pa.float64() if has_fraction else pa.int64()
    return pc.if_else(is_number, texts, None).cast(kind)


def _to_truth(value: Operand) -> Operand:
    """Return truth values; of texts those that they spell, whatever their case."""
    if types.is_boolean(value.type):
        return value
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(_to_text(value)))
    is_true = pc.equal(texts, "true")
    is_false = pc.equal(texts, "false")
    return pc.if_else(pc.or_(is_true, is_false), is_true, None)


def _to_double(value: Operand) -> Operand:
    # The safe cast refuses whole numbers beyond 2**53, which floats hold rounded.
    return pc.cast(value, pa.float64(), safe=False)


def _to_same_type(
    left: Operand,
    right: Operand,
) -> tuple[Operand, Operand]:
    if left.type == right.type:
        return left, right
    return _to_double(left), _to_double(right)
