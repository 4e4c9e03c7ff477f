"""What was published is read again to the last byte: every kind of damage is found, named and told apart."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.findings import Finding, Verified
from pixmill.datasets.verification import verify
from pixmill.errors import UserError
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.damage import (
    ROWS,
    copied,
    dataset,
    edit_ledger,
    flip,
    image_files,
    rows,
    running,
    sha256,
    store,
)

__all__ = ["running", "store"]


@pytest.fixture
def paid(project: Project, store: Path, running: Simulated) -> Project:
    """A project whose rows are paid for, with their images."""
    return copied(project, store, running)


def verified(project: Project) -> Verified:
    return verify(load_config(project.path))


def only(project: Project) -> Finding:
    """The one thing that is wrong."""
    found = verified(project)
    assert found.exit_code == 3
    (finding,) = found.findings
    return finding


def test_an_untouched_store_is_all_right(paid: Project) -> None:
    paid.write_rows(paid.rows(ROWS - 1))
    run_config(paid.path)
    found = verified(paid)
    assert (
        found.exit_code,
        found.rows,
        found.images,
        found.versions,
        found.findings,
    ) == (
        0,
        ROWS - 1,
        ROWS - 1,
        1,
        [],
    )


def test_a_run_without_images_and_with_invalid_rows_is_all_right(
    project: Project, running: Simulated
) -> None:
    project.write_rows(
        [*project.rows(ROWS), {"id": "x", "photo": "no url", "text": "a pet"}]
    )
    project.use_simulator(running)
    project.write_config(output={"images": "url"}, input={"max_invalid": 1})
    run_config(project.path, limit=2)
    found = verified(project)
    assert (found.exit_code, found.rows, found.images) == (0, ROWS + 1, 0)


def test_nothing_is_written(paid: Project) -> None:
    def state() -> dict[str, tuple[int, int]]:
        seen = {
            str(path): path.stat()
            for path in paid.folder.rglob("*")
            if path.is_file() and "-" not in path.suffix
        }
        return {name: (of.st_mtime_ns, of.st_size) for name, of in seen.items()}

    before = state()
    flip(image_files(paid)[0], 100)
    after_damage = state()
    verified(paid)
    assert before != after_damage == state()


# Images


def test_one_flipped_byte_in_an_image_is_found(paid: Project) -> None:
    image = image_files(paid)[2]
    flip(image, image.stat().st_size // 2)
    finding = only(paid)
    assert (finding.file, finding.problem, finding.row_number) == (
        str(image),
        "damaged",
        3,
    )
    assert "while its URL lives, until " in finding.remedy


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda image: image.unlink(), "missing"),
        (lambda image: image.write_bytes(image.read_bytes() + b"x"), "wrong_size"),
        (
            lambda image: (
                image.rename(image.with_suffix(".kept")),
                image.symlink_to("/dev/zero"),
            ),
            "no_file",
        ),
        (lambda image: (image.unlink(), os.mkfifo(image)), "no_file"),
    ],
)
def test_a_file_that_is_not_what_was_stored_is_named(
    paid: Project, harm: Callable[[Path], object], problem: str
) -> None:
    image = image_files(paid)[ROWS - 1]
    harm(image)
    finding = only(paid)
    assert (finding.file, finding.problem, finding.row_number) == (
        str(image),
        problem,
        ROWS,
    )


def test_a_name_that_leads_out_of_the_store_is_not_followed(paid: Project) -> None:
    """A dataset may have been edited, too."""
    table = pq.read_table(dataset(paid))
    images = table["images"].to_pylist()
    images[0][0]["file_name"] = "images/../../../../../dev/zero\x1b]0;x\x07"
    at = table.schema.get_field_index("images")
    edited = table.set_column(
        at, table.schema.field(at), pa.array(images, table.schema.field(at).type)
    )
    pq.write_table(edited, dataset(paid))
    named = [
        finding
        for finding in verified(paid).findings
        if finding.problem == "foreign_name"
    ]
    assert [(finding.row_number, finding.file.isprintable()) for finding in named] == [
        (1, True)
    ]


def test_a_dead_url_is_no_remedy(paid: Project) -> None:
    edit_ledger(paid, "UPDATE jobs SET url_expires_at = 1")
    run_config(paid.path)
    image_files(paid)[0].unlink()
    remedy = only(paid).remedy
    assert remedy.startswith("its URL expired at 1970-01-01")
    assert "backup" in remedy


def test_an_image_that_several_rows_name_is_read_once(
    project: Project, running: Simulated
) -> None:
    project.write_rows(project.rows(1) * 3)
    project.use_simulator(running)
    run_config(project.path)
    image_files(project)[0].unlink()
    found = verified(project)
    assert (found.rows, found.images, dict(found.problems)) == (3, 1, {"missing": 1})


def test_the_list_of_findings_ends_but_their_count_does_not(
    paid: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixmill.datasets.findings.LISTED", 2)
    for image in image_files(paid):
        image.unlink()
    said = verified(paid).as_dict()
    assert (said["wrong"], said["problems"], len(said["findings"])) == (
        ROWS,
        {"missing": ROWS},
        2,
    )


# Dataset, manifest, history


def test_a_truncated_dataset_is_found_and_the_rest_still_read(paid: Project) -> None:
    dataset(paid).write_bytes(dataset(paid).read_bytes()[:-100])
    found = verified(paid)
    assert found.exit_code == 3
    assert {finding.file for finding in found.findings} == {str(dataset(paid))}
    assert dict(found.problems) == {"manifest": 1, "damaged": 1}
    assert "bytes where its manifest says" in found.findings[0].message


def test_one_flipped_byte_in_the_dataset_is_found(paid: Project) -> None:
    flip(dataset(paid), 1000)
    assert str(dataset(paid)) in {finding.file for finding in verified(paid).findings}


def test_a_page_that_is_damaged_is_found_though_the_manifest_agrees(
    paid: Project,
) -> None:
    """The checksums of pages, apart from that of the file."""
    column = pq.read_metadata(dataset(paid)).row_group(0).column(0)
    # The last byte of a page: headers have no checksum.
    flip(dataset(paid), column.data_page_offset + column.total_compressed_size - 1)
    manifest = dataset(paid).with_name("manifest.json")
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "sha256": sha256(dataset(paid))}))
    assert only(paid).problem == "damaged"


@pytest.mark.parametrize(
    ("edit", "where", "words"),
    [
        ({"sha256": "0" * 64}, "dataset.parquet", "SHA-256"),
        ({"bytes": 7}, "dataset.parquet", "its manifest says 7"),
        ({"rows": 7}, "manifest.json", "says 7 rows, the dataset has 6"),
        (
            {"counts": {"succeeded": 7}},
            "manifest.json",
            "says 7 succeeded, the dataset has 6",
        ),
        ({"counts": None}, "manifest.json", "says None succeeded, the dataset has 6"),
    ],
)
def test_an_edited_manifest_is_found(
    paid: Project, edit: dict[str, Any], where: str, words: str
) -> None:
    manifest = dataset(paid).with_name("manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **edit}))
    finding = only(paid)
    assert (Path(finding.file).name, finding.problem) == (where, "manifest")
    assert words in finding.message


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_manifest_that_says_nothing_is_found(paid: Project, content: str) -> None:
    dataset(paid).with_name("manifest.json").write_text(content)
    assert "manifest.json" in {
        Path(finding.file).name for finding in verified(paid).findings
    }


def history(project: Project) -> Path:
    """The one earlier version, made by publishing another table."""
    project.write_rows(project.rows(ROWS - 1))
    run_config(project.path)
    (version,) = (dataset(project).parent / "history").glob("*.parquet")
    return version


def test_a_damaged_earlier_version_is_found(paid: Project) -> None:
    version = history(paid)
    flip(version, 1000)
    finding = only(paid)
    assert (finding.file, finding.problem) == (str(version), "history")


def test_an_earlier_version_without_a_manifest_is_held_against_its_pages(
    paid: Project,
) -> None:
    """A run that was killed between the two files leaves one."""
    version = history(paid)
    version.with_suffix(".json").unlink()
    assert verified(paid).exit_code == 0
    version.write_bytes(version.read_bytes()[:-100])
    assert only(paid).problem == "history"


def test_without_a_dataset_there_is_nothing_to_verify(project: Project) -> None:
    project.write_config()
    with pytest.raises(UserError, match=r"dataset\.parquet does not exist"):
        verified(project)


# Ledger


def test_a_job_that_the_ledger_does_not_know_would_be_paid_again(
    paid: Project,
) -> None:
    key = rows(paid)[3]["job_key"]
    edit_ledger(paid, "DELETE FROM jobs WHERE job_key = ?", key)
    finding = only(paid)
    assert (Path(finding.file).name, finding.problem, finding.row_number) == (
        "ledger.db",
        "not_in_ledger",
        4,
    )
    assert "pay again" in finding.remedy


def test_a_dataset_that_contradicts_the_ledger_is_found(paid: Project) -> None:
    key = rows(paid)[1]["job_key"]
    edit_ledger(paid, "UPDATE jobs SET state = 'failed' WHERE job_key = ?", key)
    finding = only(paid)
    assert (finding.problem, finding.row_number) == ("outdated", 2)
    assert "succeeded in the dataset, failed here" in finding.message


def test_that_a_run_is_ahead_of_the_dataset_is_no_fault(
    project: Project, running: Simulated
) -> None:
    """Two configs share a store: what the other one paid for is no damage of this one's dataset."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(running)
    run_config(project.path, limit=2)
    run_config(project.path, "name=others")
    assert verified(project).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000])
def test_a_ledger_that_is_none_is_found(paid: Project, content: bytes) -> None:
    (paid.folder / "out" / "ledger.db").write_bytes(content)
    found = verified(paid)
    assert dict(found.problems) == {"ledger": 1}
    assert found.images == ROWS


def test_damage_inside_the_ledger_is_found(paid: Project) -> None:
    path = paid.folder / "out" / "ledger.db"
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for page in range(1, len(data) // size):
        data[page * size : page * size + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "ledger" in verified(paid).problems
