"""What the report writes: one page, in one piece, and thumbnails that are made once."""

import os
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from pixmill.cli.report import report as report_command
from pixmill.datasets.report import page as page_module
from pixmill.datasets.report import write_report
from pixmill.errors import UserError
from tests.pixmill.datasets.report.page_text import about, column, inputs, parts
from tests.pixmill.datasets.report.sample_datasets import (
    Row,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
    stored_image,
    with_images,
)


def written(folder: Path, jobs: list[Row], **changes: object) -> Path:
    of = config(folder, **changes)
    publish(of, jobs)
    return write_report(of)


def thumbs(store: Path) -> list[Path]:
    return sorted(store.glob("thumbs/*/*"))


def test_the_report_stands_beside_the_dataset(tmp_path: Path) -> None:
    page = written(tmp_path, with_images(jobs_of(input_rows(3)), tmp_path / "out"))
    assert page == tmp_path / "out" / "pets" / "report" / "index.html"
    assert column(page, "ours", "row_key") == ["pet-00", "pet-01", "pet-02"]
    assert {file.name for file in page.parent.iterdir()} == {"index.html", ".lock"}


def test_numbers_that_a_browser_would_round_are_text(tmp_path: Path) -> None:
    """G28: and those that JSON has no word for are missing."""
    jobs = jobs_of(
        [{**row, "id": at, "weight": at} for at, row in enumerate(input_rows(2))]
    )
    seeds = [2**53 + 1, 7]
    numbered = [
        {**job, "effective_seed": seed, "latency_ms": float("nan"), "id": seed}
        for job, seed in zip(jobs, seeds, strict=True)
    ]
    page = written(tmp_path, numbered)
    assert column(page, "ours", "effective_seed") == ["9007199254740993", "7"]
    assert column(page, "ours", "seed") == [0, 7919]
    assert column(page, "ours", "latency_ms") == [None, None]
    assert column(page, "own", about(page)["own"].index("id")) == [
        "9007199254740993",
        "7",
    ]


def test_without_a_dataset_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.parquet does not exist"):
        write_report(config(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_damaged_dataset_leaves_the_old_report_in_place(tmp_path: Path) -> None:
    of = config(tmp_path)
    dataset = publish(of, jobs_of(input_rows(3)))
    page = write_report(of)
    before = page.read_bytes()
    data = dataset.read_bytes()
    dataset.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="is damaged"):
        write_report(of)
    assert page.read_bytes() == before


def test_a_store_that_can_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(1)))
    (of.dataset_folder / "report").write_text("a file")
    with pytest.raises(UserError, match="the report can't be written"):
        write_report(of)


def test_a_second_report_makes_no_thumbnail(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, with_images(jobs_of(input_rows(5)), of.store_path))
    write_report(of)
    made = thumbs(of.store_path)
    for thumb in made:
        os.utime(thumb, ns=(1, 1))
    write_report(of)
    other = config(tmp_path, name="others")
    publish(other, with_images(jobs_of(input_rows(5)), of.store_path))
    write_report(other)
    assert len(made) == 5
    assert thumbs(of.store_path) == made
    assert {thumb.stat().st_mtime_ns for thumb in made} == {1}


