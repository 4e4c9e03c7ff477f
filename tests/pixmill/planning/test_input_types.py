"""Columns of every type that a Parquet file can hold, in every place that a config can map a column to.

Each is read, or refused in words: never a traceback, and never another value than the one that stands there.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.invalid_rows import invalid_rows
from pixmill.errors import TableError
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from pixmill.tables import open_table
from tests.conftest import Project, Simulated, results, run_config

LONG = "https://images.example.com/a-name-that-stands-outside-of-its-view.jpg"
FAR = datetime(9999, 12, 31, 23, 59, 59)

SCALARS: Mapping[str, pa.Array] = {
    "int8": pa.array([1, -128, None], pa.int8()),
    "int16": pa.array([1, 2**15 - 1, None], pa.int16()),
    "int32": pa.array([16, -(2**31), None], pa.int32()),
    "int64": pa.array([2, 2**63 - 1, None]),
    "uint8": pa.array([3, 255, None], pa.uint8()),
    "uint32": pa.array([4, 2**32 - 1, None], pa.uint32()),
    "uint64": pa.array([5, 2**64 - 1, None], pa.uint64()),
    "float16": pa.array([0.6, float("inf"), None], pa.float16()),
    "float32": pa.array([0.6, float("nan"), None], pa.float32()),
    "float64": pa.array([0.6, 1e308, None]),
    "bool": pa.array([True, False, None]),
    "string": pa.array([LONG, "", None]),
    "large_string": pa.array([LONG, "", None], pa.large_string()),
    "string_view": pa.array([LONG, "", None], pa.string_view()),
    "binary": pa.array([LONG.encode(), b"\xff", None]),
    "large_binary": pa.array([LONG.encode(), b"\xff", None], pa.large_binary()),
    "binary_view": pa.array([LONG.encode(), b"\xff", None], pa.binary_view()),
    "fixed_size_binary": pa.array([b"abcd", b"\xff\0\0\0", None], pa.binary(4)),
    "dictionary": pa.array([LONG, "b", None]).dictionary_encode(),
    "decimal32": pa.array([Decimal("0.60"), Decimal("-9.99"), None], pa.decimal32(3, 2)),
    "decimal128": pa.array([Decimal("0.60"), Decimal("-1e20"), None], pa.decimal128(38, 2)),
    "decimal256": pa.array([Decimal("0.60"), Decimal("1e60"), None], pa.decimal256(76, 2)),
    "date32": pa.array([date(2026, 1, 2), date(1, 1, 1), None]),
    "date32, far": pa.array([0, 2**31 - 1, None], pa.int32()).cast(pa.date32()),
    "date64": pa.array([date(2026, 1, 2), date(9999, 12, 31), None], pa.date64()),
    "time32": pa.array([time(1, 2, 3), time(23, 59, 59), None], pa.time32("ms")),
    "time64": pa.array([1, 86_399_999_999_999, None], pa.time64("ns")),
    "timestamp, s": pa.array([1, 2**40, None], pa.timestamp("s")),
    "timestamp, ms": pa.array([1, FAR, None], pa.timestamp("ms")),
    "timestamp, us": pa.array([1, 2**62, None], pa.timestamp("us")),
    "timestamp, ns": pa.array([1, 2**62 + 1, None], pa.timestamp("ns")),
    "timestamp with a zone": pa.array([datetime(2026, 1, 2, tzinfo=UTC), None, None],
                                      pa.timestamp("us", "America/New_York")),
    "duration, s": pa.array([1, 2**40, None], pa.duration("s")),
    "duration, ns": pa.array([1, 2**62 + 1, None], pa.duration("ns")),
    "null": pa.nulls(3),
}  # fmt: skip
"""By name an ordinary value of each type, an extreme one and a null."""


def nested(array: pa.Array) -> dict[str, pa.Array]:
    """The values of `array` inside of each nested type, one a row."""
    offsets = pa.array(range(len(array) + 1), pa.int32())
    starts, ones = offsets[:-1], pa.array([1] * len(array), pa.int32())
    keys = pa.array(["k"] * len(array))
    return {
        "list": pa.ListArray.from_arrays(offsets, array),
        "large_list": pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), array),
        "list_view": pa.ListViewArray.from_arrays(starts, ones, array),
        "fixed_size_list": pa.FixedSizeListArray.from_arrays(array, 1),
        "struct": pa.StructArray.from_arrays([array], ["a"]),
        "map": pa.MapArray.from_arrays(offsets, keys, array),
    }


def columns_of(scalars: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Columns of the types of `scalars`, and of each inside of nested types, once and twice."""
    columns = dict(scalars)
    for name, array in scalars.items():
        once = nested(array)
        columns |= {f"{form} of {name}": found for form, found in once.items()}
        for outer, inner in (
            ("struct", "list_view"),
            ("list_view", "struct"),
            ("map", "list"),
        ):
            columns[f"{outer} of {inner} of {name}"] = nested(once[inner])[outer]
    return {name: column for name, column in columns.items() if _is_writable(column)}


