"""Files that somebody takes away, or leaves lying about, while a run needs their place."""

import fcntl
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.verification import verify
from pixmill.errors import LedgerError, SpendingRefused
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.spending_rules import check_spending
from pixmill.storage.image_store import ImageStore
from tests.conftest import ROOT, Project, Simulated, results, run_config
from tests.faulty_server import answer
from tests.pixmill.damage import edit_ledger, image_files
from tests.pixmill.run_checks import (
    Fault,
    Provider,
    configure_run,
    picture,
    run_and_check,
    run_to_end,
    simulator_charges,
)
from tests.pixmill.sample_pictures import JPEG


def meanwhile(deed: Callable[[], object], number: int) -> Fault:
    """Do something in the middle of a call, then answer it."""

    def behave(peer: Any) -> None:
        deed()
        answer(picture(f"a pet {number - 1}", number))(peer)

    return Fault(behave, charged=True)


def test_a_dataset_that_is_taken_away_in_mid_run_is_made_anew(
    project: Project,
) -> None:
    """B15: with its history; the next version is whole."""
    folder = project.folder / "out" / "pets"
    with Provider() as provider:
        config = configure_run(project, provider.url, 2, limits={"concurrency": 1})
        run_and_check(config, provider.charges)
        provider.faults[4] = meanwhile(lambda: shutil.rmtree(folder), 4)
        project.write_rows(project.rows(6))
        run = run_and_check(config, provider.charges)
    assert run.column("status") == ["succeeded"] * 6
    assert not list((folder / "history").glob("*.parquet"))
    assert verify(load_config(config)).exit_code == 0


def move(store: Path) -> None:
    for file in store.glob("ledger.db*"):
        file.rename(file.with_name(f"gone-{file.name}"))


def delete(store: Path) -> None:
    for file in store.glob("ledger.db*"):
        file.unlink()


def replace(store: Path) -> None:
    """As whoever puts a backup back."""
    move(store)
    (store / "ledger.db").write_bytes((store / "gone-ledger.db").read_bytes())


def delete_log(store: Path) -> None:
    """As whoever tidies up: it holds what was committed last."""
    (store / "ledger.db-wal").unlink()


def hide(store: Path) -> None:
    store.rename(store.with_name("gone"))
    store.mkdir()
    (store / "images").mkdir()


@pytest.mark.parametrize("at", [3, 6], ids=["in mid run", "during the last call"])
@pytest.mark.parametrize("deed", [move, delete, replace, hide, delete_log])
def test_a_run_whose_ledger_is_taken_away_or_replaced_stops_paying_and_says_so(
    project: Project, deed: Callable[[Path], None], at: int
) -> None:
    """B15: what it pays would be on record nowhere. What it has paid for is published."""
    store = project.folder / "out"
    with Provider({at: meanwhile(lambda: deed(store), at)}) as provider:
        config = configure_run(project, provider.url, 6, limits={"concurrency": 1})
        with pytest.raises(LedgerError, match="while it was in use"):
            run_to_end(lambda: run_config(config))
        assert len(provider.prompts) == at
    published = pq.read_table(store / "pets" / "dataset.parquet")
    assert published["status"].to_pylist() == ["succeeded"] * at + ["skipped"] * (
        6 - at
    )
    if deed in (move, delete_log):
        left = store / ("gone-ledger.db" if deed is move else "ledger.db")
        with closing(sqlite3.connect(left)) as ledger:
            states = ledger.execute(
                "SELECT state, count(*) FROM jobs GROUP BY state"
            ).fetchall()
        assert states == [("succeeded", at)], (
            "the answer that was out is on record where it was"
        )


