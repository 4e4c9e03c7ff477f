"""Exports as tables: which rows, which split, and files that are whole or not there."""

import csv
import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.export import Choice, Exported, Format, export
from pixmill.datasets.export.selection import parse_shares, split_of
from pixmill.errors import UserError
from tests.pixmill.datasets.published import INPUT, Shelf

TABLES: list[Format] = ["parquet", "csv", "jsonl"]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """60 rows with two jobs each, of scale 2 and 4."""
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("scale", pa.int64())).append(
        pa.field("style", pa.string())
    )
    shelf.publish(
        [
            shelf.job(
                row,
                scale=scale,
                style="=1+1" if row % 2 else "ink",
                point_id=f"point{scale}",
            )
            for row in range(60)
            for scale in (2, 4)
        ],
        own,
    )
    return shelf


def exported(
    shelf: Shelf, kind: Format, choice: Choice
) -> tuple[Exported, list[dict[str, str]]]:
    out = shelf.folder / "exports" / f"pets.{kind}"
    done = export(load_config(shelf.path), kind, out, choice)
    if kind == "parquet":
        return done, pq.read_table(out).to_pylist()
    if kind == "jsonl":
        return done, [json.loads(line) for line in out.read_text().splitlines()]
    with out.open(newline="") as file:
        return done, list(csv.DictReader(file))


@pytest.mark.parametrize("kind", TABLES)
def test_where_keeps_the_rows_for_which_it_holds_in_their_order(
    shelf: Shelf, kind: Format
) -> None:
    done, rows = exported(shelf, kind, Choice(where="scale > 2 and row_number <= 10"))
    assert [(row["row_key"], str(row["scale"])) for row in rows] == [
        (f"r{at}", "4") for at in range(10)
    ]
    assert (done.rows, done.splits) == (10, {})


@pytest.mark.parametrize("kind", TABLES)
def test_a_condition_that_never_holds_gives_a_table_without_rows(
    shelf: Shelf, kind: Format
) -> None:
    assert exported(shelf, kind, Choice(where="scale > 4")) == (Exported(0, {}), [])


@pytest.mark.parametrize("kind", TABLES)
def test_tables_say_the_split_of_every_row_and_jobs_of_a_row_stay_together(
    shelf: Shelf, kind: Format
) -> None:
    done, rows = exported(shelf, kind, Choice(splits=("val=0.2", "test=0.3")))
    by_row = {row["row_key"]: row["split"] for row in rows}
    assert all(row["split"] == by_row[row["row_key"]] for row in rows)
    assert set(by_row.values()) == {"train", "val", "test"} == set(done.splits)
    assert done.rows == len(rows) == sum(done.splits.values()) == 120


def test_the_column_that_decides_the_split_can_be_chosen(shelf: Shelf) -> None:
    _, rows = exported(shelf, "jsonl", Choice(splits=("val=0.5",), split_by="style"))
    by_style = {row["style"]: row["split"] for row in rows}
    assert all(row["split"] == by_style[row["style"]] for row in rows)


