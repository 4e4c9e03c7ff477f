"""The scene of a run whose images come by tasks: killed between its claims, submits, polls and pictures."""

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from pixmill.execution import task_poller
from tests.crash.durability import check_kept
from tests.crash.sandboxes import Sandbox, Scene
from tests.crash.whole_runs import (
    ROWS,
    carried_out,
    check_readable,
    check_recovered,
    write,
)
from tests.pixmill.run_checks import ledger


def set_up(sandbox: Sandbox) -> None:
    """Write a table of prompts, and a config that has each painted by a task."""
    project = write(sandbox, ROWS)
    project.config["input"]["columns"] = {"prompt": "text"}
    project.write_config(
        request={"req_key": "jimeng_t2i_v31"},
        limits={"poll_qps": 1000},
    )


def paint(sandbox: Sandbox) -> None:
    """Carry the config out. The provider's tasks take no time, so neither does the first poll of one."""
    task_poller.FIRST_POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    carried_out(sandbox.config)


def note_tasks(sandbox: Sandbox) -> None:
    """Note which tasks are on disk: the process may have been killed before that could be said to it."""
    check_readable(sandbox, 0, ROWS)
    with tempfile.TemporaryDirectory() as folder, sandbox.marks.open("a") as marks:
        # A copy, since whoever opens a ledger after a kill cleans up after it, which is left to the run.
        for path in sandbox.store.glob("ledger.db*"):
            shutil.copy(path, folder)
        for key in tasks_on_disk(Path(folder, "ledger.db")):
            marks.write(json.dumps({"kind": "task", "key": key}) + "\n")


def tasks_on_disk(ledger_file: Path) -> list[str]:
    """Return the keys of jobs for which a ledger, which may be half made, has a task."""
    with closing(sqlite3.connect(ledger_file)) as connection:
        try:
            rows = connection.execute("SELECT job_key FROM jobs WHERE task_id NOTNULL")
            return [key for (key,) in rows]
        except sqlite3.OperationalError:
            return []


def check(sandbox: Sandbox, in_flight: int) -> None:
    """What every run keeps to; and a task on disk was fetched: it is neither in doubt nor paid for again."""
    check_recovered(sandbox, in_flight, paid=0, rows=ROWS)
    check_kept(sandbox)
    jobs = {
        key: Painted(*values)
        for key, *values in ledger(
            sandbox.config, "SELECT job_key, state, task_id, image_count FROM jobs"
        )
    }
    noted = {mark["key"] for mark in sandbox.acknowledged("task")}
    assert {jobs[key].state for key in noted} <= {"succeeded"}
    for job in jobs.values():
        is_painted = job.task_id is not None and job.image_count == 1
        assert is_painted == (job.state == "succeeded")
    # Its id is on disk before a task is polled for the first time.
    polled = sandbox.provider.polled(sandbox.tag)
    dataset = pq.read_table(sandbox.store / "pets" / "dataset.parquet").to_pylist()
    in_doubt = {row["text"] for row in dataset if row["status"] == "in_doubt"}
    assert not polled & in_doubt, "a task was polled that is not on record"
    calls = ledger(sandbox.config, "SELECT job_key FROM attempts")
    assert sorted(key for (key,) in calls) == sorted(jobs), "one call each"


class Painted(NamedTuple):
    """What the ledger has of a job."""

    state: str
    task_id: str | None
    image_count: int | None


TASK_RUN = Scene(set_up=set_up, act=paint, check=check, look=note_tasks)
