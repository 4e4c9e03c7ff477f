"""A run of what is published already, in which nothing changed; and what keeps a run from taking that for granted."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets import provenance
from pixmill.execution.prepare import prepare
from pixmill.ledger.process_owner import this_owner
from tests.conftest import Project, results, run_config
from tests.pixmill.datasets.publishing import edit_ledger
from tests.pixmill.paid import pay_for_everything

COUNTED = (
    "exit_code",
    "reason",
    "rows",
    "jobs",
    "succeeded",
    "failed",
    "refused",
    "in_doubt",
)
COUNTED += (
    "invalid",
    "skipped",
    "cached",
    "images_missing",
    "calls",
    "cost",
    "dataset",
    "report",
)


@pytest.fixture
def settled(project: Project) -> Project:
    """A project whose dataset is published, from rows that repeat and an invalid one, and of which a note is left."""
    rows = project.rows(20)
    rows[7]["photo"] = "no URL"
    project.write_rows([*rows, rows[3]])
    path = project.write_config(
        output={"images": "url"},
        input={"max_invalid": 1, "row_key": []},
        accept={"invalid": 1},
    )
    pay_for_everything(path)
    edit_ledger(load_config(path), "UPDATE jobs SET state = 'failed' WHERE rowid = 2")
    assert is_made_anew(project)
    assert not is_made_anew(project)
    return project


def folder_of(project: Project) -> Path:
    return load_config(project.path).dataset_folder


def is_made_anew(project: Project, *overrides: str) -> bool:
    """Carry the config out; say whether table and ledger were read for it, by the manifest that this writes."""
    report = run_config(project.path, *overrides)
    manifest = json.loads((folder_of(project) / "manifest.json").read_text())
    return bool(manifest["run_id"] == report["run_id"])


def test_a_run_in_which_nothing_changed_says_and_records_what_it_would_have_otherwise(
    settled: Project,
) -> None:
    folder = folder_of(settled)
    before = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
    short = run_config(settled.path)
    after = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
    assert after == {**before, ".lock": after[".lock"]}
    (folder / ".published.json").unlink()
    full = run_config(settled.path)
    assert {name: short[name] for name in COUNTED} == {
        name: full[name] for name in COUNTED
    }
    assert (short["invalid"], short["failed"], short["jobs"]) == (1, 1, 21)
    written = json.loads((folder / "runs" / f"{short['run_id']}.json").read_text())
    assert {name: written[name] for name in COUNTED} == {
        name: short[name] for name in COUNTED
    }
    with closing(
        sqlite3.connect(load_config(settled.path).store_path / "ledger.db")
    ) as ledger:
        runs = dict(ledger.execute("SELECT run_id, summary FROM runs"))
    assert json.loads(runs[short["run_id"]])["jobs"] == 21


def test_the_plan_of_such_a_run_is_the_plan_that_reads_everything(
    settled: Project,
) -> None:
    config = load_config(settled.path)
    with prepare(config) as run:
        short = run.plan
    (folder_of(settled) / ".published.json").unlink()
    with prepare(config) as run:
        full = run.plan
    assert short.summary() == full.summary()
    assert (short.reasons, short.examples) == (full.reasons, full.examples)
    assert short.first.tolist() == full.first.tolist()
    assert not short.pending.any()
    assert len(short.places) == len(full.places)
    assert [job.keys for job in short.batches()] == [job.keys for job in full.batches()]


def test_a_table_that_was_only_touched_is_the_same(settled: Project) -> None:
    (settled.folder / "pets.csv").touch()
    assert not is_made_anew(settled)


def test_a_page_that_was_removed_is_written_again(settled: Project) -> None:
    page = folder_of(settled) / "report" / "index.html"
    page.unlink()
    assert not is_made_anew(settled)
    assert page.exists()


def in_place(path: Path, old: bytes, new: bytes) -> None:
    """Edit a file so that neither its size nor its times, as far as a person can set them, tell of it."""
    stat = path.stat()
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    with path.open("r+b") as file:
        file.write(data.replace(old, new, 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def sql(statement: str) -> Callable[[Project], None]:
    return lambda project: edit_ledger(load_config(project.path), statement)


def in_dataset(name: str, edit: Callable[[Path], Any]) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        edit(folder_of(project) / name)

    return change


def flip_last_bit(path: Path) -> None:
    data = path.read_bytes()
    in_place(path, data, data[:-1] + bytes([data[-1] ^ 1]))


CHANGES: dict[str, Callable[[Project], Any]] = {
    "a cell edited in place": lambda of: in_place(
        of.folder / "pets.csv", b"a pet 5", b"a pet X"
    ),
    "a column that nothing reads edited in place": lambda of: in_place(
        of.folder / "pets.csv", b"r12,", b"r99,"
    ),
    "rows in another order": lambda of: of.write_rows(of.rows(20)[::-1]),
    "a row more": lambda of: of.write_rows(of.rows(21)),
    "an outcome edited": sql(
        "UPDATE jobs SET rephraser_result = 'other' WHERE rowid = 5"
    ),
    "an outcome written as it was": sql(
        "UPDATE jobs SET state = state WHERE rowid = 5"
    ),
    "an outcome removed": sql("DELETE FROM jobs WHERE rowid = 5"),
    "a job of another table": sql(
        "INSERT INTO jobs (job_key, state, run_id) VALUES ('k', 'x', 'r')"
    ),
    "a mark to pay again": sql("UPDATE jobs SET again = 1 WHERE rowid = 5"),
    "nobody watching the jobs": sql("DROP TRIGGER jobs_revised_by_update"),
    "the revision removed": sql("DELETE FROM job_changes"),
    "the dataset removed": in_dataset("dataset.parquet", Path.unlink),
    "the dataset edited in place": in_dataset("dataset.parquet", flip_last_bit),
    "the invalid rows removed": in_dataset("invalid.parquet", Path.unlink),
    "the invalid rows edited in place": in_dataset("invalid.parquet", flip_last_bit),
    "the manifest removed": in_dataset("manifest.json", Path.unlink),
    "the manifest edited": in_dataset(
        "manifest.json", lambda path: in_place(path, b'"rows": 21', b'"rows": 22')
    ),
    "the config edited": in_dataset(
        "config.yaml", lambda path: path.write_text("name: other")
    ),
    "the note cut off": in_dataset(
        ".published.json", lambda path: path.write_bytes(path.read_bytes()[:-9])
    ),
    "the note emptied": in_dataset(
        ".published.json", lambda path: path.write_text("{}")
    ),
    "an image more": lambda of: (
        load_config(of.path).store_path / "images" / "ab"
    ).mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_changed_table_and_ledger_are_read_again(
    settled: Project, change: Callable[[Project], Any]
) -> None:
    change(settled)
    assert is_made_anew(settled)


@pytest.mark.parametrize(
    "override",
    ["output.keep_versions=3", "request.params={scale: 4}", "input.where=id != 'r1'"],
)
def test_another_config_is_carried_out_anew(settled: Project, override: str) -> None:
    assert is_made_anew(settled, override)


def test_another_version_of_a_package_makes_it_anew(
    settled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pixmill.datasets.provenance.package_versions", lambda: {"pyarrow": "99.9"}
    )
    assert is_made_anew(settled)
    assert not is_made_anew(settled)


def test_other_code_makes_it_anew(
    settled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = settled.folder / "code"
    code.mkdir()
    (code / "results.py").write_text("# changed")
    monkeypatch.setattr("pixmill.datasets.provenance.CODE", code)
    assert is_made_anew(settled)


def test_a_ledger_that_went_another_way_from_a_backup_is_read_again(
    settled: Project,
) -> None:
    """Also where as much was written to it as to the one that it takes the place of."""
    ledger = load_config(settled.path).store_path / "ledger.db"
    kept = settled.folder / "kept.db"
    shutil.copy(ledger, kept)
    sql("UPDATE jobs SET rephraser_result = 'one' WHERE rowid = 5")(settled)
    assert is_made_anew(settled)
    assert not is_made_anew(settled)
    shutil.copy(kept, ledger)
    sql("UPDATE jobs SET rephraser_result = 'two' WHERE rowid = 5")(settled)
    report = run_config(settled.path)
    assert "two" in {row["rephraser_result"] for row in results(report)}


def test_what_is_written_while_a_run_publishes_is_found_by_the_next(
    project: Project,
) -> None:
    project.write_rows(project.rows(5))
    path = project.write_config(output={"images": "url"})
    pay_for_everything(path)
    config = load_config(path)
    with prepare(config) as prepared:
        edit_ledger(config, "UPDATE jobs SET rephraser_result = 'late' WHERE rowid = 3")
        prepared.start().finish()
    assert is_made_anew(project)
    assert not is_made_anew(project)


def test_what_changes_between_the_look_and_the_end_of_a_run_is_published_by_it(
    settled: Project,
) -> None:
    config = load_config(settled.path)
    with prepare(config) as prepared:
        edit_ledger(config, "UPDATE jobs SET rephraser_result = 'late' WHERE rowid = 3")
        run = prepared.start()
        report = run.finish().as_dict()
    assert "late" in {row["rephraser_result"] for row in results(report)}
    with prepare(config) as prepared:
        run = prepared.start()
        Path(report["dataset"]).unlink()
        assert len(results(run.finish().as_dict())) == 21


def test_a_job_that_somebody_holds_is_looked_at_in_every_run(settled: Project) -> None:
    """Its process may end without a word in the ledger."""
    edit_ledger(
        load_config(settled.path),
        "UPDATE jobs SET owner = ? WHERE rowid = 3",
        this_owner(),
    )
    assert is_made_anew(settled)
    assert is_made_anew(settled)


def test_a_job_with_a_task_that_is_out_is_looked_at_in_every_run(
    settled: Project,
) -> None:
    """Nobody holds it, and its outcome comes once somebody asks."""
    config = load_config(settled.path)
    edit_ledger(config, "UPDATE jobs SET claim_task = 'task' WHERE rowid = 2")
    with prepare(config) as run:
        assert (run.run_plan.unchanged, run.to_do, run.to_pay) == (None, 1, 0)


def test_images_that_are_still_to_be_fetched_are_asked_for_in_every_run(
    project: Project,
) -> None:
    project.write_rows(project.rows(3))
    path = project.write_config(output={"images": "download"})
    pay_for_everything(path, url_expires_at=4_000_000_000_000_000)
    for _ in range(3):
        with prepare(load_config(path)) as prepared:
            assert prepared.plan.has_images_to_fetch
            assert prepared.start().finish().images_missing == 3


def test_what_a_run_paid_for_is_published_as_cached_by_the_next(
    project: Project,
) -> None:
    project.write_rows(project.rows(4))
    path = project.write_config(output={"images": "url"})
    assert run_config(path)["cached"] == 0
    assert is_made_anew(project)
    report = run_config(path)
    assert report["cached"] == 4
    assert all(row["cached"] for row in results(report))


def test_another_version_of_any_room_makes_the_dataset_anew() -> None:
    """Whatever reads, judges or writes is part of what a note was made of."""
    files = {
        path.relative_to(provenance.CODE) for path in provenance.CODE.rglob("*.py")
    }
    assert {Path("datasets/schema.py"), Path("tables/batch.py")} <= files
