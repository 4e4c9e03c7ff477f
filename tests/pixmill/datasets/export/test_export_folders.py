"""Exports for trainers: what the real libraries read, what is left out and why, and folders that are whole."""

import fcntl
import json
import os
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pixmill.config.loading import load_config
from pixmill.datasets.export import Choice, Exported, Format, export
from pixmill.datasets.export import webdataset as shards
from pixmill.errors import UserError
from tests.conftest import ROOT
from tests.pixmill.datasets.published import INPUT, Shelf

FOLDERS: list[Format] = ["imagefolder", "webdataset"]

LOAD = """
import json, sys
import datasets
loaded = datasets.load_dataset("imagefolder", data_dir=sys.argv[1])
def plain(value):
    return [value.size, value.getpixel((0, 0)), value.getpixel((20, 20))] if hasattr(value, "getpixel") else value
features, rows = {}, {}
for split, part in loaded.items():
    features[split] = {name: repr(feature) for name, feature in part.features.items()}
    rows[split] = [{name: plain(value) for name, value in row.items()} for row in part]
print(json.dumps({"features": features, "rows": rows}, default=str))
"""


def load_with_datasets(folder: Path, cache: Path) -> dict[str, Any]:
    """What Hugging Face `datasets` makes of a folder, without the network; images as size and two pixels."""
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)  # type: ignore[no-any-return]


def pixels(shelf: Shelf, name: str) -> list[Any]:
    with Image.open(shelf.store / name) as picture:
        shown = picture.convert("RGB")
        return [
            list(shown.size),
            list(shown.getpixel((0, 0))),
            list(shown.getpixel((20, 20))),
        ]  # type: ignore[arg-type]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Twelve jobs with kept inputs, two that share an image, and six without one, each for another reason."""
    shelf = Shelf(tmp_path)
    good = [
        shelf.job(at, file_name=shelf.image(at), input_image=shelf.image(100 + at))
        for at in range(12)
    ]
    good[3]["file_name"] = good[2]["file_name"]
    gone, damaged = (
        shelf.job(12, file_name=shelf.image(12)),
        shelf.job(13, file_name=shelf.image(13)),
    )
    (shelf.store / gone["file_name"]).unlink()
    (shelf.store / damaged["file_name"]).write_bytes(
        (shelf.store / good[0]["file_name"]).read_bytes()
    )
    bad = [
        gone,
        damaged,
        shelf.job(14, error_code="image_pending"),
        shelf.job(15),
        shelf.job(16, status="failed", error_code="50500"),
        shelf.job(17, status="invalid", job_key=None),
    ]
    shelf.publish([*good, *bad])
    return shelf


LEFT_OUT = {
    "image_file_missing": 1,
    "image_file_damaged": 1,
    "image_pending": 1,
    "not_downloaded": 1,
    "failed": 1,
    "invalid": 1,
}


def test_an_image_folder_loads_with_the_real_library(shelf: Shelf) -> None:
    """Pairs, captions, columns and splits, row by row."""
    out = shelf.folder / "train data"
    done = export(
        load_config(shelf.path), "imagefolder", out, Choice(splits=("val=0.3",))
    )
    assert done == Exported(12, done.splits, LEFT_OUT, 0)
    loaded = load_with_datasets(out, shelf.folder / "cache")
    features = loaded["features"]["train"]
    assert features == loaded["features"]["validation"]
    assert features["image"].startswith("Image(")
    assert features["input"].startswith("Image(")
    assert not {"images", "output_urls", "file_name", "input_image"} & features.keys()
    rows = [*loaded["rows"]["train"], *loaded["rows"]["validation"]]
    assert [len(loaded["rows"][split]) for split in ("train", "validation")] == [
        done.splits["train"],
        done.splits["val"],
    ]
    published = {
        row["row_key"]: row for row in pq.read_table(shelf.dataset).to_pylist()
    }
    assert sorted(row["row_key"] for row in rows) == sorted(
        f"r{at}" for at in range(12)
    )
    for row in rows:
        job = published[row["row_key"]]
        assert (row["prompt"], row["text"], row["seed"]) == (
            job["prompt"],
            job["text"],
            7,
        )
        assert row["image"] == pixels(shelf, job["file_name"])
        assert row["input"] == pixels(shelf, job["input_image"])


