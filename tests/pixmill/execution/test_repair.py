"""Images that were paid for come back without a call while their URLs live; what is lost is said, not paid again."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.verification import verify
from pixmill.errors import PixmillError, UserError
from pixmill.execution.repair import Repaired, repair
from tests.conftest import Project, Simulated, run_config
from tests.faulty_server import FaultyServer, Peer, answer, message
from tests.pixmill.damage import (
    ROWS,
    copied,
    dataset,
    edit_ledger,
    flip,
    image_files,
    rows,
    running,
    store,
)
from tests.pixmill.run_checks import ledger
from tests.pixmill.sample_pictures import JPEG

__all__ = ["running", "store"]

TOMORROW = 4_102_441_200_000_000
"""Microseconds since 1970, far ahead."""


@pytest.fixture
def paid(project: Project, store: Path, running: Simulated) -> Iterator[Project]:
    """A project whose rows are paid for, with their images; nothing that is done to it may cost a call."""
    calls = running.bill.calls
    yield copied(project, store, running)
    assert running.bill.calls == calls
    assert ledger(project.path, "SELECT count(*) FROM attempts") == [(ROWS,)]


def repaired(project: Project) -> Repaired:
    return repair(load_config(project.path))


def is_sound(project: Project) -> bool:
    found = verify(load_config(project.path))
    return found.findings == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda image: image.unlink(),
        lambda image: flip(image, 200),
        lambda image: image.write_bytes(b""),
        lambda image: (
            image.rename(image.with_suffix(".elsewhere")),
            image.symlink_to("nowhere"),
        ),
    ],
)
def test_a_missing_or_damaged_image_comes_back_without_a_call(
    paid: Project, harm: Callable[[Path], object]
) -> None:
    image, content = image_files(paid)[1], image_files(paid)[1].read_bytes()
    harm(image)
    done = repaired(paid)
    assert (
        done.exit_code,
        done.checked.images,
        done.checked.forgotten,
        done.fetched,
    ) == (
        0,
        ROWS,
        1,
        1,
    )
    assert image.read_bytes() == content
    assert {row["error_code"] for row in rows(paid)} == {None}
    assert is_sound(paid)


def test_where_nothing_is_wrong_nothing_changes(paid: Project) -> None:
    repaired(paid)  # from now on all of it is cached
    before = dataset(paid).stat()
    done = repaired(paid)
    assert (done.exit_code, done.checked.forgotten, done.fetched, done.missing) == (
        0,
        0,
        0,
        [],
    )
    assert dataset(paid).stat().st_ino == before.st_ino


def test_an_image_whose_url_has_died_is_lost_and_the_dataset_says_so(
    paid: Project,
) -> None:
    image_files(paid)[4].unlink()
    edit_ledger(
        paid,
        "UPDATE jobs SET url_expires_at = 1, output_urls = replace(output_urls, 'x-expires=', 'x-expires=1')",
    )
    done = repaired(paid)
    assert (done.exit_code, done.fetched, dict(done.codes)) == (3, 0, {"image_lost": 1})
    assert [(row.row_number, row.error_code) for row in done.missing] == [
        (5, "image_lost")
    ]
    row = rows(paid)[4]
    assert (row["status"], row["error_code"], row["file_name"]) == (
        "succeeded",
        "image_lost",
        None,
    )
    assert row["output_url"]
    assert is_sound(paid)
    assert repaired(paid).exit_code == 3, "lost is not found again"


def test_an_image_that_came_inside_its_answer_is_lost_at_once(paid: Project) -> None:
    edit_ledger(paid, "UPDATE jobs SET output_urls = NULL, url_expires_at = NULL")
    image_files(paid)[0].unlink()
    assert dict(repaired(paid).codes) == {"image_lost": 1}


def test_an_image_that_can_not_be_had_now_stays_pending(paid: Project) -> None:
    image_files(paid)[0].unlink()
    paid.write_config(output={"allow_hosts": []})
    done = repaired(paid)
    assert (done.exit_code, dict(done.codes)) == (3, {"image_pending": 1})
    paid.write_config(output={"allow_hosts": ["127.0.0.1"]})
    assert repaired(paid).exit_code == 0
    assert is_sound(paid)


def test_rows_that_are_not_paid_for_stay_so(paid: Project) -> None:
    paid.write_rows(paid.rows(ROWS + 2))
    image_files(paid)[0].unlink()
    assert repaired(paid).exit_code == 0
    assert [row["status"] for row in rows(paid)] == ["succeeded"] * ROWS + [
        "skipped"
    ] * 2


def test_pictures_of_the_built_in_simulator_come_back(project: Project) -> None:
    """Its server runs again for them, at the address that their URLs have."""
    project.write_rows(project.rows(3))
    run_config(project.write_config())
    image_files(project)[2].unlink()
    assert repaired(project).exit_code == 0
    assert is_sound(project)
    bill = project.folder / "out" / "simulated" / "bill.jsonl"
    assert len(bill.read_text().splitlines()) == 3


# What dies soonest


def test_what_dies_soonest_is_fetched_first(
    paid: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixmill.execution.image_downloads.THREADS", 1)
    monkeypatch.setattr("pixmill.execution.repair._WINDOW", 2)
    with FaultyServer(answer(JPEG)) as album:
        numbers = [5, 3, 6, 1, 4, 2]
        for row, number in zip(rows(paid), numbers, strict=True):
            edit_ledger(
                paid,
                "UPDATE jobs SET images = NULL, output_urls = ?, url_expires_at = ? WHERE job_key = ?",
                json.dumps([f"{album.url}/{number}"]),
                TOMORROW + number,
                row["job_key"],
            )
        done = repaired(paid)
        asked = [
            int(request.split()[1].removeprefix(b"/")) for request in album.requests
        ]
    assert (done.fetched, asked) == (ROWS, [1, 2, 3, 4, 5, 6])


def test_an_interrupted_repair_publishes_what_it_has(paid: Project) -> None:
    edit_ledger(paid, "UPDATE jobs SET images = NULL")
    with FaultyServer(interrupting := _Interrupting()) as album:
        edit_ledger(
            paid,
            "UPDATE jobs SET output_urls = ?",
            json.dumps([f"{album.url}/picture"]),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pixmill.execution.image_downloads.THREADS", 1)
            done = repaired(paid)
    assert interrupting.met.is_set()
    assert done.exit_code == 130
    assert 1 <= done.fetched < ROWS
    assert sum(row["file_name"] is not None for row in rows(paid)) == done.fetched


class _Interrupting:
    """Interrupts this process at the first request, and answers once the run has heard of it."""

    def __init__(self) -> None:
        self.met = threading.Event()

    def __call__(self, peer: Peer) -> None:
        if not self.met.is_set():
            self.met.set()
            os.kill(os.getpid(), signal.SIGINT)
            peer.stopped.wait(0.5)
        peer.send(message(JPEG))


# The store itself


def test_a_damaged_dataset_is_published_anew_and_does_not_become_history(
    paid: Project,
) -> None:
    before = rows(paid)
    dataset(paid).write_bytes(dataset(paid).read_bytes()[:-100])
    assert repaired(paid).exit_code == 0
    assert [{**row, "cached": False} for row in rows(paid)] == [
        {**row, "cached": False} for row in before
    ]
    assert is_sound(paid)
    assert sorted(path.name for path in dataset(paid).parent.glob("*.parquet")) == [
        "dataset.parquet",
        "invalid.parquet",
    ]
    assert not list((dataset(paid).parent / "history").glob("*"))


def test_a_damaged_footer_is_not_taken_for_the_same_dataset(paid: Project) -> None:
    """The pages are whole, so that only the manifest tells."""
    repaired(paid)
    flip(dataset(paid), dataset(paid).read_bytes().rindex(b"parquet-cpp-arrow"))
    assert len(rows(paid)) == ROWS
    assert not is_sound(paid)
    repaired(paid)
    assert is_sound(paid)


def test_an_edited_manifest_is_written_anew(paid: Project) -> None:
    manifest = dataset(paid).with_name("manifest.json")
    manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "sha256": "0" * 64})
    )
    assert not is_sound(paid)
    repaired(paid)
    assert is_sound(paid)


def test_without_a_ledger_nothing_is_repaired(project: Project) -> None:
    project.write_rows(project.rows(1))
    project.write_config()
    with pytest.raises(UserError, match="no ledger"):
        repaired(project)
    assert not (project.folder / "out").exists()


def test_a_store_whose_images_are_not_mounted_loses_none(paid: Project) -> None:
    images = paid.folder / "out" / "images"
    away = images.rename(paid.folder / "elsewhere")
    with pytest.raises(UserError, match="images is not there"):
        repaired(paid)
    away.rename(images)
    assert is_sound(paid)


def test_a_disk_that_takes_no_images_ends_the_repair(paid: Project) -> None:
    image = image_files(paid)[0]
    image.unlink()
    image.parent.rename(paid.folder / "elsewhere")
    image.parent.write_text("a file where the folder should be")
    with pytest.raises(PixmillError, match="images can't be stored"):
        repaired(paid)
    image.parent.unlink()
    (paid.folder / "elsewhere").rename(image.parent)
    assert repaired(paid).exit_code == 0
    assert is_sound(paid)


# Input images


def keep_inputs(project: Project, running: Simulated, album: FaultyServer) -> None:
    """Pay for two rows whose input images are of `album`, and kept."""
    rows = project.rows(2)
    project.write_rows(
        [{**row, "photo": f"{album.url}/{row['id']}.jpg"} for row in rows]
    )
    project.use_simulator(running)
    run_config(project.write_config(input={"images": "keep"}))


def test_a_damaged_input_image_is_asked_for_again(
    project: Project, running: Simulated
) -> None:
    with FaultyServer(answer(JPEG)) as album:
        keep_inputs(project, running, album)
        kept = project.folder / "out" / rows(project)[0]["input_image"]
        flip(kept, 10)
        assert not is_sound(project)
        done = repaired(project)
    assert (done.exit_code, done.missing_inputs) == (0, 0)
    assert kept.read_bytes() == JPEG
    assert is_sound(project)


def test_an_input_image_that_is_gone_everywhere_is_said_to_be_missing(
    project: Project, running: Simulated
) -> None:
    with FaultyServer(answer(JPEG)) as album:
        keep_inputs(project, running, album)
        (project.folder / "out" / rows(project)[0]["input_image"]).unlink()
        album.script = (answer(b"", 404),)
        done = repaired(project)
    assert (done.exit_code, done.missing_inputs, dict(done.codes)) == (3, 2, {})
    assert {(row["status"], row["input_image"]) for row in rows(project)} == {
        ("succeeded", None)
    }
    assert is_sound(project)
