"""`pixmill init TABLE`: a config for a real table, whose columns are found by what they hold."""

import csv
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.planning.planner import plan_config
from tests.conftest import ROOT
from tests.pixmill.cli.test_commands import pixmill

URL = "https://images.example.com/{}.jpg?x=1"
TEXTS = (
    "a ginger cat asleep on a windowsill",
    "a barn owl on a mossy fence post, at dusk",
    "an elk at the edge of a misty lake",
    "一只在窗台上睡觉的橘猫，水彩",
)
DEFAULT = "high_aes_scheduler_svr_controlnet_v2.0"


def rows_of(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    count = len(next(iter(columns.values())))
    return [{name: of[at] for name, of in columns.items()} for at in range(count)]


def write(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


URLS = [URL.format(at) for at in range(4)]
TABLES: list[tuple[str, list[dict[str, Any]], dict[str, str], list[str]]] = [
    ("plain", rows_of(id=[1, 2, 3, 4], photo=URLS, text=TEXTS),
     {"image_url": "photo", "prompt": "text"}, ["id"]),
    ("other-names", rows_of(ref=["a1", "b2", "c3", "d4"], a=URLS, b=TEXTS, stock=[1, 2, 3, 3]),
     {"image_url": "a", "prompt": "b"}, ["ref"]),
    ("gaps", rows_of(sku=[7, 8, 9, 10], pic=[*URLS[:3], ""] , caption=TEXTS, note=["x", "", "y", ""]),
     {"image_url": "pic", "prompt": "caption"}, ["sku"]),
    ("two-urls", rows_of(page=[f"https://example.com/{at}" for at in range(4)], image=URLS, prompt=TEXTS),
     {"image_url": "image", "prompt": "prompt"}, []),
    ("codes", rows_of(part=["LMP-0011-x", "CHR-0204-y", "KTL-0130-z", "BWL-0301-q"], photo=URLS),
     {"image_url": "photo"}, ["part"]),
    ("no-key", rows_of(kind=["a", "a", "b", "b"], photo=URLS, text=[*TEXTS[:3], TEXTS[0]]),
     {"image_url": "photo", "prompt": "text"}, []),
    ("no-images", rows_of(id=[1, 2, 3, 4], scene=TEXTS), {"prompt": "scene"}, ["id"]),
    ("no-prompts", rows_of(id=[1, 2, 3, 4], photo=URLS), {"image_url": "photo"}, ["id"]),
    ("odd names", rows_of(id=[1, 2, 3, 4], **{"the photo": URLS, "a: b": TEXTS}),
     {"image_url": "the photo", "prompt": "a: b"}, ["id"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rows", "columns", "key"), TABLES, ids=[of[0] for of in TABLES]
)
@pytest.mark.parametrize("kind", ["csv", "semicolons", "parquet"])
def test_the_columns_of_a_table_are_found_by_what_they_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    rows: list[dict[str, Any]],
    columns: dict[str, str],
    key: list[str],
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    table = Path(f"{name}.parquet" if kind == "parquet" else f"{name}.csv")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    else:
        write(table, rows, ";" if kind == "semicolons" else ",")
    shown = pixmill("init", str(table), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    written = tmp_path / f"{name.replace(' ', '-')}.yaml"
    loaded = load_config(written)
    assert (loaded.input.columns, list(loaded.input.row_key)) == (columns, key)
    assert (loaded.request.req_key == DEFAULT) == ("image_url" in columns)
    plan = plan_config(loaded)
    assert (plan.rows, plan.invalid) == (4, 1 if name == "gaps" else 0)
    assert (tmp_path / "config.schema.json").exists()
    again = pixmill("init", str(table), cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_guessed_row_key_is_said_to_be_one_and_where_there_is_none_why(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.csv", rows_of(Name=["mug", "jug", "rug", "cat"], photo=URLS))
    write(tmp_path / "b.csv", rows_of(Price=[1.5, 2.5, 3.5, 4.5], photo=URLS))
    for table in ("a.csv", "b.csv"):
        assert pixmill("init", table, cwd=tmp_path).returncode == 0
    assert "  row_key: [Name]   # a guess: check it; unique" in (
        tmp_path / "a.yaml"
    ).read_text("utf-8")
    written = (tmp_path / "b.yaml").read_text("utf-8")
    assert "  # row_key: [column]   # no column looks like one" in written
    assert load_config(tmp_path / "b.yaml").input.row_key == ()
    shown = pixmill("validate", "b.yaml", cwd=tmp_path)
    assert "note: request.prompt reads no column, so all rows get the same prompt" in (
        shown.stderr
    )


def test_image_files_beside_a_table_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "pixmill" / "cli" / "templates", tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    shown = pixmill("init", "t/pets.csv", "-o", "mine.yaml", cwd=tmp_path)
    assert "row key id, images photo, prompt text" in shown.stderr
    assert "next: pixmill validate mine.yaml" in shown.stderr
    assert "# `pixmill plan mine.yaml` shows" in (tmp_path / "mine.yaml").read_text()
    loaded = load_config(tmp_path / "mine.yaml")
    assert loaded.input.columns == {"image_file": "photo", "prompt": "text"}
    assert plan_config(loaded).invalid == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("numbers.csv",), "no column of numbers.csv looks like image URLs"),
        (("none.csv",), "none.csv"),
        (("pets", "--out", "a.yaml"), "--out is where the config of a table goes"),
        (("book.xlsx",), "book.xlsx"),
    ],
)
def test_what_is_no_table_for_it_is_said_and_nothing_is_written(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "numbers.csv", [{"a": 1, "b": 2}, {"a": 1, "b": 3}])
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    before = sorted(tmp_path.iterdir())
    shown = pixmill("init", *arguments, cwd=tmp_path)
    assert shown.returncode == 2
    assert said in shown.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_on_a_terminal_it_asks_which_of_several_columns_is_meant(
    tmp_path: Path,
) -> None:
    rows = rows_of(id=[1, 2, 3, 4], front=URLS, back=[*URLS[1:], URLS[0]], text=TEXTS)
    write(tmp_path / "both.csv", rows)
    pid, terminal = os.forkpty()
    if pid == 0:
        os.chdir(tmp_path)
        command = [sys.executable, "-m", "pixmill", "init", "both.csv"]
        os.execv(sys.executable, command)
    os.write(terminal, b"nothing\nback\n")
    shown = b""
    # Linux reports an error once everybody on the other side has left.
    with suppress(OSError):
        while part := os.read(terminal, 4096):
            shown += part
    assert os.waitpid(pid, 0)[1] == 0, shown.decode()
    os.close(terminal)
    assert "Which column has the image URLs (front, back)? [front]" in shown.decode()
    assert "'nothing' is not one of them" in shown.decode()
    assert load_config(tmp_path / "both.yaml").input.columns["image_url"] == "back"
