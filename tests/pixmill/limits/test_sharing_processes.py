"""Four real processes, one account: its limits hold for all of them together, and are used."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pixmill.ledger import open_ledger
from pixmill.ledger.schema import attempts, runs
from tests.conftest import ROOT, Bill, Project, simulator
from tests.pixmill.ledger.conftest import address, database_url, postgres
from tests.pixmill.run_checks import configure_run
from tests.real_command import wait_until

__all__ = ["address", "database_url", "postgres"]

QPS, CONCURRENCY = 20, 10
PROCESSES = 4
START, WINDOW, TAKEOVER, REST = 5.0, 5.0, 3.0, 3.0
"""Seconds: until all have their part, how long is counted, after a kill until that is taken over, counted again."""
USED, USED_AFTER = 0.9, 0.85
"""Of what the account may do, on a machine that does other things too; by themselves they use 0.95 and more."""
RUN = "import sys; from tests.conftest import run_config; run_config(sys.argv[1])"


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


def answers(bill: Bill) -> list[tuple[float, int]]:
    """When each call was answered, in seconds since 1970, and its code."""
    return [
        (datetime.fromisoformat(line["time"]).timestamp(), line["code"])
        for line in bill.lines()
    ]


def asked(ledger: str, question: Any) -> float:
    """One number that the ledger says."""
    opened = open_ledger(ledger)
    assert opened
    try:
        return float(
            opened.ask(lambda connection: connection.execute(question).scalar() or 0)
        )
    finally:
        opened.close()


def busy(begin: float, end: float) -> Any:
    """The milliseconds that the provider worked on calls which ended between two moments."""
    within = attempts.c.answered_at.between(int(begin * 1e6), int(end * 1e6))
    return select(func.sum(attempts.c.provider_ms)).where(
        within, attempts.c.verdict == "succeeded"
    )


ALL_PAY = select(func.count()).where(runs.c.calls > 0)


@pytest.mark.stack
def test_four_processes_use_what_one_account_may_do_and_no_more(
    tmp_path: Path, address: str
) -> None:
    """I8, E1, E2, H1, H3: refused are less than 1 %, and what a killed process had is taken over.

    On a file the limit of calls in flight binds, in PostgreSQL the rate.
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
    with simulator(tmp_path, *limits) as simulated, ExitStack() as processes:
        configs = [
            config_of(tmp_path, number, simulated.url, address)
            for number in range(PROCESSES)
        ]
        started = [processes.enter_context(running(config)) for config in configs]
        wait_until(
            lambda: asked(address, ALL_PAY) == PROCESSES, "the first call of each"
        )
        begin = time.time() + START
        time.sleep(START + WINDOW)
        started[0].kill()
        time.sleep(TAKEOVER + REST)
        told = answers(simulated.bill)
        again = begin + WINDOW + TAKEOVER
        for since, until, least in (
            (begin, begin + WINDOW, USED),
            (again, again + REST, USED_AFTER),
        ):
            codes = [code for at, code in told if since <= at < until]
            assert sum(code != 10000 for code in codes) <= 0.01 * len(codes)
            per_second = 1 / (until - since)
            in_flight = asked(address, busy(since, until)) / 1000 * per_second
            used = (
                len(codes) * per_second / QPS if rate_binds else in_flight / CONCURRENCY
            )
            assert used >= least