def test_columns_that_the_library_would_take_for_images_load_as_text(
    tmp_path: Path,
) -> None:
    """It opens what text columns named `…_file_name` say, and overwrites `image` and `input`."""
    shelf = Shelf(tmp_path)
    names = ("image", "input", "file_name", "photo_file_name", "old_file_names")
    own = pa.schema(
        [
            *INPUT,
            *((name, pa.string()) for name in names),
            ("born", pa.date32()),
            ("raw", pa.binary()),
        ]
    )
    mine = {name: f"my {name}" for name in names}
    shelf.publish(
        [{**shelf.job(0, raw=b"\xff", pixmill_file_name=shelf.image(0)), **mine}], own
    )
    export(load_config(shelf.path), "imagefolder", tmp_path / "images")
    loaded = load_with_datasets(tmp_path / "images", tmp_path / "cache")
    (read,) = loaded["rows"]["train"]
    assert {name: read[f"{name}_text"] for name in names} == mine
    assert read["image"] == pixels(shelf, shelf.image(0))
    assert "input" not in read
    assert "raw" not in read


def test_a_sample_without_its_input_image_stays_and_is_counted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    kept = shelf.image(100)
    shelf.publish(
        [
            shelf.job(0, file_name=shelf.image(0), input_image=kept),
            shelf.job(1, file_name=shelf.image(1)),
            shelf.job(2, file_name=shelf.image(2), input_image="images/00/gone.png"),
        ]
    )
    done = export(load_config(shelf.path), "imagefolder", tmp_path / "images")
    assert (done.rows, done.without_input) == (3, 2)
    loaded = load_with_datasets(tmp_path / "images", tmp_path / "cache")
    assert [row["input"] for row in loaded["rows"]["train"]] == [
        pixels(shelf, kept),
        None,
        None,
    ]


def test_local_input_images_make_pairs_but_never_from_outside_the_folder_of_the_table(
    tmp_path: Path,
) -> None:
    columns = {"image_file": "photo", "prompt": "text"}
    shelf = Shelf(
        tmp_path,
        input={"path": str(tmp_path / "table" / "pets.csv"), "columns": columns},
    )
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "pets.csv").write_text("id,photo,text\n")
    (tmp_path / "table" / "in.png").write_bytes(
        (shelf.store / shelf.image(50)).read_bytes()
    )
    (tmp_path / "secret.png").write_bytes(b"secret")
    shelf.publish(
        [
            shelf.job(0, photo="in.png", file_name=shelf.image(0)),
            shelf.job(1, photo="../secret.png", file_name=shelf.image(1)),
        ]
    )
    done = export(load_config(shelf.path), "imagefolder", tmp_path / "images")
    assert (done.rows, done.without_input) == (2, 1)
    names = pq.read_table(tmp_path / "images" / "train" / "metadata.parquet")[
        "input_file_name"
    ].to_pylist()
    assert (tmp_path / "images" / "train" / names[0]).read_bytes() == (
        tmp_path / "table" / "in.png"
    ).read_bytes()
    assert names[1] is None


def test_an_export_that_is_edited_does_not_touch_the_store(shelf: Shelf) -> None:
    """Training tools crop and convert in place, and the images of the store were paid for."""
    export(load_config(shelf.path), "imagefolder", shelf.folder / "images")
    for path in (shelf.folder / "images").rglob("*.png"):
        path.write_bytes(b"cropped")
    again = export(load_config(shelf.path), "imagefolder", shelf.folder / "again")
    assert again.rows == 12


def test_equal_images_are_one_file(shelf: Shelf) -> None:
    export(load_config(shelf.path), "imagefolder", shelf.folder / "images")
    names = pq.read_table(shelf.folder / "images" / "train" / "metadata.parquet")[
        "file_name"
    ].to_pylist()
    assert (len(names), len(set(names))) == (12, 11)
    assert (
        len(list((shelf.folder / "images" / "train" / "images").rglob("*.png"))) == 11
    )


READ_SHARDS = """
import glob, json, sys
import webdataset
rows = []
for sample in webdataset.WebDataset(sorted(glob.glob(sys.argv[1])), shardshuffle=False).decode("pil"):
    rows.append({name: list(value.size) if hasattr(value, "size") else value for name, value in sample.items()})
print(json.dumps(rows))
"""