def test_an_input_column_that_is_called_split_stays(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish(
        [shelf.job(0, split="mine")], INPUT.append(pa.field("split", pa.string()))
    )
    _, (row,) = exported(shelf, "parquet", Choice(splits=("val=0.5",)))
    assert row["split"] == "mine"
    assert row["pixmill_split"] in ("train", "val")


def test_more_rows_in_another_order_never_move_a_row_to_another_split(
    tmp_path: Path,
) -> None:
    choice, shelf = Choice(splits=("val=0.3", "test=0.2")), Shelf(tmp_path)
    splits = []
    for rows in (range(50), range(199, -1, -1)):
        shelf.publish([shelf.job(row) for row in rows])
        splits.append(
            {
                row["row_key"]: row["split"]
                for row in exported(shelf, "jsonl", choice)[1]
            }
        )
    assert len(splits[1]) == 200
    assert splits[0].items() <= splits[1].items()


def test_a_split_at_the_end_takes_rows_from_train_only() -> None:
    rows = [f"row {at}" for at in range(1000)]
    before, after = parse_shares(["val=0.1"]), parse_shares(["val=0.1", "test=0.1"])
    moved = {(split_of(row, before), split_of(row, after)) for row in rows}
    assert moved == {("val", "val"), ("train", "train"), ("train", "test")}


def test_the_split_of_a_row_is_the_same_on_every_machine_and_in_every_release() -> None:
    """First 8 bytes of the SHA-256 of the text, as a fraction: anybody can compute it."""
    fraction = int(sha256(b"r17").hexdigest()[:16], 16) / 2**64
    assert split_of("r17", {"val": fraction + 1e-6}) == "val"
    assert split_of("r17", {"val": fraction - 1e-6}) == "train"


def test_shares_come_out_as_asked_for() -> None:
    splits = [split_of(f"row {at}", {"val": 0.02, "test": 0.1}) for at in range(20_000)]
    assert splits.count("val") / 20_000 == pytest.approx(0.02, abs=0.004)
    assert splits.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("splits", "what"),
    [
        (("val",), "--split val is not a valid split"),
        (("val=2%",), "--split val=2% is not a valid split"),
        (("val=nan",), "is not a valid split"),
        (("val=0",), "is not a valid split"),
        (("../up=0.1",), "is not a valid split"),
        (("val=0.1", "val=0.2"), "val is given twice"),
        (("train=0.9",), "train is what the other splits leave"),
        (("val=0.5", "test=0.5"), "leave nothing for train"),
    ],
)
def test_shares_that_make_no_sense_are_refused(
    splits: tuple[str, ...], what: str
) -> None:
    with pytest.raises(UserError, match=what):
        parse_shares(splits)


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (Choice(where="scael > 2"), "no column 'scael'; did you mean `scale`"),
        (Choice(where="scale >"), "--where: "),
        (Choice(where='scale > "big"'), "--where: "),
        (
            Choice(splits=("val=0.1",), split_by="styel"),
            "no column 'styel'; did you mean `style`",
        ),
        (Choice(split_by="style"), "--split-by needs --split"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused_and_nothing_is_written(
    shelf: Shelf, choice: Choice, what: str
) -> None:
    out = shelf.folder / "pets.csv.out"
    with pytest.raises(UserError, match=what):
        export(load_config(shelf.path), "csv", out, choice)
    assert not list(shelf.folder.glob("*pets.csv*"))


def test_few_rows_out_of_many_batches_share_a_row_group(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(at) for at in range(25_000)])
    export(
        load_config(shelf.path),
        "parquet",
        tmp_path / "few.parquet",
        Choice(where="row_number % 100 == 0"),
    )
    assert (pq.read_metadata(tmp_path / "few.parquet").num_row_groups) == 1
    assert pq.read_metadata(tmp_path / "few.parquet").num_rows == 250


def test_a_parquet_export_keeps_what_the_dataset_says_about_its_columns(
    shelf: Shelf,
) -> None:
    table = pq.read_table(shelf.dataset).replace_schema_metadata(
        {"pixmill": '{"axes": []}'}
    )
    pq.write_table(table, shelf.dataset)
    export(load_config(shelf.path), "parquet", shelf.folder / "all.parquet")
    assert (
        pq.read_schema(shelf.folder / "all.parquet").metadata[b"pixmill"]
        == b'{"axes": []}'
    )
    assert pq.read_table(shelf.folder / "all.parquet").equals(table)


def test_the_dataset_itself_is_never_overwritten(shelf: Shelf) -> None:
    before = shelf.dataset.read_bytes()
    with pytest.raises(UserError, match="is the dataset itself"):
        export(load_config(shelf.path), "csv", shelf.dataset)
    assert shelf.dataset.read_bytes() == before


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_dataset_leaves_the_old_export(shelf: Shelf, kind: Format) -> None:
    out = shelf.folder / "old"
    out.write_text("old")
    whole = shelf.dataset.read_bytes()
    shelf.dataset.write_bytes(whole[:100] + b"\xff" + whole[101:])
    with pytest.raises(UserError, match=r"dataset\.parquet is damaged"):
        export(load_config(shelf.path), kind, out)
    assert out.read_text() == "old"
    assert not list(shelf.folder.glob(".*.tmp"))


