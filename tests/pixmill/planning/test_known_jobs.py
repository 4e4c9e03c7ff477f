"""Planning over a ledger that is read in one pass, and over one that is searched."""

import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.publishing import publish
from pixmill.ledger import Ledger
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.scan import Scan
from pixmill.planning import known_jobs
from pixmill.planning import plan as plans
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.planning.planned_state import PlannedState
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
    edit_ledger(
        config,
        "UPDATE jobs SET state = 'submitted', claim_task = 'task' WHERE rowid = 8",
    )
    project.write_rows(project.rows(60))
    monkeypatch.setattr(known_jobs, "_SCAN_GAIN", gain)
    monkeypatch.setattr(Ledger, other_way, never)
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
    assert plan.states == {
        PlannedState.CACHED: 44,
        PlannedState.REFUSED: 1,
        PlannedState.FAILED: 1,
        PlannedState.IN_DOUBT: 1,
        PlannedState.PENDING: 13,
    }
    assert (plan.again, plan.submitted.tolist()) == (1, [7])
    assert (plan.to_do, plan.to_pay) == (13, 12)
    summary = plan.summary()
    assert (summary["pending"], summary["submitted"]) == (13, 1)


@pytest.mark.parametrize("gain", [0, 1_000_000], ids=["searched", "scanned"])
def test_a_task_that_no_living_process_waits_for_is_found_in_both_ways(
    project: Project, monkeypatch: pytest.MonkeyPatch, gain: int
) -> None:
    project.write_rows(project.rows(6))
    path = project.write_config(output={"images": "url"})
    assert pay_for_everything(path) == 6
    config = load_config(path)
    out = "UPDATE jobs SET claim_task = 'task'"
    dead = "owner = 'elsewhere|boot|1|1', lease_until = 1"
    # With an outcome that is kept; of a dead process; of one that lives; and claimed by a dead one.
    edit_ledger(config, f"{out}, again = 2 WHERE rowid = 1")
    edit_ledger(config, f"{out}, state = 'submitted', {dead} WHERE rowid = 2")
    edit_ledger(
        config,
        f"{out}, state = 'submitted', owner = ? WHERE rowid = 3",
        this_owner(),
    )
    edit_ledger(config, f"UPDATE jobs SET state = 'in_flight', {dead} WHERE rowid = 4")
    monkeypatch.setattr(known_jobs, "_SCAN_GAIN", gain)
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
    assert plan.submitted.tolist() == [0, 1]
    assert plan.states[PlannedState.IN_DOUBT] == 1
    assert (plan.to_do, plan.to_pay) == (3, 1)


def test_tasks_that_are_out_are_asked_for_first_and_whatever_the_limit(
    project: Project,
) -> None:
    """They take places at the provider, and nothing is paid for them."""
    project.write_rows(project.rows(8))
    path = project.write_config(output={"images": "url"}, budget={"price_per_call": 1})
    assert pay_for_everything(path) == 8
    config = load_config(path)
    edit_ledger(config, "UPDATE jobs SET state = 'pending' WHERE rowid < 7")
    edit_ledger(
        config,
        "UPDATE jobs SET state = 'submitted', claim_task = 'task' WHERE rowid IN (3, 5)",
    )
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
    assert [job.row_number for job in plan.pending_jobs()] == [3, 5, 1, 2, 4, 6]
    assert [job.row_number for job in plan.pending_jobs(1)] == [3, 5, 1]
    assert plan.summary()["cost"]["pending"] == 4


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