def _is_writable(column: pa.Array) -> bool:
    """Whether Arrow, which reads all of them, can also write it."""
    try:
        pq.write_table(pa.table({"odd": column}), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return False
    return True


EVERY = columns_of(SCALARS)
SOME = SCALARS | columns_of({"string_view": SCALARS["string_view"]})

PLACES: Mapping[str, Mapping[str, Any]] = {
    "row_key": {
        "row_key": ["odd"],
        "columns": {"image_url": "photo", "prompt": "text"},
    },
    "image_url": {"columns": {"image_url": "odd", "prompt": "text"}},
    "image_file": {"columns": {"image_file": "odd", "prompt": "text"}},
    "prompt": {"columns": {"image_url": "photo", "prompt": "odd"}},
    "seed": {"columns": {"image_url": "photo", "prompt": "text", "seed": "odd"}},
    "field": {"columns": {"image_url": "photo", "prompt": "text", "scale": "odd"}},
    "list field": {
        "columns": {
            "image_url": "photo",
            "prompt": "text",
            "controlnet_args.0.strength": "odd",
        }
    },
    "template": {"columns": {"image_url": "photo", "prompt": "text"}},
    "where": {
        "columns": {"image_url": "photo", "prompt": "text"},
        "where": 'odd == 1 or odd == "a" or odd is None',
    },
    "no place": {"columns": {"image_url": "photo", "prompt": "text"}},
}
"""By what the column `odd` is mapped to, the section `input`."""


def planned(project: Project, odd: pa.Array, place: Mapping[str, Any]) -> Plan:
    rows = project.rows(len(odd))
    table = pa.Table.from_pylist(rows).append_column("odd", odd)
    pq.write_table(table, project.folder / "pets.parquet")
    path = str(project.folder / "pets.parquet")
    policy = "column" if "seed" in place["columns"] else "per_row"
    project.config["input"] = {}
    project.write_config(
        input={**place, "path": path, "max_invalid": 1}, seed={"policy": policy}
    )
    return make_plan(load_config(project.path), None)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_column_of_any_type_in_any_place_is_planned_or_refused_in_words(
    project: Project, place: str
) -> None:
    template = "{text} {odd}" if place == "template" else None
    project.write_config(request={"prompt": template})
    planned_columns = 0
    for name, odd in (EVERY if place in ("prompt", "no place") else SOME).items():
        try:
            plan = planned(project, odd, PLACES[place])
        except TableError as error:
            assert "odd" in str(error), name
            continue
        planned_columns += 1
        assert plan.rows == len(odd) or place == "where"
        told = [row for batch in plan.batches() for row in invalid_rows(batch)]
        assert len(told) == plan.invalid, name
        if place == "no place":
            assert plan.invalid == 0, name
    assert planned_columns


def test_files_of_any_two_types_are_read_as_one_table_or_refused_in_words(
    project: Project,
) -> None:
    for name, odd in SCALARS.items():
        pq.write_table(pa.table({"odd": odd}), project.folder / f"{name}.parquet")
    refused = 0
    for first, second in combinations(SCALARS, 2):
        files = [f"{project.folder}/{name}.parquet" for name in (first, second)]
        pair = project.folder / "pair"
        pair.mkdir(exist_ok=True)
        for at, file in enumerate(files):
            (pair / f"{at}.parquet").write_bytes(Path(file).read_bytes())
        try:
            rows = sum(batch.rows.num_rows for batch in open_table(str(pair)).batches())
        except TableError as error:
            assert "column 'odd' is" in str(error), (first, second)
            refused += 1
        else:
            assert rows == 6, (first, second)
    assert 0 < refused < len(SCALARS) ** 2 / 2


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_equal_numbers_in_narrower_floats_are_one_job(
    project: Project, kind: pa.DataType
) -> None:
    values, place = [0.6, 0.25, 0.001], PLACES["list field"]

    def keys(odd: pa.Array) -> list[str | None]:
        return [
            key
            for batch in planned(project, odd, place).batches()
            for key in batch.keys
        ]

    assert keys(pa.array(values, kind)) == keys(pa.array(["0.6", "0.25", "0.001"]))


@pytest.mark.parametrize(
    "text",
    [
        pa.array(["a pet"] * 3, pa.string_view()),
        pa.array([b"a pet"] * 3, pa.binary_view()),
        pa.array(["a pet"] * 3, pa.large_string()),
        pa.array(["a pet"] * 3).dictionary_encode(),
    ],
    ids=lambda array: str(array.type).partition("<")[0],
)
def test_text_of_any_type_is_asked_for_and_published(
    project: Project, simulated: Simulated, text: pa.Array
) -> None:
    planned(project, text, PLACES["prompt"])
    project.use_simulator(simulated)
    report = run_config(project.path)
    assert (report["succeeded"], simulated.bill.charged) == (3, 3)
    assert [row["prompt"] for row in results(report)] == ["a pet"] * 3