def test_a_folder_that_can_t_be_made_is_named(shelf: Shelf) -> None:
    (shelf.folder / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        export(load_config(shelf.path), "csv", shelf.folder / "file" / "pets.csv")


def test_a_column_name_that_a_spreadsheet_would_run_is_disarmed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(0)], INPUT.append(pa.field("=1+1", pa.string())))
    export(load_config(shelf.path), "csv", tmp_path / "pets.out")
    header = (tmp_path / "pets.out").read_text().splitlines()[0]
    assert ",'=1+1," in header


CELLS = [
    "=1+1",
    "-dash",
    "+plus",
    "@at",
    " =late",
    "＝wide",
    "'quoted",
    'a "b", c',
    "x\r\ny\nz\r",
    "",
    None,
]


@pytest.fixture
def cells(tmp_path: Path) -> Shelf:
    """A row for each of `CELLS`, once as text and once as a value of few texts."""
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("note", pa.string())).append(
        pa.field("kind", pa.dictionary(pa.int32(), pa.string()))
    )
    shelf.publish(
        [shelf.job(at, note=text, kind=text) for at, text in enumerate(CELLS)], own
    )
    return shelf


def test_raw_cells_of_csv_are_what_the_dataset_holds_and_null_is_no_empty_text(
    cells: Shelf,
) -> None:
    """G27."""
    out = cells.folder / "pets.csv.out"
    done = export(load_config(cells.path), "csv", out, Choice(raw_cells=True))
    assert done.disarmed == 0
    options = pa_csv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    many = pa_csv.ParseOptions(newlines_in_values=True)
    found = pa_csv.read_csv(out, parse_options=many, convert_options=options)
    assert found["note"].to_pylist() == found["kind"].to_pylist() == CELLS


def test_what_a_spreadsheet_would_run_is_counted_and_gets_an_apostrophe(
    cells: Shelf,
) -> None:
    """G19: also in columns that hold few texts, each of them once."""
    out = cells.folder / "pets.csv.out"
    assert export(load_config(cells.path), "csv", out).disarmed == 12
    with out.open(newline="", encoding="utf-8") as file:
        found = [(row["note"], row["kind"]) for row in csv.DictReader(file)]
    expected = [f"'{text}" for text in CELLS[:6] if text] + [
        text or "" for text in CELLS[6:]
    ]
    assert found == [(text, text) for text in expected]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bytes_are_base64_at_any_depth(tmp_path: Path, kind: Format) -> None:
    """G26."""
    shelf, data = Shelf(tmp_path), b"\x89PNG\xff"
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    own = INPUT.append(pa.field("thumb", pa.binary())).append(
        pa.field("all", pa.list_(picture))
    )
    shelf.publish(
        [shelf.job(0, thumb=data, all=[{"bytes": data, "path": "a.png"}])], own
    )
    _, (row,) = exported(shelf, kind, Choice())
    nested = json.loads(row["all"]) if kind == "csv" else row["all"]
    assert b64decode(row["thumb"]) == b64decode(nested[0]["bytes"]) == data


def test_json_lines_never_hold_what_json_has_no_word_for(tmp_path: Path) -> None:
    """G28."""
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("score", pa.float64())).append(
        pa.field("deep", pa.list_(pa.struct([("n", pa.float32())])))
    )
    values = [float("nan"), float("inf"), float("-inf"), 0.1]
    shelf.publish(
        [shelf.job(at, score=of, deep=[{"n": of}]) for at, of in enumerate(values)], own
    )
    _, rows = exported(shelf, "jsonl", Choice())
    found = [(row["score"], row["deep"]) for row in rows]
    assert found == [(of, [{"n": of}]) for of in (None, None, None, 0.1)]
