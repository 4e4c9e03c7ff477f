"""Planning over a ledger that is read in one pass, and over one that is searched."""

import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.publishing import publish
from pixmill.ledger import Ledger
from pixmill.ledger.scan import Scan
from pixmill.planning import known_jobs
from pixmill.planning import plan as plans
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import PlannedState
from pixmill.planning.planner import make_plan
from pixmill.tables import RowBatch
from tests.conftest import Project, results, run_config
from tests.pixmill.datasets.publishing import edit_ledger, opened
from tests.pixmill.paid import pay_for_everything


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("this way is the slower one")


@pytest.mark.parametrize(("gain", "other_way"), [(0, "scan"), (1_000_000, "known")])
def test_both_ways_make_the_same_plan(
    project: Project, monkeypatch: pytest.MonkeyPatch, gain: int, other_way: str
) -> None:
    project.write_rows(project.rows(50))
    path = project.write_config(output={"images": "url"})
    assert pay_for_everything(path) == 50
    config = load_config(path)
    for state, rowid in (
        ("failed", 2),
        ("refused", 3),
        ("in_doubt", 4),
        ("pending", 5),
    ):
        edit_ledger(config, "UPDATE jobs SET state = ? WHERE rowid = ?", state, rowid)
    edit_ledger(config, "UPDATE jobs SET again = 1 WHERE rowid = 7")
    project.write_rows(project.rows(60))
    monkeypatch.setattr(known_jobs, "_SCAN_GAIN", gain)
    monkeypatch.setattr(Ledger, other_way, never)
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
    assert plan.states == {
        PlannedState.CACHED: 45,
        PlannedState.REFUSED: 1,
        PlannedState.FAILED: 1,
        PlannedState.IN_DOUBT: 1,
        PlannedState.PENDING: 12,
    }
    assert plan.again == 1


def test_the_table_is_read_while_the_ledger_is_scanned(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_rows(project.rows(50))
    path = project.write_config(output={"images": "url"})
    assert pay_for_everything(path) == 50
    config = load_config(path)
    monkeypatch.setattr(plans, "BATCH_JOBS", 10)
    is_read = threading.Event()
    expand = JobExpander.expand
    scan = Ledger.scan

    def expand_and_tell(expander: JobExpander, batch: RowBatch) -> JobBatch:
        jobs = expand(expander, batch)
        if batch.first_row == 41:
            is_read.set()
        return jobs

    def scan_later(ledger: Ledger, **rules: Any) -> Scan:
        assert is_read.wait(30)
        return scan(ledger, **rules)

    monkeypatch.setattr(JobExpander, "expand", expand_and_tell)
    monkeypatch.setattr(Ledger, "scan", scan_later)
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
    assert (plan.states[PlannedState.CACHED], plan.to_pay) == (50, 0)


def test_a_job_is_not_paid_for_because_another_key_begins_as_its_own_does(
    project: Project,
) -> None:
    """Nor is one that is paid for paid again: keys are compared to their ends."""
    project.write_rows(project.rows(3))
    path = project.write_config(output={"images": "url"})
    assert pay_for_everything(path) == 3
    config = load_config(path)
    ledger_file = config.store_path / "ledger.db"
    with closing(sqlite3.connect(ledger_file)) as ledger, ledger:
        keys = [
            key for (key,) in ledger.execute("SELECT job_key FROM jobs ORDER BY rowid")
        ]
        # The first is paid for under a key that differs in its last digit only; the second beside such a one.
        ledger.execute(
            "UPDATE jobs SET job_key = ? WHERE job_key = ?", (other(keys[0]), keys[0])
        )
        ledger.execute(
            "INSERT INTO jobs (job_key, state, run_id) VALUES (?, 'failed', 'r')",
            (other(keys[1]),),
        )
    with opened(config) as open_one:
        plan = make_plan(config, open_one)
    assert (plan.states[PlannedState.CACHED], plan.to_pay) == (2, 1)
    assert [job.key for job in plan.pending_jobs()] == [keys[0]]
    report = run_config(path)
    assert (report["calls"], report["succeeded"], report["failed"]) == (1, 3, 0)


def other(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def test_every_row_gets_its_own_outcome_whatever_happens_to_the_places_of_the_ledger(
    project: Project,
) -> None:
    """SQLite may give a table's rows other numbers when somebody compacts the file."""
    project.write_rows(project.rows(40))
    path = project.write_config(output={"images": "url"})
    assert pay_for_everything(path) == 40
    config = load_config(path)
    edit_ledger(config, "UPDATE jobs SET request_id = job_key")
    edit_ledger(config, "DELETE FROM jobs WHERE rowid % 4 = 0")
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
        edit_ledger(config, "UPDATE jobs SET rowid = 2041 - rowid")
        edit_ledger(config, "UPDATE jobs SET rowid = rowid - 2000")
        published = publish(plan, ledger, "this-run")
        assert set(make_plan(config, ledger).places.tolist()) != set(
            plan.places.tolist()
        )
    rows = results({"dataset": published.path})
    found = {
        row["job_key"]: row["request_id"]
        for row in rows
        if row["status"] == "succeeded"
    }
    assert [key for key, request_id in found.items() if key != request_id] == []
    assert len(found) == 30