def test_a_ledger_that_is_taken_away_in_mid_run_pays_for_nothing_again_unasked(
    project: Project,
) -> None:
    """B15: a later run without a ledger needs a person's word."""
    with Provider({3: meanwhile(lambda: move(project.folder / "out"), 3)}) as provider:
        config = configure_run(project, provider.url, 6, limits={"concurrency": 1})
        with pytest.raises(LedgerError):
            run_to_end(lambda: run_config(config))
        with (
            prepare(load_config(config)) as later,
            pytest.raises(SpendingRefused, match="paid for again"),
        ):
            check_spending(later.plan, new_store=False, known=later.known_ledger)


def test_an_image_whose_record_is_missing_is_found_again(
    project: Project, simulated: Simulated
) -> None:
    """B16: the file is there under the hash of its content, so the same bytes take its place and nothing is paid."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    before = run_and_check(project.path, simulator_charges(simulated))
    files = image_files(project)
    edit_ledger(project, "UPDATE jobs SET images = NULL")
    after = run_and_check(project.path, simulator_charges(simulated))
    assert (after.report["calls"], after.report["images_missing"]) == (0, 0)
    assert after.column("file_name") == before.column("file_name")
    assert sorted((project.folder / "out" / "images").rglob("*.*")) == sorted(files)


def test_what_crashes_left_lying_about_disturbs_nobody(
    project: Project, simulated: Simulated
) -> None:
    """B17: halves of images, datasets and ledgers' copies beside the good files."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    published = run_and_check(project.path, simulator_charges(simulated))
    store = project.folder / "out"
    for name in (
        "images/.half.part",
        "pets/.dataset.parquet.tmp",
        "pets/history/.half.tmp",
        ".ledger.db.tmp",
    ):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(b"PAR1 half of it")
    again = run_and_check(project.path, simulator_charges(simulated))
    assert (again.report["exit_code"], again.report["calls"], again.rows) == (
        0,
        0,
        results(published.report),
    )
    assert verify(load_config(project.path)).exit_code == 0
    assert not (store / "pets" / ".dataset.parquet.tmp").exists()


WRITES_HALF_AN_IMAGE = """
import os, signal, sys
from pathlib import Path
from pixmill.storage.image_store import ImageStore
from tests.pixmill.sample_pictures import JPEG

def stop(_):
    print("half", flush=True)
    signal.pause()

os.fsync = stop
ImageStore(Path(sys.argv[1])).save(JPEG)
"""


@contextmanager
def half_writer(store: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written half of an image and goes no further; it is killed in the end."""
    # The folder is there, so that the first sync is that of the image.
    (store / "images" / sha256(JPEG).hexdigest()[:2]).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", WRITES_HALF_AN_IMAGE, str(store)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "half\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("mend", ["run", "repair"])
def test_halves_of_images_of_killed_runs_go_and_those_of_living_ones_stay(
    project: Project, simulated: Simulated, mend: str
) -> None:
    """B17: the next run after one that did not end clears them, and so does a repair."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    run_and_check(project.path, simulator_charges(simulated))
    store = project.folder / "out"
    edit_ledger(project, "UPDATE runs SET finished_at = NULL")
    with half_writer(store):
        pass
    with half_writer(store) as living:
        assert len(list(store.rglob(".*.part"))) == 2
        if mend == "run":
            run_and_check(project.path, simulator_charges(simulated))
        else:
            repair(load_config(project.path))
        (left,) = store.rglob(".*.part")
        assert living.poll() is None
    assert left.exists()
    repair(load_config(project.path))
    assert not list(store.rglob(".*.part"))


def test_an_image_whose_half_was_cleared_away_too_early_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B17: between the making of a half and its lock another process may take it for that of a dead one."""
    store, lock = ImageStore(tmp_path), fcntl.flock
    cleared: list[int] = []

    def too_late(file: Any, how: int) -> None:
        if not cleared:
            cleared.append(how)
            store.clear_parts()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    image = store.save(JPEG)
    assert cleared
    assert (tmp_path / image.file_name).read_bytes() == JPEG
    assert not list(tmp_path.rglob(".*.part"))
