"""`load_results`: the dataset as pandas people want it, from whatever they have at hand."""

import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import pixmill
from pixmill.datasets.loading import dataset_file, store_of
from pixmill.datasets.schema import OUR_FIELDS, our_columns, result_schema
from pixmill.errors import ConfigError, UserError
from tests.conftest import ROOT, Project, Simulated, run_config
from tests.pixmill.datasets.published import INPUT, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    shelf.publish(
        [
            shelf.job(0, file_name=shelf.image(0)),
            shelf.job(1, status="invalid", job_key=None, seed=None),
            shelf.job(2, file_name=shelf.image(2)),
        ]
    )
    return shelf


def test_a_dataset_loads_from_its_file_its_folder_and_its_config(shelf: Shelf) -> None:
    frames = [
        pixmill.load_results(path)
        for path in (shelf.dataset, str(shelf.dataset.parent), shelf.path)
    ]
    assert list(frames[0]["row_key"]) == ["r0", "r1", "r2"]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_the_path_of_every_image_is_absolute_and_there(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shelf.folder)
    frame = pixmill.load_results("out/pets")
    paths = [Path(path) for path in frame["path"].dropna()]
    assert len(paths) == 2
    assert all(path.is_absolute() and path.exists() for path in paths)
    assert list(frame["path"].isna()) == [False, True, False]


def test_an_earlier_version_finds_its_images_in_the_same_store(shelf: Shelf) -> None:
    earlier = shelf.publish(
        [shelf.job(0, file_name=shelf.image(0))], version="20261001T000000Z"
    )
    (path,) = pixmill.load_results(earlier)["path"]
    assert Path(path).exists()


def test_a_dataset_that_is_called_history_finds_its_images(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "history")
    shelf.publish([shelf.job(0, file_name=shelf.image(0))])
    (path,) = pixmill.load_results(shelf.path)["path"]
    assert Path(path).exists()


def test_a_link_to_a_dataset_finds_the_images_of_what_it_links_to(shelf: Shelf) -> None:
    link = shelf.folder / "latest.parquet"
    link.symlink_to(shelf.dataset)
    assert store_of(link) == shelf.store.resolve()


def test_an_input_column_that_is_called_path_stays(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("path", pa.string()))
    shelf.publish([shelf.job(0, path="mine", file_name=shelf.image(0))], own)
    frame = pixmill.load_results(shelf.dataset)
    assert list(frame["path"]) == ["mine"]
    assert Path(frame["pixmill_path"][0]).exists()


def test_whole_numbers_with_gaps_stay_whole(tmp_path: Path) -> None:
    """A float would make 9007199254740993 even."""
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("count", pa.int64())).append(
        pa.field("small", pa.uint8())
    )
    rows = [
        shelf.job(0, count=2**53 + 1, small=3),
        shelf.job(1, count=None, small=None, seed=None),
    ]
    shelf.publish(rows, own)
    frame = pixmill.load_results(shelf.dataset)
    assert frame["count"][0] == 2**53 + 1
    assert (str(frame["count"].dtype), str(frame["small"].dtype)) == ("Int64", "UInt8")
    assert frame["seed"].sum() == 7
    assert str(frame["row_number"].dtype) == "int64"


def test_what_a_run_published_loads_with_its_columns(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    report = run_config(project.path)
    frame = pixmill.load_results(project.path)
    published = pd.read_parquet(report["dataset"])
    assert list(frame.columns) == [*published.columns, "path"]
    assert list(frame["job_key"]) == list(published["job_key"])
    assert all(Path(path).stat().st_size for path in frame["path"])


def test_a_reader_never_sees_two_versions(shelf: Shelf) -> None:
    """A publication may rename between two opens, so there is only one: rows and columns are of one version."""
    ended = threading.Event()

    def publish_often() -> None:
        size = 0
        while not ended.is_set():
            size = size % 50 + 1
            own = INPUT.append(pa.field(f"column_{size}", pa.int64()))
            shelf.publish(
                [shelf.job(at, **{f"column_{size}": size}) for at in range(size)],
                own,
                "20200101T000000Z",
            )
            (shelf.dataset.parent / "history" / "20200101T000000Z.parquet").replace(
                shelf.dataset
            )

    writer = threading.Thread(target=publish_often)
    writer.start()
    seen = set()
    try:
        for _ in range(100):
            frame = pixmill.load_results(shelf.dataset)
            extra = [name for name in frame.columns if name.startswith("column_")]
            # The first one, which no thread published, has no such column.
            for name in extra:
                assert set(frame[name]) == {len(frame)}
                assert name == f"column_{len(frame)}"
            seen |= set(extra)
    finally:
        ended.set()
        writer.join()
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("taken", "ours"),
    [
        ((), "cost"),
        (("cost",), "pixmill_cost"),
        (("pixmill_cost",), "cost"),
        (("cost", "pixmill_cost"), "pixmill_pixmill_cost"),
    ],
)
def test_our_columns_are_known_whatever_the_input_is_called(
    taken: tuple[str, ...], ours: str
) -> None:
    schema = result_schema(pa.schema([(name, pa.string()) for name in taken]))
    names = our_columns(schema)
    assert names["cost"] == ours
    assert schema.field(ours).type == pa.float64()
    assert list(names) == [name for name, _ in OUR_FIELDS]