def test_shards_are_read_back_by_the_real_library(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the dataset, over the border of two shards, with captions, columns and inputs."""
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 5)
    done = export(load_config(shelf.path), "webdataset", shelf.folder / "shards")
    assert done == Exported(12, {"train": 12}, LEFT_OUT, 0)
    names = sorted(path.name for path in (shelf.folder / "shards").iterdir())
    assert names == [f"train-{at:06d}.tar" for at in range(3)]
    pattern = str(shelf.folder / "shards" / "train-*.tar")
    shown = subprocess.run(
        [sys.executable, "-c", READ_SHARDS, pattern], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    samples = json.loads(shown.stdout)
    jobs = pq.read_table(shelf.dataset).to_pylist()[:12]
    assert [sample["__key__"] for sample in samples] == [
        f"{at:09d}-{job['job_key'][:12]}" for at, job in enumerate(jobs)
    ]
    for sample, job in zip(samples, jobs, strict=True):
        assert sample["txt"] == job["prompt"]
        assert (sample["json"]["row_key"], sample["json"]["text"]) == (
            job["row_key"],
            job["text"],
        )
        assert "images" not in sample["json"]
        assert sample["png"] == sample["input.png"] == [64, 64]


def test_shards_hold_the_bytes_of_the_store(shelf: Shelf) -> None:
    export(
        load_config(shelf.path),
        "webdataset",
        shelf.folder / "shards",
        Choice(where="row_number == 1"),
    )
    job = pq.read_table(shelf.dataset).to_pylist()[0]
    with tarfile.open(shelf.folder / "shards" / "train-000000.tar") as tar:
        members = {
            member.name.partition(".")[2]: tar.extractfile(member).read()
            for member in tar
        }  # type: ignore[union-attr]
    assert members["png"] == (shelf.store / job["file_name"]).read_bytes()
    assert members["input.png"] == (shelf.store / job["input_image"]).read_bytes()


def test_the_same_dataset_always_gives_the_same_bytes(shelf: Shelf) -> None:
    def digest(out: Path) -> dict[str, str]:
        export(load_config(shelf.path), "webdataset", out, Choice(splits=("val=0.3",)))
        return {
            path.name: sha256(path.read_bytes()).hexdigest() for path in out.iterdir()
        }

    first = digest(shelf.folder / "one")
    os.utime(shelf.store / pq.read_table(shelf.dataset)["file_name"][0].as_py(), (1, 1))
    assert first == digest(shelf.folder / "two")
    assert sorted(first) == ["train-000000.tar", "val-000000.tar"]


def test_keys_are_safe_names_whatever_the_table_says(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish(
        [shelf.job(0, row_key="../../x.y", id="../../x.y", file_name=shelf.image(0))]
    )
    export(load_config(shelf.path), "webdataset", tmp_path / "shards")
    with tarfile.open(tmp_path / "shards" / "train-000000.tar") as tar:
        assert all(
            set(name.partition(".")[0]) <= set("0123456789abcdef-")
            for name in tar.getnames()
        )


@pytest.mark.parametrize("kind", FOLDERS)
def test_without_a_single_image_nothing_is_written_and_the_reasons_are_said(
    tmp_path: Path, kind: Format
) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish(
        [shelf.job(0, status="failed"), shelf.job(1, status="failed"), shelf.job(2)]
    )
    with pytest.raises(
        UserError, match="no job has an image to export: 2 failed, 1 not downloaded"
    ):
        export(load_config(shelf.path), kind, tmp_path / "images")
    with pytest.raises(UserError, match="none was selected"):
        export(
            load_config(shelf.path),
            kind,
            tmp_path / "images",
            Choice(where="row_number > 3"),
        )
    assert not (tmp_path / "images").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_exists_is_never_touched_save_an_empty_folder(
    shelf: Shelf, kind: Format
) -> None:
    config, out = load_config(shelf.path), shelf.folder / "images"
    out.mkdir()
    export(config, kind, out)
    before = sorted(out.rglob("*"))
    with pytest.raises(UserError, match="exists and is not empty") as taken:
        export(config, kind, out)
    assert "remove" in taken.value.hint
    (shelf.folder / "file").write_text("mine")
    (shelf.folder / "link").symlink_to(shelf.store)
    for name in ("file", "link"):
        with pytest.raises(UserError, match="exists and is not a folder"):
            export(config, kind, shelf.folder / name)
    with pytest.raises(UserError, match="can't be replaced"):
        export(config, kind, shelf.folder / "images" / "..")
    assert sorted(out.rglob("*")) == before
    assert (shelf.folder / "file").read_text() == "mine"


STOP_AT_THE_THIRD_IMAGE = """
import os
from pixmill.cli import main
from pixmill.datasets.export import samples
read, seen = samples._read, []
def read_and_stop(path):
    seen.append(path)
    if len(seen) == 3:
        os.kill(os.getpid(), SIGNAL)
    return read(path)
samples._read = read_and_stop
main()
"""


def stopped_export(shelf: Shelf, kind: Format, signal_number: int, out: Path) -> int:
    """Export in a process that gets a signal when it reads its third image; return its exit code."""
    code = STOP_AT_THE_THIRD_IMAGE.replace("SIGNAL", str(signal_number))
    command = [
        sys.executable,
        "-c",
        code,
        "export",
        shelf.path,
        "--format",
        kind,
        "--out",
        str(out),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("kind", FOLDERS)
def test_an_interrupted_export_leaves_nothing(shelf: Shelf, kind: Format) -> None:
    before = sorted(shelf.folder.iterdir())
    assert stopped_export(shelf, kind, 2, shelf.folder / "images") == 130
    assert sorted(shelf.folder.iterdir()) == before


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_a_killed_export_left_aside_is_cleared_by_the_next(
    shelf: Shelf, kind: Format
) -> None:
    out = shelf.folder / "images"
    assert stopped_export(shelf, kind, 9, out) == -9
    assert not out.exists()
    assert (shelf.folder / ".images.tmp").is_dir()
    (shelf.folder / ".images.tmp" / "train" / "half").mkdir(parents=True, exist_ok=True)
    assert export(load_config(shelf.path), kind, out).rows == 12
    assert not (shelf.folder / ".images.tmp").exists()
    assert not list(out.rglob("half"))


def test_two_exports_never_fill_the_same_folder(shelf: Shelf) -> None:
    aside = shelf.folder / ".images.tmp"
    aside.mkdir()
    other = os.open(aside, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another export is filling"):
            export(load_config(shelf.path), "imagefolder", shelf.folder / "images")
    finally:
        os.close(other)
    assert aside.exists()


def test_the_table_may_be_gone_where_its_input_images_are_urls(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(0, file_name=shelf.image(0))])
    assert not (tmp_path / "pets.csv").exists()
    assert export(load_config(shelf.path), "imagefolder", tmp_path / "images").rows == 1


@pytest.fixture
def group(tmp_path: Path) -> Shelf:
    """Three jobs: with three images, of which one file is gone, with none, and with one."""
    shelf = Shelf(tmp_path)
    several = shelf.with_images(
        shelf.job(0, cost=0.6), [shelf.image(at, "jpg") for at in range(3)]
    )
    (shelf.store / several["images"][1]["file_name"]).unlink()
    failed = shelf.job(1, status="failed", error_code="50500")
    one = shelf.with_images(shelf.job(2, cost=0.2), [shelf.image(9, "jpg")])
    shelf.publish([several, failed, one])
    return shelf


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_image_of_a_job_is_a_sample(group: Shelf, kind: Format) -> None:
    out = group.folder / "out of it"
    done = export(load_config(group.path), kind, out)
    assert (done.rows, done.left_out) == (3, {"image_file_missing": 1, "failed": 1})
    files = [row["images"] for row in pq.read_table(group.dataset).to_pylist()]
    wanted = [files[0][0], files[0][2], files[2][0]]
    if kind == "imagefolder":
        rows = pq.read_table(out / "train" / "metadata.parquet").to_pylist()
        assert [Path(row["file_name"]).name for row in rows] == [
            Path(image["file_name"]).name for image in wanted
        ]
    else:
        with tarfile.open(out / "train-000000.tar") as tar:
            members = tar.getnames()
            rows = [
                json.load(tar.extractfile(name) or sys.stdin)
                for name in members
                if name.endswith(".json")
            ]
        keys = [name for name in members if name.endswith(".jpg")]
        assert [len(key.removesuffix(".jpg").split("-")) for key in keys] == [2, 3, 2]
        assert keys[1].endswith("-2.jpg")
    assert [row["row_key"] for row in rows] == ["r0", "r0", "r2"]
    # What the call cost is counted once.
    assert [row["cost"] for row in rows] == [0.6, None, 0.2]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_has_a_row_for_every_image_and_one_for_a_job_without_any(
    group: Shelf, kind: Format
) -> None:
    out = group.folder / f"pets.{kind}"
    assert export(load_config(group.path), kind, out).rows == 5
    if kind == "csv":
        rows = pacsv.read_csv(out).to_pylist()
    elif kind == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    files = [row["images"] for row in pq.read_table(group.dataset).to_pylist()]
    assert [row["file_name"] or None for row in rows] == [
        *(image["file_name"] for image in files[0]),
        None,
        files[2][0]["file_name"],
    ]
    if kind != "csv":
        assert [row["images"] for row in rows] == [
            *([image] for image in files[0]),
            None,
            files[2],
        ]
    assert [row["cost"] for row in rows] == [0.6, None, None, None, 0.2]
    assert [row["output_url"] for row in rows][:3] == [
        f"https://x.example.com/{at}" for at in range(3)
    ]
