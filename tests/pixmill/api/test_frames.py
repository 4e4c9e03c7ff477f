"""Frames ask for the same jobs as the same table in a file: keys of generated tables, in every way to hold them."""

import csv
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

import pixmill
from pixmill.api.frames import forget_frames, write_frame
from pixmill.arrow_text import as_text
from pixmill.errors import TableError
from tests.conftest import ROOT

WORDS = st.text("aé 猫\"',;\n\t{0.", max_size=12)
NUMBERS = st.integers(-(2**53), 2**53)
CELLS = {
    "word": st.one_of(st.none(), WORDS),
    "whole": NUMBERS,
    "gaps": st.one_of(st.none(), NUMBERS),
    "scale": st.integers(1, 20).map(lambda value: value / 2 + 0.001),
    "steps": st.integers(1, 30),
}
ROWS = st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=6)


def sections(**source: Any) -> dict[str, Any]:
    return {
        "name": "pets",
        "input": {
            "columns": {
                "image_url": "photo",
                "prompt": "word",
                "scale": "scale",
                "ddim_steps": "steps",
            },
            "max_invalid": 1,
            **source,
        },
        "request": {"prompt": "{word} {whole} {gaps}"},
    }


def read_keys(table: Any, **source: Any) -> list[tuple[str, str | None]]:
    """The row key and the job key of each row of a table."""
    plan = pixmill.plan(table, **sections(**source))
    found = []
    for batch in plan.batches():
        keys = batch.row_keys
        if not source:
            keys = plan.expander.default_row_keys(batch.rows)
        found += zip(keys, batch.keys, strict=True)
    return found


@settings(max_examples=20, phases=[Phase.generate])
@given(rows=ROWS, keyed=st.booleans())
def test_a_frame_has_the_keys_of_its_csv(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    keyed: bool,
) -> None:
    # Without a row key, a missing cell makes another row key than CSV's empty one.
    rows = [
        {"id": at, "photo": f"https://images.example.com/{at}.jpg", **row}
        for at, row in enumerate(rows)
        if keyed or None not in row.values()
    ]
    source = {"row_key": ["id"]} if keyed else {}
    assume(rows)
    path = tmp_path_factory.mktemp("tables") / "pets.csv"
    written = pa.Table.from_pylist(rows).to_pandas(integer_object_nulls=True)
    written.to_csv(path, index=False)
    expected = read_keys(path, **source)

    typed = pd.DataFrame(rows)
    objects = typed.astype(object).where(typed.notna(), None)
    assert read_keys(typed, **source) == expected
    assert read_keys(pa.Table.from_pylist(rows), **source) == expected
    assert read_keys(written, **source) == expected
    assert read_keys(objects, **source) == expected


def test_numbers_that_set_fields_are_the_same_however_they_are_written(
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"photo": ["https://images.example.com/a.jpg"] * 3})
    frame["word"] = ["one", "two", "three"]
    frame["scale"] = [2.0, 3.0, 0.1 + 0.2]
    frame["steps"] = pd.array([16, None, 20], "Int64")
    frame[["whole", "gaps"]] = 7
    frame.to_csv(tmp_path / "pets.csv", index=False)
    keys = [key for _, key in read_keys(frame, row_key=["word"])]
    assert keys == [key for _, key in read_keys("pets.csv", row_key=["word"])]
    assert keys[1] is None  # `ddim_steps` is missing there


def test_an_index_is_a_column_where_it_has_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [3, 1, 2]})
    named = frame.set_index(pd.Index(["a", "b", "c"], name="id"))
    for indexed, names in (
        (frame, ["n"]),
        (frame.sort_values("n"), ["n"]),
        (named, ["n", "id"]),
    ):
        assert pq.read_schema(write_frame(indexed, tmp_path)).names == names