def test_a_simulated_dataset_is_named_where_a_real_one_is_asked_for(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shelf.folder)
    Path("out/simulated").mkdir()
    Path("out/pets").rename("out/simulated/pets")
    with pytest.raises(UserError, match="there is no dataset in out/pets") as raised:
        pixmill.load_results("out/pets")
    assert raised.value.hint.endswith("dataset of that name is out/simulated/pets")


def test_what_is_not_there_says_what_to_do(shelf: Shelf) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist") as absent:
        pixmill.load_results(shelf.folder / "nowhere")
    assert "pixmill run" in absent.value.hint
    with pytest.raises(UserError, match=r"out contains no dataset\.parquet") as store:
        pixmill.load_results(shelf.store)
    assert str(shelf.dataset.parent) in store.value.hint
    with pytest.raises(ConfigError):
        dataset_file(shelf.folder / "missing.yaml")


def test_a_damaged_dataset_is_named(shelf: Shelf) -> None:
    whole = shelf.dataset.read_bytes()
    for at in (40, 100, len(whole) // 3):  # in pages and in a name of the footer
        shelf.dataset.write_bytes(
            whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        )
        with pytest.raises(UserError, match="damaged"):
            pixmill.load_results(shelf.dataset)
    shelf.dataset.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="damaged"):
        pixmill.load_results(shelf.dataset)


def test_pandas_is_imported_only_by_the_call() -> None:
    code = "import sys, pixmill\npixmill.load_results\nimport pixmill.datasets.compare\nprint('pandas' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert shown.stdout.strip() == "False"


CELLS = {
    "whole": (["1", "-2", "0"], "int64", [1, -2, 0]),
    "gaps": (["9007199254740993", "", "3"], "Int64", [9007199254740993, pd.NA, 3]),
    "fraction": (["0.5", "", "3"], "float64", [0.5, float("nan"), 3.0]),
    "small": (["1e-07", "0.1", "1.50"], "float64", [1e-7, 0.1, 1.5]),
    "truth": (["true", "false", "true"], "bool", [True, False, True]),
    "maybe": (["True", "", "False"], "boolean", [True, pd.NA, False]),
    "leading_zero": (["007", "012", "1"], "str", None),
    "plus": (["+49123", "1", "2"], "str", None),
    "too_long": (["1", "2", "12345678901234567890"], "str", None),
    "long_beside_fraction": (["0.5", "2", "1234567890123456789"], "str", None),
    "infinite": (["1e+999", "1.5", "2"], "str", None),
    "not_a_number": (["1", "nan", "2"], "str", None),
    "hash": (["12e4", "77e8", "1"], "str", None),
    "mixed_truth": (["true", "False", "true"], "str", None),
    "yes": (["yes", "no", "yes"], "str", None),
    "empty": (["", "", ""], "str", None),
    "padded": ([" 1", "2", "3"], "str", None),
}


def test_columns_of_csv_that_hold_only_numbers_or_truth_values_are_such_columns(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    cells = {name: texts for name, (texts, _, _) in CELLS.items()}
    own = pa.schema([*INPUT, *((name, pa.string()) for name in CELLS)])
    rows = [{name: texts[at] for name, texts in cells.items()} for at in range(3)]
    shelf.publish([shelf.job(at, **row) for at, row in enumerate(rows)], own)
    frame = pixmill.load_results(shelf.dataset)
    for name, (texts, kind, values) in CELLS.items():
        expected = pd.Series(texts if values is None else values, dtype=kind, name=name)
        pd.testing.assert_series_equal(frame[name], expected)
    # Our own columns stay what they are called to be.
    assert frame["row_key"].dtype == "str"
    kept = pixmill.load_results(shelf.dataset, dtypes="text")
    for name, texts in cells.items():
        assert kept[name].tolist() == texts


def test_a_text_column_of_a_typed_table_stays_text(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    own = pa.schema([*INPUT, ("count", pa.string())])
    shelf.publish([shelf.job(0, count="7")], own)
    manifest = shelf.dataset.with_name("manifest.json")
    manifest.write_text('{"input": {"path": "pets.parquet"}}')
    assert list(pixmill.load_results(shelf.dataset)["count"]) == ["7"]
    manifest.write_text('{"input": {"path": "pets.csv"}}')
    assert list(pixmill.load_results(shelf.dataset)["count"]) == [7]
