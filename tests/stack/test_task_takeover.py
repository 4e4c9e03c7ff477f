"""A machine that is lost while its tasks work: another one, on the same PostgreSQL, takes them over after the lease."""

from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text

from pixmill.ledger import open_ledger
from tests.conftest import Project, results, simulator
from tests.fork_server import fork_code
from tests.pixmill.execution.test_tasks import submits, write_tasks
from tests.real_command import wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.filterwarnings(
        "ignore:XDG_RUNTIME_DIR"
    ),  # of the library that starts PostgreSQL
]

ROWS, LOST = 6, 3
RUN = "from tests.conftest import run_config; import sys; run_config(sys.argv[1])"
ELSEWHERE = f"""
from pixmill.ledger import process_owner
process_owner._place = lambda pid: "another host|machine|namespace|boot"
{RUN}
"""
"""A run of a process that the others can't look for, as it is on another machine."""


def test_the_tasks_of_a_lost_machine_are_taken_over_when_their_lease_has_ended(
    project: Project, database_url: str
) -> None:
    """C5, E14: two real processes; what the first one started is fetched by the second, and nothing submitted twice."""
    with simulator(project.folder, "--latency", "2") as simulated:
        config = write_tasks(
            project,
            simulated,
            ROWS,
            ledger=database_url,
            limits={"concurrency": LOST},
        )
        with fork_code(ELSEWHERE, config) as lost:
            wait_until(lambda: len(held(database_url)) == LOST, "tasks")
            lost.kill()
            lost.wait()
        left = held(database_url)
        with fork_code(RUN, config) as early:
            early.wait(60)
        assert held(database_url) == left, "the lease is honoured"
        assert submits(simulated).total() == ROWS
        end_leases(database_url)
        with fork_code(RUN, config) as late:
            assert late.wait(60) == 0
        assert submits(simulated).total() == len(submits(simulated)) == ROWS
    rows = results({"dataset": project.folder / "out" / "pets" / "dataset.parquet"})
    assert {row["status"] for row in rows} == {"succeeded"}
    assert {task_id for _, task_id in left} <= {row["task_id"] for row in rows}


def held(address: str) -> list[tuple[Any, ...]]:
    """The owners and ids of the tasks that are out."""
    ledger = open_ledger(address)
    assert ledger
    with closing(ledger), ledger.database.reading.connect() as connection:
        rows = connection.execute(
            text("SELECT owner, claim_task FROM jobs WHERE claim_task IS NOT NULL")
        )
        return sorted(tuple(row) for row in rows)


def end_leases(address: str) -> None:
    """Let the time pass for which the claims of lost processes are honoured."""
    ledger = open_ledger(address)
    assert ledger
    with closing(ledger), ledger.database.writing.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_until = 1"))
