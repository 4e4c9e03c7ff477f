"""Parquet: types survive, foreign metadata does not, and no file, however damaged, does worse than a TableError."""

import subprocess
import sys
import tempfile
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixmill.errors import TableError
from pixmill.tables import InputTable, open_table
from tests.pixmill.tables.reading import failure

LAION = Path("../shared/data/laion-1000.parquet")

TYPED = {
    "int": pa.array([1, None, -3], pa.int8()),
    "unsigned": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "float": pa.array([0.5, float("nan"), None]),
    "half": pa.array([0.5, None, 1.0], pa.float32()),
    "bool": pa.array([True, None, False]),
    "text": pa.array(["a", None, "é"]),
    "large": pa.array(["a", None, ""], pa.large_string()),
    "view": pa.array(
        ["a", None, "long enough to stand outside the view"], pa.string_view()
    ),
    "bytes": pa.array([b"\xff", None, b""]),
    "code": pa.array(["x", None, "x"], pa.dictionary(pa.int32(), pa.string())),
    "price": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
    "at": pa.array(
        [datetime(2026, 1, 2, 3, 4, 5, 6), None, None],
        pa.timestamp("us", "Asia/Shanghai"),
    ),
    "naive": pa.array([1, None, 2], pa.timestamp("ns")),
    "day": pa.array([date(2026, 1, 2), None, None]),
    "clock": pa.array([time(1, 2, 3), None, None]),
    "nothing": pa.nulls(3),
    "tags": pa.array([["a", None], None, []]),
    "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
    "nested": pa.array([{"a": 1, "b": [{"c": 0.5}]}, None, {"a": None, "b": None}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
}


def written(
    folder: Path, table: pa.Table, name: str = "t.parquet", **options: object
) -> InputTable:
    pq.write_table(table, folder / name, **options)
    return open_table(str(folder / name))


def whole(table: InputTable, size: int = 20_000) -> pa.Table:
    return pa.concat_tables(batch.rows for batch in table.batches(size))


def test_every_type_and_value_is_kept(tmp_path: Path) -> None:
    """G16."""
    typed = pa.table(TYPED)
    table = written(tmp_path, typed)
    plain = typed.schema.set(
        typed.schema.get_field_index("view"), pa.field("view", pa.string())
    )
    assert table.schema == plain
    found = whole(table)
    assert found.schema == plain
    same = typed.cast(plain)
    assert {name for name in TYPED if not found[name].equals(same[name])} == {
        "float"
    }  # NaN is not equal to itself
    assert str(found["float"].to_pylist()) == "[0.5, nan, None]"
    assert not next(table.batches()).problems


def test_foreign_metadata_is_dropped_on_every_level(tmp_path: Path) -> None:
    """G16."""
    marked = pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "7"})
    kinds = [
        pa.struct([marked]),
        pa.list_(marked),
        pa.map_(pa.string(), marked),
        pa.struct([pa.field("l", pa.list_(marked))]),
    ]
    fields = [
        pa.field(f"c{index}", kind, metadata={"note": "x"})
        for index, kind in enumerate(kinds)
    ]
    values = [[{"a": 1}], [[1]], [[("k", 1)]], [{"l": [1]}]]
    columns = [pa.array(value, kind) for value, kind in zip(values, kinds, strict=True)]
    table = written(
        tmp_path, pa.table(columns, schema=pa.schema(fields, metadata={"pandas": "{}"}))
    )
    for schema in (table.schema, whole(table).schema):
        shown = schema.to_string(show_field_metadata=True, show_schema_metadata=True)
        assert "metadata" not in shown
        assert "field_id" not in shown
    assert whole(table).to_pydict() == {
        f"c{index}": value for index, value in enumerate(values)
    }


def test_extension_types_become_what_stores_them(tmp_path: Path) -> None:
    """G16."""
    uuids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))
    )
    nested = pa.StructArray.from_arrays([uuids], ["u"])
    table = written(tmp_path, pa.table({"u": uuids, "n": nested}))
    assert table.schema.types == [pa.binary(16), pa.struct([("u", pa.binary(16))])]
    assert whole(table).schema == table.schema
    assert whole(table).to_pydict() == {
        "u": [b"0" * 16, None],
        "n": [{"u": b"0" * 16}, {"u": None}],
    }


@pytest.mark.parametrize("size", [1, 7, 1_000, 1_500, 20_000])
def test_batches_cover_all_row_groups_in_order(tmp_path: Path, size: int) -> None:
    """G8."""
    rows = 5_003
    table = written(tmp_path, pa.table({"n": range(rows)}), row_group_size=1_234)
    batches = list(table.batches(size))
    assert [
        value for batch in batches for value in batch.rows["n"].to_pylist()
    ] == list(range(rows))
    assert all(0 < batch.rows.num_rows <= size for batch in batches)
    assert [batch.first_row for batch in batches] == [
        batch.rows["n"][0].as_py() + 1 for batch in batches
    ]


