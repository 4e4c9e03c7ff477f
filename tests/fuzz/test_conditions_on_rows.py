"""Whatever condition meets whatever column: a truth value for each row, or a ValueError that says why not."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pixmill.conditions import parse
from tests.fuzz.amount import examples

ROWS = 3
NAMES = ["x", "y", "`a b`"]
LITERALS = [
    "0",
    "-1",
    "2.5",
    "1e308",
    '"a"',
    '"12"',
    '""',
    "true",
    "None",
    "[1, 2]",
    '["a"]',
    "9" * 30,
    "0.1",
    '"nan"',
    '"\ud83d\ude00"',
]
OPERATORS = [
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!=",
    "in",
    "not in",
    "+",
    "-",
    "*",
    "/",
    "%",
    "and",
    "or",
]
KINDS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=4)
    | st.sampled_from(["12", "1e999", "nan", " 3 ", "0x1", "١"]),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.integers(-(2**60), 2**60),
    pa.date32(): st.integers(-700_000, 2_900_000),
    pa.decimal128(12, 2): st.decimals(-1000, 1000, places=2),
    pa.list_(pa.int64()): st.lists(st.integers(-9, 9), max_size=2),
    pa.binary(): st.binary(max_size=3),
    pa.null(): st.none(),
}


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """An Arrow column of any type, or one plain value for all rows."""
    if draw(st.integers(0, 3)) == 0:
        return draw(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=4)
        )
    kind = draw(st.sampled_from(list(KINDS)))
    values = draw(st.lists(st.none() | KINDS[kind], min_size=ROWS, max_size=ROWS))
    column = pa.array(values, kind)
    return (
        column.dictionary_encode()
        if draw(st.booleans()) and kind == pa.string()
        else column
    )


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from(OPERATORS), inner)
    one = st.tuples(st.sampled_from(["not", "-", "len", "lower"]), inner)
    texts = st.sampled_from(["contains", "startswith", "endswith", "matches"])
    return (
        two.map(lambda parts: f"({' '.join(parts)})")
        | one.map(lambda parts: f"{parts[0]} ({parts[1]})")
        | st.tuples(texts, inner, st.sampled_from(['"a"', '"("', '"(a+)+$"', "x"])).map(
            lambda of: f"{of[0]}({of[1]}, {of[2]})"
        )
        | inner.map(lambda part: f"{part} is None")
    )


CONDITIONS = st.recursive(st.sampled_from([*NAMES, *LITERALS]), _larger, max_leaves=5)


@examples(120)
@given(
    text=CONDITIONS,
    of=st.fixed_dictionaries(dict.fromkeys(["x", "y", "a b"], columns())),
)
def test_any_condition_holds_or_not_for_every_row_or_says_why(
    text: str, of: dict[str, Any]
) -> None:
    try:
        condition = parse(text)
        holds = condition.mask({name: of[name] for name in condition.names}, ROWS)
    except ValueError as error:
        assert str(error)
    else:
        assert (holds.dtype, holds.shape) == (bool, (ROWS,))
