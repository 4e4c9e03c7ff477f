"""What typed values read like in templates and keys."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.table import as_text

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
        (pa.float64(), [1 / 3, 123456789.5, 1e20], ["0.333333333333", "123456789.5", "1e+20"]),
        (pa.float64(), [123456789012345.0, 2.0**53], ["123456789012345", "9007199254740992"]),
        (pa.float64(), [float("nan"), None, float("-inf")], [None, None, "-inf"]),
        (pa.float32(), [0.6, 3.0, 16777216.0, float("nan")], ["0.6", "3", "16777216", None]),
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
    assert as_text(pa.chunked_array([column, column[:1]])).to_pylist() == texts + texts[:1]
    assert as_text(column[1:]).to_pylist() == texts[1:]
    assert as_text(column[:0]).to_pylist() == []


def test_extension_types_read_like_what_stores_them() -> None:
    """G16."""
    ids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes(range(16)), None], pa.binary(16))
    )
    assert as_text(ids).to_pylist() == ["000102030405060708090a0b0c0d0e0f", None]


def test_a_column_of_no_chunks_is_a_text_column() -> None:
    assert as_text(pa.chunked_array([], pa.int64())) == pa.chunked_array([], pa.string())


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_a_whole_number_reads_the_same_as_an_integer_and_as_a_float(numbers: list[int]) -> None:
    """G10: ids that another tool made floats stay recognisable, and two of them never become one."""
    expected = [str(number) for number in numbers]
    assert as_text(pa.array(numbers, pa.int64())).to_pylist() == expected
    assert (
        as_text(pa.array([float(number) for number in numbers], pa.float64())).to_pylist()
        == expected
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_that_number_to_twelve_digits(number: float) -> None:
    (text,) = as_text(pa.array([number])).to_pylist()
    assert float(text) == pytest.approx(number, rel=1e-11, abs=0)
    assert not text.endswith(".0")