@pytest.mark.slow
def test_wide_rows_end_a_batch_early(tmp_path: Path) -> None:
    """G8, G11: a Parquet file that carries its images must not fill the memory."""
    images = pa.array([bytes([row]) * 4_000_000 for row in range(40)])
    table = written(
        tmp_path, pa.table({"image": images}), compression="none", use_dictionary=False
    )
    sizes = [batch.rows.nbytes for batch in table.batches()]
    assert len(sizes) > 1
    assert max(sizes) < 70 << 20


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    """G8."""
    table = written(tmp_path, pa.table({"a": pa.array([], pa.int64())}))
    assert table.schema == pa.schema([("a", pa.int64())])
    assert list(table.batches()) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "more than one column is named 'a'"),
        (["a", ""], "column 2 of 2 has no name"),
        ([], "no columns"),
    ],
)
def test_columns_that_names_do_not_tell_apart_are_an_error(
    tmp_path: Path, names: list[str], message: str
) -> None:
    """G15."""
    with pytest.raises(TableError, match=message):
        written(tmp_path, pa.table([pa.array([1])] * len(names), names))


def test_several_files_are_one_table_and_their_columns_may_stand_in_any_order(
    tmp_path: Path,
) -> None:
    """G15."""
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [2]}), tmp_path / "2.parquet")
    table = open_table(str(tmp_path))
    assert whole(table).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert [(batch.first_row, batch.file.name) for batch in table.batches()] == [
        (1, "1.parquet"),
        (2, "2.parquet"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        (pa.array([1], pa.int32()), pa.array([2], pa.int64()), [1, 2]),
        (pa.array([0.6], pa.float32()), pa.array([0.7], pa.float64()), [0.6, 0.7]),
        (pa.array([1]), pa.array([0.5], pa.float32()), [1.0, 0.5]),
        (pa.array(["a"], pa.string_view()), pa.array(["b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), ["a", "b"]),
        (pa.nulls(1), pa.array([["x"]], pa.list_view(pa.string_view())), [None, ["x"]]),
        (
            pa.array([datetime(9999, 12, 31)], pa.timestamp("ms")),
            pa.array([datetime(2026, 1, 2)], pa.timestamp("us")),
            [datetime(9999, 12, 31), datetime(2026, 1, 2)],
        ),
        (pa.array([{"a": 1}]), pa.array([{"b": "x"}]), [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
    ],
    ids=["width", "floats", "whole and not", "view", "dictionary", "null", "unit", "keys"],
)  # fmt: skip
def test_files_whose_types_differ_are_read_as_types_that_hold_both(
    tmp_path: Path, first: pa.Array, second: pa.Array, values: list[object]
) -> None:
    pq.write_table(pa.table({"a": first}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": second}), tmp_path / "2.parquet")
    assert whole(open_table(str(tmp_path)))["a"].to_pylist() == values
    (tmp_path / "1.parquet").rename(tmp_path / "3.parquet")
    assert whole(open_table(str(tmp_path)))["a"].to_pylist() == values[::-1]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            [2**53 + 1],
            [0.5],
            "1.parquet: column 'a' is int64 and holds values that double",
        ),
        (
            [1],
            pa.array([2**63], pa.uint64()),
            "2.parquet: column 'a' is uint64 and holds",
        ),
    ],
)
def test_values_that_the_common_type_of_the_files_can_not_hold_are_an_error(
    tmp_path: Path, first: object, second: object, message: str
) -> None:
    pq.write_table(pa.table({"a": first}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": second}), tmp_path / "2.parquet")
    assert message in failure(open_table(str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([datetime(2026, 1, 2, 3, 4, 5, 6)], "ns"),
        ([datetime(9999, 12, 31), None, datetime(1, 1, 1)], "us"),
        ([datetime(1600, 1, 1, 0, 0, 0, 5)], "us"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_timestamps_of_96_bits_are_read_in_a_unit_that_holds_them(
    tmp_path: Path, values: list[datetime | None], unit: str, nested: bool
) -> None:
    """Spark and Impala write them, and 9999-12-31 means for ever."""
    column = pa.array(values, pa.timestamp("us"))
    if nested:
        column = pa.StructArray.from_arrays([column], ["at"])
    table = written(
        tmp_path,
        pa.table({"at": column}),
        use_deprecated_int96_timestamps=True,
        store_schema=False,
    )
    found = whole(table)["at"].combine_chunks()
    stamps = found.field("at") if nested else found
    assert stamps.type == pa.timestamp(unit)
    assert stamps.cast(pa.timestamp("us")).to_pylist() == values


def test_one_far_timestamp_of_96_bits_in_one_of_several_files_is_enough(
    tmp_path: Path,
) -> None:
    for name, year in (("1", 2026), ("2", 9999)):
        column = pa.array([datetime(year, 12, 31)], pa.timestamp("us"))
        pq.write_table(
            pa.table({"at": column}),
            tmp_path / f"{name}.parquet",
            use_deprecated_int96_timestamps=True,
        )
    found = whole(open_table(str(tmp_path)))["at"].to_pylist()
    assert found == [datetime(2026, 12, 31), datetime(9999, 12, 31)]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"a": ["1"], "b": ["y"]}, "column 'a' is string, but it is int64 in"),
        ({"a": [1]}, "it lacks 'b'"),
        ({"a": [1], "b": ["y"], "c": [1]}, "it also has 'c'"),
    ],
)
def test_files_that_differ_are_an_error_with_the_difference(
    tmp_path: Path, second: dict[str, list[object]], message: str
) -> None:
    """G15."""
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table(second), tmp_path / "2.parquet")
    with pytest.raises(TableError, match=message) as caught:
        open_table(str(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "2.parquet"))


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    """G17: pyarrow hands it out, and it would fail far from here."""
    wrong = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
    table = written(tmp_path, pa.table({"a": wrong}))
    with pytest.raises(TableError, match=r"UTF-?8"):
        whole(table)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    """G17."""
    zeros = pa.array(["0" * 1_000_000] * 100)
    with pytest.raises(TableError, match="200 times"):
        written(
            tmp_path, pa.table({"a": zeros}), compression="zstd", use_dictionary=False
        )


def test_a_flipped_bit_that_a_checksum_knows_of_is_an_error(tmp_path: Path) -> None:
    """G17."""
    file = tmp_path / "t.parquet"
    texts = pa.table({"a": ["a small red house"]})
    pq.write_table(
        texts,
        file,
        write_page_checksum=True,
        compression="none",
        write_statistics=False,
    )
    file.write_bytes(file.read_bytes().replace(b"small red", b"small rad"))
    with pytest.raises(TableError, match="damaged"):
        whole(open_table(str(file)))


DAMAGE = """
import random, sys
from pathlib import Path
from pixmill.errors import TableError
from pixmill.tables import as_text, open_table

whole, file = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
chance = random.Random(7)
seen = {"rows": 0, "error": 0}
for turn in range(400):
    data = bytearray(whole)
    if turn % 4 == 0:
        del data[chance.randrange(len(data)):]
    else:
        for _ in range(turn % 4):
            # The footer, at the end, is where a flipped bit does most harm.
            data[chance.choice([chance.randrange(len(data)), -chance.randrange(1, 900)])] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    try:
        for batch in open_table(str(file)).batches():
            for column in batch.rows.columns:
                as_text(column)
        seen["rows"] += 1
    except TableError:
        seen["error"] += 1
print(seen["rows"], seen["error"])
"""


def test_damaged_files_are_table_errors_and_never_a_crash(tmp_path: Path) -> None:
    """G17: in a process of its own, because a crash of the reader would be the end of this one."""
    columns = {
        name: TYPED[name]
        for name in ("int", "text", "code", "tags", "nested", "price", "at")
    }
    pq.write_table(
        pa.table(columns), tmp_path / "whole.parquet", write_page_checksum=True
    )
    arguments = [
        sys.executable,
        "-c",
        DAMAGE,
        tmp_path / "whole.parquet",
        tmp_path / "t.parquet",
    ]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    readable, refused = map(int, done.stdout.split())
    assert readable + refused == 400
    assert refused > 200


scalars = st.one_of(
    st.tuples(st.just(pa.int64()), st.just(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just(pa.float64()), st.just(st.floats(allow_nan=False))),
    st.tuples(
        st.just(pa.string()),
        st.just(st.text(st.characters(exclude_categories=["Cs"]), max_size=9)),
    ),
    st.tuples(st.just(pa.bool_()), st.just(st.booleans())),
    st.tuples(
        st.just(pa.timestamp("us", "UTC")), st.just(st.integers(-(2**60), 2**60))
    ),
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 8))
    columns = []
    for kind, values in draw(st.lists(scalars, min_size=1, max_size=4)):
        nested = draw(st.booleans())
        cell = st.none() | (st.lists(values, max_size=3) if nested else values)
        columns.append(
            pa.array(
                draw(st.lists(cell, min_size=rows, max_size=rows)),
                pa.list_(kind) if nested else kind,
            )
        )
    return pa.table(columns, [f"c{index}" for index in range(len(columns))])


@settings(max_examples=150, deadline=None)
@given(table=tables(), size=st.integers(1, 5))
def test_whatever_parquet_holds_is_read_back_equal(table: pa.Table, size: int) -> None:
    """G16."""
    with tempfile.TemporaryDirectory() as folder:
        found = written(Path(folder), table)
        batches = [batch.rows for batch in found.batches(size)]
    assert pa.concat_tables([found.schema.empty_table(), *batches]).equals(table)


def test_the_laion_rows_are_read_whole() -> None:
    if not LAION.exists():
        pytest.skip(f"{LAION} is not there")
    table = open_table(str(LAION))
    batches = list(table.batches(300))
    assert {"URL", "TEXT"} <= set(table.schema.names)
    assert table.schema.metadata is None
    assert [batch.first_row for batch in batches] == [1, 301, 601, 901]
    assert sum(batch.rows.num_rows for batch in batches) == 1_000