def test_a_thumbnail_that_a_power_loss_emptied_is_made_again(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, with_images(jobs_of(input_rows(1)), of.store_path))
    write_report(of)
    (thumb,) = thumbs(of.store_path)
    thumb.write_bytes(b"")
    write_report(of)
    with Image.open(thumb) as image:
        assert (image.format, image.size) == ("WEBP", (48, 48))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 cut"),
    ],
)
def test_a_missing_or_damaged_image_is_no_reason_to_fail(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    of = config(tmp_path)
    jobs = with_images(jobs_of(input_rows(2)), of.store_path)
    publish(of, jobs)
    damage(of.store_path / jobs[0]["file_name"])
    assert column(write_report(of), "ours", "thumb") == [False, True]


def test_large_images_become_small_and_stand_upright(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "photos" / "a.jpg", exif=exif)
    page = local_report(tmp_path, "photos/a.jpg")
    ((thumb, _),) = inputs(page)
    with Image.open(
        tmp_path / "out" / "thumbs" / str(thumb)[:2] / f"{thumb}.webp"
    ) as image:
        assert image.size == (160, 320)


def local_report(folder: Path, *photos: str) -> Path:
    """A report on rows whose input images are files beside the table."""
    (folder / "pets.csv").write_text("id,photo,text\n")
    jobs = [
        {**job, "photo": photo}
        for job, photo in zip(jobs_of(input_rows(len(photos))), photos, strict=True)
    ]
    columns = {"image_file": "photo", "prompt": "text"}
    return written(
        folder, jobs, input={"path": str(folder / "pets.csv"), "columns": columns}
    )


def test_local_input_images_are_linked_from_the_page(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (30, 30), "red").save(tmp_path / "photos" / "a #1?.jpg")
    page = local_report(tmp_path, "photos/a #1?.jpg")
    ((thumb, link),) = inputs(page)
    assert thumb
    assert link == "../../../photos/a%20%231%3F.jpg"


def test_a_changed_input_image_gets_another_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), "red").save(tmp_path / "a.png")
    ((before, _),) = inputs(local_report(tmp_path, "a.png"))
    Image.new("RGB", (31, 31), "blue").save(tmp_path / "a.png")
    ((after, _),) = inputs(local_report(tmp_path, "a.png"))
    assert before != after


def test_only_images_in_the_folder_of_the_table_are_followed(tmp_path: Path) -> None:
    table = tmp_path / "tables"
    table.mkdir()
    Image.new("RGB", (30, 30), "red").save(tmp_path / "secret.png")
    (table / "page.html").write_text("<script>alert(1)</script>")
    (table / "away.png").symlink_to(tmp_path / "secret.png")
    page = local_report(
        table,
        "../secret.png",
        str(tmp_path / "secret.png"),
        "away.png",
        "page.html",
        "gone.png",
        "a\0b",
    )
    assert inputs(page) == [(None, None)] * 6


def test_an_input_image_that_the_store_keeps_comes_first(tmp_path: Path) -> None:
    of = config(tmp_path)
    kept = stored_image(of.store_path, number=9)
    first, second = jobs_of(input_rows(2))
    publish(of, [{**first, "input_image": kept}, second])
    digest = Path(kept).stem
    assert inputs(write_report(of)) == [
        (digest, f"../../{kept}"),
        (None, "https://images.example.com/1.jpg"),
    ]


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "images/ab/x.jpg", "/etc/passwd", "javascript:alert(1)"],
)
def test_a_file_name_that_no_store_makes_is_not_followed(
    tmp_path: Path, name: str
) -> None:
    image = {
        "file_name": name,
        "sha256": "",
        "width": 1,
        "height": 1,
        "format": "JPEG",
        "bytes": 1,
    }
    (job,) = jobs_of(input_rows(1))
    page = written(tmp_path, [{**job, "file_name": name, "images": [image, image]}])
    assert column(page, "ours", "file") == [None]
    assert column(page, "ours", "more") == [[None]]


