"""Types of other writers become plain ones at every depth, and no value changes on the way."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.arrow_types import common_type, conform, doubles, plain_type

LONG = "long enough to stand outside of its view"

LEAVES: list[tuple[pa.DataType, pa.DataType, list[object]]] = [
    (pa.string_view(), pa.string(), ["a", "", LONG]),
    (pa.binary_view(), pa.binary(), [b"a", b"", LONG.encode()]),
    (pa.large_string(), pa.large_string(), ["a", "", LONG]),
    (pa.large_binary(), pa.large_binary(), [b"a", b""]),
    (pa.string(), pa.string(), ["a", "é"]),
    (pa.int8(), pa.int8(), [1, -3]),
    (pa.uint64(), pa.uint64(), [1, 2**64 - 1]),
    (pa.float16(), pa.float16(), [0.5]),
    (pa.float64(), pa.float64(), [0.1, float("inf")]),
    (pa.bool_(), pa.bool_(), [True, False]),
    (pa.decimal128(10, 2), pa.decimal128(10, 2), [Decimal("1.50")]),
    (pa.date32(), pa.date32(), [date(2026, 1, 2)]),
    (pa.time64("us"), pa.time64("us"), [time(1, 2, 3)]),
    (pa.duration("us"), pa.duration("us"), [timedelta(seconds=1)]),
    (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), []),
    (pa.timestamp("us"), pa.timestamp("us"), [datetime(9999, 12, 31)]),
    (pa.null(), pa.null(), []),
]
"""A type, its plain form, and values of it."""


@st.composite
def typed_values(
    draw: st.DrawFn, depth: int = 2
) -> tuple[pa.DataType, pa.DataType, st.SearchStrategy[object]]:
    """A type, its plain form and how to draw its values, nested at most `depth` times."""
    form = (
        draw(st.sampled_from(["leaf", "list", "struct", "map", "pair"]))
        if depth
        else "leaf"
    )
    if form == "leaf":
        kind, plain, values = draw(st.sampled_from(LEAVES))
        return kind, plain, st.none() | st.sampled_from(values) if values else st.none()
    kind, plain, cells = draw(typed_values(depth - 1))
    if form == "list":
        make, to = draw(
            st.sampled_from(
                [
                    (pa.list_, pa.list_),
                    (pa.large_list, pa.large_list),
                    (pa.list_view, pa.list_),
                    (pa.large_list_view, pa.large_list),
                ]
            )
        )
        return make(kind), to(plain), st.none() | st.lists(cells, max_size=3)
    if form == "pair":
        pairs = st.lists(cells, min_size=2, max_size=2)
        return pa.list_(kind, 2), pa.list_(plain, 2), st.none() | pairs
    if form == "map":
        entries = st.lists(st.tuples(st.sampled_from(["k", LONG]), cells), max_size=2)
        return (
            pa.map_(pa.string_view(), kind),
            pa.map_(pa.string(), plain),
            st.none() | entries,
        )
    fields = st.none() | st.fixed_dictionaries(
        {"a": cells, "b": st.none() | st.just(LONG)}
    )
    return (
        pa.struct([("a", kind), ("b", pa.string_view())]),
        pa.struct([("a", plain), ("b", pa.string())]),
        fields,
    )


@given(data=st.data(), cut=st.integers(0, 3))
def test_any_type_becomes_its_plain_form_and_keeps_its_values(
    data: st.DataObject, cut: int
) -> None:
    kind, plain, cells = data.draw(typed_values())
    array = pa.array(data.draw(st.lists(cells, max_size=6)), kind).slice(cut)
    assert plain_type(kind) == plain
    found = conform(array, plain)
    found.validate(full=True)
    assert found.type == plain
    assert str(found.to_pylist()) == str(array.to_pylist())


@pytest.mark.parametrize(
    "array",
    [
        pa.RunEndEncodedArray.from_arrays(
            pa.array([2, 3], pa.int32()), pa.array(["a", "b"])
        ),
        pa.DictionaryArray.from_arrays(
            [0, 0, 1], pa.array(["a", "b"], pa.string_view())
        ),
        pa.DictionaryArray.from_arrays(
            [0, 0, 1], pa.array(["a", "b"], pa.large_string())
        ),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(["a", "a", "b"])),
    ],
    ids=["run ends", "a dictionary of views", "a large dictionary", "an extension"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_encodings_of_text_are_read_as_text(array: pa.Array, nested: bool) -> None:
    given = pa.ListArray.from_arrays([0, 1, 3], array) if nested else array
    found = conform(given, plain_type(given.type))
    found.validate(full=True)
    assert found.to_pylist() == ([["a"], ["a", "b"]] if nested else ["a", "a", "b"])
    if nested:
        assert found.type.value_type in (pa.string(), pa.large_string())


def test_views_that_overlap_and_stand_in_any_order_are_read_right() -> None:
    items = pa.array(["a", "b", "c"], pa.string_view())
    views = pa.ListViewArray.from_arrays([1, 0, 0], [2, 3, 0], items)
    found = conform(views, pa.list_(pa.string()))
    assert found.to_pylist() == [["b", "c"], ["a", "b", "c"], []]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_narrow_floats_become_the_doubles_that_read_the_same(kind: pa.DataType) -> None:
    values = [0.6, 3.0, -0.001, None, float("inf")]
    array = pa.array(values, kind)
    assert doubles(array).to_pylist() == values
    assert doubles(pa.chunked_array([array, array])).to_pylist() == values * 2
    assert conform(array, pa.float64()).to_pylist() == values


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.int64(), pa.uint64(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float16(), pa.float32(), pa.float64()),
        (pa.null(), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()),
         pa.large_string()),
        (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Shanghai"), pa.timestamp("us", "UTC")),
        (pa.decimal128(5, 2), pa.decimal128(9, 4), pa.decimal128(9, 4)),
        (pa.time32("ms"), pa.time64("us"), pa.time64("us")),
        (pa.list_(pa.null()), pa.list_(pa.float32()), pa.list_(pa.float64())),
        (pa.list_(pa.int8()), pa.large_list(pa.int16()), pa.large_list(pa.int16())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int16()), ("b", pa.string())]),
         pa.struct([("a", pa.int16()), ("b", pa.string())])),
    ],
    ids=str,
)  # fmt: skip
def test_types_that_differ_have_one_that_holds_both(
    first: pa.DataType, second: pa.DataType, common: pa.DataType
) -> None:
    assert common_type(first, second) == common
    assert common_type(second, first) == common


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.int64()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.string()), pa.string()),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())])),
    ],
    ids=str,
)
def test_types_that_mean_different_things_have_none(
    first: pa.DataType, second: pa.DataType
) -> None:
    with pytest.raises(pa.ArrowException):
        common_type(first, second)
