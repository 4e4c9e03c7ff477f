"""What typed values read like in templates and keys."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.tables import as_json, as_text
from tests.pixmill.datasets.column_types import of_integers

UTC = dt.UTC


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        (pa.string(), ["007", "", " x ", None], ["007", "", " x ", None]),
        (pa.large_string(), ["é", None], ["é", None]),
        (pa.string_view(), ["é", None], ["é", None]),
        (pa.int8(), [7, -7, None], ["7", "-7", None]),
        (pa.uint64(), [2**64 - 1], ["18446744073709551615"]),
        (pa.bool_(), [True, False, None], ["true", "false", None]),
        (pa.null(), [None, None], [None, None]),
        (
            pa.float64(),
            [3.0, 0.6, 0.6000000000000001, -0.0, 1e-5],
            ["3", "0.6", "0.6", "0", "1e-05"],
        ),
        (
            pa.float64(),
            [1 / 3, 123456789.5, 1e20],
            ["0.333333333333", "123456789.5", "1e+20"],
        ),
        (
            pa.float64(),
            [123456789012345.0, 2.0**53],
            ["123456789012345", "9007199254740992"],
        ),
        (pa.float64(), [float("nan"), None, float("-inf")], [None, None, "-inf"]),
        (
            pa.float32(),
            [0.6, 3.0, 16777216.0, float("nan")],
            ["0.6", "3", "16777216", None],
        ),
        (
            pa.decimal128(20, 8),
            [Decimal("1.5"), Decimal("0.00000001")],
            ["1.50000000", "0.00000001"],
        ),
        (pa.decimal128(5, -3), [Decimal("1E+3"), None], ["1000", None]),
        (pa.date32(), [dt.date(2026, 1, 2), None], ["2026-01-02", None]),
        (
            pa.time64("us"),
            [dt.time(1, 2, 3), dt.time(1, 2, 3, 500_000)],
            ["01:02:03", "01:02:03.5"],
        ),
        (
            pa.timestamp("s"),
            [dt.datetime(2026, 1, 2, 3, 4, 0), None],
            ["2026-01-02T03:04:00", None],
        ),
        (
            pa.timestamp("ns"),
            [1, -1],
            ["1970-01-01T00:00:00.000000001", "1969-12-31T23:59:59.999999999"],
        ),
        (
            pa.timestamp("us", "Asia/Shanghai"),
            [dt.datetime(2026, 1, 2, tzinfo=UTC)],
            ["2026-01-02T00:00:00Z"],
        ),
        (pa.timestamp("ms", "no/such zone"), [1_500], ["1970-01-01T00:00:01.5Z"]),
        (
            pa.duration("us"),
            [dt.timedelta(days=1, milliseconds=1), None],
            ["1 day, 0:00:00.001000", None],
        ),
        (
            pa.duration("ns"),
            [-1, 90_000_000_000],
            ["-1 day, 23:59:59.999999999", "0:01:30"],
        ),
        (pa.duration("s"), [2**63 - 1], ["106751991167300 days, 15:30:07"]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"], ["a", None, "a"]),
        (pa.binary(), [b"a\xc3\xa9", b"\xff", None], ["aé", None, None]),
        (pa.binary(2), [b"\x01\xff", None], ["01ff", None]),
        (
            pa.list_(pa.float64()),
            [[1.0, 0.1 + 0.2, None, float("nan")], [], None],
            ["[1,0.3,null,null]", "[]", None],
        ),
        (pa.list_(pa.string(), 2), [["é", 'a"']], ['["é","a\\""]']),
        (pa.map_(pa.string(), pa.int64()), [[("k", 1)]], ['[["k",1]]']),
        (
            pa.struct(
                [
                    ("a", pa.decimal128(4, 2)),
                    ("b", pa.date32()),
                    ("c", pa.bool_()),
                    ("d", pa.binary()),
                ]
            ),
            [{"a": Decimal("0.10"), "b": dt.date(2026, 1, 2), "c": True, "d": b"x"}],
            ['{"a":"0.10","b":"2026-01-02","c":true,"d":"x"}'],
        ),
    ],
)
def test_values_of_every_type_have_their_text(
    kind: pa.DataType, values: list[object], texts: list[str | None]
) -> None:
    """G10, G16."""
    column = pa.array(values, kind)
    assert as_text(column).to_pylist() == texts
    assert as_text(column).type == pa.string()
    assert (
        as_text(pa.chunked_array([column, column[:1]])).to_pylist() == texts + texts[:1]
    )
    assert as_text(column[1:]).to_pylist() == texts[1:]
    assert as_text(column[:0]).to_pylist() == []


@pytest.mark.parametrize(
    ("kind", "ticks", "text"),
    [
        (pa.date32(), 2_932_897, "10000-01-01"),
        (pa.date32(), 2**31 - 1, "5881580-07-11"),
        (pa.date64(), 253_402_300_800_000, "10000-01-01"),
        (pa.time32("s"), 86_400, "24:00:00"),
        (pa.time64("ns"), 1, "00:00:00.000000001"),
        (pa.timestamp("s"), -(2**63), "-292277022657-01-27T08:29:52"),
        (pa.timestamp("ms"), -(2**63), "-292275055-05-16T16:47:04.192"),
        (pa.timestamp("us"), 253_402_318_799_000_000, "10000-01-01T04:59:59"),
        (
            pa.timestamp("us", "no/such zone"),
            2**63 - 1,
            "294247-01-10T04:00:54.775807Z",
        ),
        (pa.timestamp("ns", "America/New_York"), 1, "1970-01-01T00:00:00.000000001Z"),
        (pa.duration("ns"), 123_456_789, "0:00:00.123456789"),
        (pa.duration("s"), -(2**63), "-106751991167301 days, 8:29:52"),
    ],
)
def test_moments_that_python_does_not_know_have_their_text_at_any_depth(
    kind: pa.DataType, ticks: int, text: str
) -> None:
    """G26: the same as a value by itself, in lists, in objects and among few distinct ones."""
    column = of_integers([ticks, None], kind)
    assert as_text(column).to_pylist() == as_json(column) == [text, None]
    nested = pa.StructArray.from_arrays(
        [column, pa.ListArray.from_arrays([0, 1, 2], column)], names=["at", "all"]
    )
    objects = [{"at": text, "all": [text]}, {"at": None, "all": [None]}]
    assert as_json(nested) == as_json(pa.chunked_array([nested])) == objects
    assert [json.loads(of) for of in as_text(nested).to_pylist()] == objects
    assert as_text(column.dictionary_encode()).to_pylist() == [text, None]


def test_json_holds_numbers_as_they_are_but_for_what_it_has_no_word_for() -> None:
    """G28."""
    column = pa.array([0.1 + 0.2, float("nan"), float("-inf"), 3.0, None])
    assert as_json(column) == [0.1 + 0.2, None, None, 3.0, None]
    assert as_json(pa.array([0.6, None], pa.float32())) == [0.6, None]
    assert as_json(pa.array([2**64 - 1], pa.uint64())) == [2**64 - 1]
    assert as_json(pa.array([Decimal("0.10")], pa.decimal256(60, 2))) == ["0.10"]


def test_bytes_have_a_text_that_can_be_read_back_where_they_are_encoded() -> None:
    """G26."""
    column = pa.array([b"\x89PNG", b"text", None])
    assert as_text(column, encoded=True).to_pylist() == ["iVBORw==", "dGV4dA==", None]
    assert as_json(pa.array([[b"\x89PNG"], None])) == [["iVBORw=="], None]


def test_an_object_with_two_keys_of_one_name_has_no_text() -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    for read in (as_text, as_json):
        with pytest.raises(ValueError, match="named 'a'"):
            read(twice)


def test_extension_types_read_like_what_stores_them() -> None:
    """G16."""
    ids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes(range(16)), None], pa.binary(16))
    )
    assert as_text(ids).to_pylist() == ["000102030405060708090a0b0c0d0e0f", None]


def test_a_column_of_no_chunks_is_a_text_column() -> None:
    assert as_text(pa.chunked_array([], pa.int64())) == pa.chunked_array(
        [], pa.string()
    )


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_a_whole_number_reads_the_same_as_an_integer_and_as_a_float(
    numbers: list[int],
) -> None:
    """G10: ids that another tool made floats stay recognisable, and two of them never become one."""
    expected = [str(number) for number in numbers]
    assert as_text(pa.array(numbers, pa.int64())).to_pylist() == expected
    assert (
        as_text(
            pa.array([float(number) for number in numbers], pa.float64())
        ).to_pylist()
        == expected
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_that_number_to_twelve_digits(number: float) -> None:
    (text,) = as_text(pa.array([number])).to_pylist()
    assert float(text) == pytest.approx(number, rel=1e-11, abs=0)
    assert not text.endswith(".0")