def test_the_policy_names_the_hash_of_each_script_and_allows_nothing_else(
    tmp_path: Path,
) -> None:
    found = parts(written(tmp_path, jobs_of(input_rows(1))))
    rules = dict(
        rule.strip().split(" ", 1)
        for rule in found.metas["Content-Security-Policy"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "'self' file:"
    for directive, name in (("script-src", "script"), ("style-src", "style")):
        hashes = [
            b64encode(sha256(text.encode()).digest()).decode()
            for text in found.texts[name]
        ]
        assert rules[directive].split() == [f"'sha256-{of}'" for of in hashes]


def test_our_own_files_ask_for_nothing_and_make_no_markup_from_strings() -> None:
    assets = Path(page_module.__file__).parent / "assets"
    for file in assets.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|@import|url\(",
            text,
        )
        assert not re.search(
            r"fetch\(|XMLHttpRequest|WebSocket|sendBeacon|\|\s*safe", text
        )
        assert not re.search(r"</script|<!--", text) or file.suffix == ".j2"
        assert len(text.splitlines()) <= 350


def test_axes_come_in_the_order_and_with_the_labels_of_the_config(
    tmp_path: Path,
) -> None:
    of = config(tmp_path)
    axes = [
        axis("controlnet_args.0.strength", 0.9, 0.2, 1),
        axis("use_rephraser", True, False),
        axis("style", "oil", "ink"),
    ]
    publish(of, jobs_of(input_rows(1), axes), axes)
    page = write_report(of)
    assert [(of["path"], of["texts"]) for of in about(page)["axes"]] == [
        ("controlnet_args.0.strength", ["0.9", "0.2", "1"]),
        ("use_rephraser", ["true", "false"]),
        ("style", ["oil", "ink"]),
    ]
    assert [of["labels"] for of in about(page)["axes"]][1] == ["True", "False"]
    assert column(page, "axes", 0) == [0] * 4 + [1] * 4 + [2] * 4
    assert column(page, "axes", 1)[:4] == [0, 0, 1, 1]


def test_a_dataset_that_does_not_describe_itself_has_its_axes_by_name(
    tmp_path: Path,
) -> None:
    of = config(tmp_path)
    axes = [axis("scale", 4, 2.5, 10)]
    rows = [{**row, "param_own": "mine", "status": "open"} for row in input_rows(2)]
    jobs = [
        {**job, "pixmill_status": "succeeded", "status": "open"}
        for job in jobs_of(rows, axes)
    ]
    publish(of, jobs, axes, described=False)
    page = write_report(of)
    assert [(of["path"], of["texts"]) for of in about(page)["axes"]] == [
        ("scale", ["2.5", "4", "10"])
    ]
    assert {"param_own", "status"} <= set(about(page)["own"])
    assert column(page, "ours", "status") == ["succeeded"] * 6


def test_rows_without_a_point_stand_on_no_axis(tmp_path: Path) -> None:
    of, axes = config(tmp_path), [axis("scale", 2, 3)]
    jobs = jobs_of(input_rows(1), axes)
    jobs[0] = {
        **ended(jobs[0], "invalid", "missing_url"),
        "param_scale": None,
        "point_id": None,
    }
    publish(of, jobs, axes)
    assert column(write_report(of), "axes", 0) == [None, 1]


def test_columns_that_are_pictures_or_very_long_do_not_fill_the_page(
    tmp_path: Path,
) -> None:
    rows = [
        {
            **row,
            "raw": b"\xff\xd8" * 100_000,
            "notes": "n" * 100_000,
            "text": "t" * 3000,
        }
        for row in input_rows(2)
    ]
    page = written(tmp_path, jobs_of(rows))
    assert about(page)["own"] == ["id", "photo", "text", "weight", "notes"]
    assert column(page, "own", 4) == ["n" * 1000 + "…"] * 2
    assert (
        column(page, "own", 2) == ["t" * 3000] * 2
    )  # the request reads it: it goes into a table of picks
    assert page.stat().st_size < 200_000


def test_beyond_what_a_browser_can_hold_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MOST_JOBS", 3)
    page = written(tmp_path, jobs_of(input_rows(5)))
    found = parts(page)
    assert len(column(page, "ours", "row_key")) == 3
    assert "first 3 of 5 jobs" in found.texts["note"][-1]
    assert any("5 of 5 images" in text for text in found.texts["p"])


def test_a_report_elsewhere_still_finds_the_images(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, with_images(jobs_of(input_rows(1)), of.store_path))
    page = write_report(of, tmp_path / "shared" / "site")
    assert page == tmp_path / "shared" / "site" / "index.html"
    assert about(page)["store"] == "../../out/"


def test_the_command_says_where_the_report_is(tmp_path: Path) -> None:
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(1)))
    path = tmp_path / "pets.yaml"
    path.write_text(of.to_yaml())
    app = typer.Typer()
    app.command()(report_command)
    shown = CliRunner().invoke(
        app,
        [str(path), "--json", "--set", f"store={tmp_path / 'out'}"],
        catch_exceptions=False,
    )
    assert shown.exit_code == 0
    assert (
        shown.stdout
        == f'{{"report": "{of.dataset_folder / "report" / "index.html"}"}}\n'
    )