def test_equal_frames_are_one_file_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    first = write_frame(pd.DataFrame({"n": [1]}), tmp_path)
    assert write_frame(pd.DataFrame({"n": [1]}), tmp_path) == first
    for number in range(2, 5):
        os.utime(first, (0, 0))
        latest = write_frame(pd.DataFrame({"n": [number]}), tmp_path)
    forget_frames(latest, 4)
    assert first.exists()
    forget_frames(latest, 3)
    assert latest.exists()
    assert not first.exists()
    assert len(list(tmp_path.iterdir())) == 3
    # Another run may read one that was used today, however many there are.
    forget_frames(latest, 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_table_of_a_run_of_days_is_not_forgotten(tmp_path: Path) -> None:
    in_use = write_frame(pd.DataFrame({"n": [1]}), tmp_path)
    os.utime(in_use, (0, 0))
    write_frame(pd.DataFrame({"n": [2]}), tmp_path)
    forget_frames(in_use, 1)
    assert in_use.exists()


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.run_end_encoded(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_every_kind_of_text_column_is_text(kind: pa.DataType, tmp_path: Path) -> None:
    """As polars, DuckDB and categories of pandas hold texts."""
    texts = pa.array(["a", "b", None])
    column = pc.run_end_encode(texts) if "run_end" in str(kind) else texts.cast(kind)
    table = pa.table({"text": pa.chunked_array([column, column])})
    written = pq.read_table(write_frame(table, tmp_path))["text"]
    assert written.cast(pa.string()).to_pylist() == ["a", "b", None] * 2


def test_a_stream_of_small_batches_is_one_row_group(tmp_path: Path) -> None:
    batch = pa.record_batch({"n": range(2_048)})
    stream = pa.RecordBatchReader.from_batches(batch.schema, [batch] * 10)
    file = pq.ParquetFile(write_frame(stream, tmp_path))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (20_480, 1)


def test_a_hugging_face_dataset_gives_the_rows_that_were_selected(
    tmp_path: Path,
) -> None:
    dataset = datasets.Dataset.from_dict({"id": ["a", "b", "c"]})
    chosen = dataset.filter(lambda row: row["id"] != "b")
    written = pq.read_table(write_frame(chosen, tmp_path))
    assert written["id"].to_pylist() == ["a", "c"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"id": ["a", 1]}), "id"),
        (pd.DataFrame([[1, 2]], columns=["n", "n"]), "Duplicate column names"),
        (pa.table([[1], [2]], ["n", "n"]), "more than one column is named 'n'"),
        (pd.DataFrame({"id": [object()]}), "id"),
    ],
    ids=["mixed", "twice", "twice in arrow", "objects"],
)
def test_a_frame_that_is_no_table_is_one_message(
    frame: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match=words) as caught:
        write_frame(frame, tmp_path)
    assert "astype" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_reads_differently_in_csv_is_what_the_docs_say(tmp_path: Path) -> None:
    moment = datetime(2026, 10, 1, 9, 30)
    frame = pd.DataFrame(
        {
            "gaps": [3, None],
            "truth": [True, True],
            "time": [moment, moment],
            "day": [moment.date(), moment.date()],
            "fraction": [0.25, 1e-07],
        }
    )
    typed = pq.read_table(write_frame(frame, tmp_path))
    frame.to_csv(tmp_path / "table.csv", index=False)
    with (tmp_path / "table.csv").open(newline="") as file:
        as_csv = next(csv.DictReader(file))
    texts = {name: as_text(typed[name])[0].as_py() for name in typed.column_names}
    table = (ROOT / "docs" / "python.md").read_text()
    for name in ("gaps", "truth", "time"):
        assert f"| `{texts[name]}` | `{as_csv[name]}` |" in table
    for name in ("day", "fraction"):
        assert texts[name] == as_csv[name]


def test_a_column_that_a_frame_lacks_is_one_of_the_table() -> None:
    """Nobody knows the file that it was written to."""
    request = {"req_key": "jimeng_t2i_v31", "prompt": "{text}, {style}"}
    frame = pa.table({"id": ["1"], "text": ["a cat"]})
    columns = {"prompt": "text"}
    with pytest.raises(TableError) as raised:
        pixmill.plan(frame, name="pets", request=request, input={"columns": columns})
    assert str(raised.value) == "the table has no column 'style'; it has: id, text"
