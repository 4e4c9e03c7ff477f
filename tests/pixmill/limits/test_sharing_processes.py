"""Four real processes, one account: its limits hold for all of them together, and are used."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from sqlalchemy import Connection, func, select

from pixmill.ledger import open_ledger
from pixmill.ledger.schema import jobs, runs, shares
from tests.conftest import ROOT, Project, simulator
from tests.fork_server import RUN
from tests.pixmill.ledger.conftest import address, database_url, postgres
from tests.pixmill.run_checks import configure_run
from tests.real_command import wait_until

__all__ = ["address", "database_url", "postgres"]

QPS, CONCURRENCY = 20, 10
PROCESSES = 4
COUNTED = 100
"""Calls after which it is looked at how many were refused."""

Answered = TypeVar("Answered")


@contextmanager
def running(config: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process of its own, which is killed when the body ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, config], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def config_of(folder: Path, number: int, url: str, ledger: str) -> str:
    """A config on a table of its own, with the ceilings that the account has."""
    (folder / str(number)).mkdir()
    project = Project(folder / str(number))
    project.write_config(name=f"pets-{number}", store=str(folder / "store"))
    if "://" in ledger:
        project.write_config(ledger=ledger)
    configure_run(project, url, 1, limits={"qps": QPS, "concurrency": CONCURRENCY})
    project.write_rows(project.rows(400, prefix=f"of {number}:"))
    return project.path


def ask(ledger: str, question: Callable[[Connection], Answered]) -> Answered:
    """What the ledger answers, from one moment."""
    opened = open_ledger(ledger)
    assert opened
    try:
        return opened.read(question)
    finally:
        opened.close()


class Leases(NamedTuple):
    """The shares that processes have at a moment: calls in flight and fractions of the rate."""

    held: list[int]
    fractions: list[float]

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the account is left over, and nobody has next to nothing."""
        shares = sum(self.fractions)
        return shares == pytest.approx(1) and min(self.fractions) >= 0.5 / PROCESSES


def leases(connection: Connection) -> Leases:
    records = [
        json.loads(record)
        for record in connection.execute(select(shares.c.record)).scalars()
    ]
    return Leases(
        [record["report"]["held"] for record in records],
        [record["portion"] for record in records],
    )


def in_flight(connection: Connection) -> int:
    """Calls that are claimed and not answered, by processes that have a lease."""
    living = select(shares.c.owner)
    query = select(func.count()).select_from(jobs).where(jobs.c.owner.in_(living))
    return connection.execute(query).scalar_one()


def pay(connection: Connection) -> int:
    """How many processes have paid for something."""
    query = select(func.count()).where(runs.c.calls > 0)
    return connection.execute(query).scalar_one()


def refused(lines: list[dict[str, Any]]) -> int:
    return sum(line["code"] != 10000 for line in lines)


@pytest.mark.stack
def test_four_processes_use_what_one_account_may_do_and_no_more(
    tmp_path: Path, address: str
) -> None:
    """I8, E1, E2, H1, H3: refused are less than 1 %, and what a killed process had is taken over.

    On a file the limit of calls in flight binds, in PostgreSQL the rate. Counted is what processes may do and do
    together; `tests/virtual/test_shared_accounts.py` holds how much of the allowed rate comes of it.
    """
    rate_binds = "://" in address
    limits = (
        "--latency",
        "0.25" if rate_binds else "1",
        "--qps",
        str(QPS),
        "--concurrency",
        str(CONCURRENCY),
    )

    def shared_by(processes: int) -> bool:
        """Whether so many processes have all of the account, and have all of it in flight where that binds."""
        now = ask(address, leases)
        assert sum(now.held) <= CONCURRENCY
        assert sum(now.fractions) <= 1 + 1e-9
        if len(now.held) != processes or not now.is_whole:
            return False
        return rate_binds or ask(address, in_flight) == sum(now.held) == CONCURRENCY

    with simulator(tmp_path, *limits) as simulated, ExitStack() as processes:
        configs = [
            config_of(tmp_path, number, simulated.url, address)
            for number in range(PROCESSES)
        ]
        started = [processes.enter_context(running(config)) for config in configs]
        wait_until(lambda: ask(address, pay) == PROCESSES, "the first call of each")
        wait_until(lambda: shared_by(PROCESSES), "all of it is shared by four")
        calls = simulated.bill.calls
        wait_until(lambda: simulated.bill.calls >= calls + COUNTED, "many calls")
        before = simulated.bill.lines()
        assert refused(before) <= 0.01 * len(before)
        started[0].kill()
        wait_until(lambda: shared_by(PROCESSES - 1), "all of it is shared by three")
        # Calls of the dead one are still in flight at the provider when its share is taken over.
        calls = simulated.bill.calls
        wait_until(lambda: simulated.bill.calls >= calls + COUNTED, "many calls")
        after = simulated.bill.lines()[len(before) :]
        assert refused(after) <= CONCURRENCY / PROCESSES + 0.01 * len(after)
