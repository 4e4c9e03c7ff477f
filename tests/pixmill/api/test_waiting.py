"""A run beside other work: event loops, other runs, interrupts."""

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pixmill
from pixmill.api import interruptible
from pixmill.errors import Interrupted
from tests.conftest import Project, Simulated, simulator

JOBS = 12


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Simulated]:
    with simulator(tmp_path, "--latency", "0.3") as running:
        yield running


@pytest.fixture
def config(project: Project, slow: Simulated) -> str:
    project.write_rows(project.rows(JOBS))
    project.use_simulator(slow)
    return project.write_config(limits={"concurrency": 2, "timeout_seconds": 20})


@contextmanager
def interrupting(ready: Callable[[], bool], times: int = 1) -> Iterator[None]:
    """Send SIGINT to this process, `times` one after the other, once something is `ready`."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            if ready():
                break
        for _ in range(times):
            if stop.is_set():
                return
            os.kill(os.getpid(), signal.SIGINT)
            stop.wait(0.3)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def has_claims(ledger: Path) -> bool:
    # Until it has its tables it is no ledger.
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection,
    ):
        claims = connection.execute("SELECT 1 FROM jobs WHERE owner IS NOT NULL")
        return claims.fetchone() is not None
    return False


def test_an_interrupt_finishes_the_calls_in_flight_and_the_next_run_pays_the_rest(
    config: str, slow: Simulated
) -> None:
    threads = set(threading.enumerate())
    with (
        interrupting(lambda: slow.bill.calls > 2),
        pytest.raises(Interrupted, match="same command again") as caught,
    ):
        pixmill.run(config, new_store=True)

    paid = slow.bill.charged
    stopped = caught.value.results
    assert stopped.exit_code == 130
    assert stopped.summary["succeeded"] == paid < JOBS
    assert len(stopped.images) == paid
    assert set(threading.enumerate()) <= threads
    results = pixmill.run(config)
    assert (results.exit_code, results.summary["cached"]) == (0, paid)
    assert slow.bill.charged == JOBS == len(set(slow.bill.keys))


def test_a_second_interrupt_leaves_at_once_and_the_calls_in_flight_are_recorded(
    project: Project, tmp_path: Path
) -> None:
    with simulator(tmp_path, "--latency", "1") as slow:
        project.write_rows(project.rows(JOBS))
        project.use_simulator(slow)
        config = project.write_config(limits={"concurrency": 2})
        with (
            interrupting(partial(has_claims, tmp_path / "out" / "ledger.db"), times=2),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            pixmill.run(config, new_store=True)
        assert not isinstance(caught.value, Interrupted)
        left = [of for of in threading.enumerate() if of.name == "pixmill-run"]
        assert len(left) == 1
        left[0].join(20)
        plan = pixmill.plan(config).summary()
        assert plan["cached"] == slow.bill.charged == JOBS - plan["pending"]
        assert plan["cached"] > 0
        assert plan["in_doubt"] == 0


@pytest.mark.parametrize("step", ["start_thread", "show_progress"])
def test_an_interrupt_while_the_run_is_being_started_stops_the_paying(
    step: str, config: str, slow: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set(threading.enumerate())
    real = getattr(interruptible, step)

    def interrupt_after(*args: Any) -> None:
        real(*args)
        while slow.bill.calls < 2:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(interruptible, step, interrupt_after)
    with pytest.raises(Interrupted) as caught:
        pixmill.run(config, new_store=True)

    assert set(threading.enumerate()) <= threads
    assert caught.value.results.summary["succeeded"] == slow.bill.charged < JOBS


def test_an_interrupt_before_the_run_has_a_thread_leaves_nothing_open(
    config: str, slow: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set(threading.enumerate())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            interruptible,
            "start_thread",
            lambda *_: signal.raise_signal(signal.SIGINT),
        )
        pixmill.run(config, new_store=True)

    assert slow.bill.calls == 0
    assert set(threading.enumerate()) <= threads
    assert pixmill.run(config, limit=2, new_store=True).summary["calls"] == 2


def test_a_run_works_inside_an_event_loop_and_leaves_no_thread(
    config: str, slow: Simulated
) -> None:
    threads = set(threading.enumerate())

    async def cell() -> int:
        return pixmill.run(config, limit=2, new_store=True).exit_code

    assert asyncio.run(cell()) == 0
    assert set(threading.enumerate()) <= threads


def test_two_runs_of_one_config_at_once_pay_each_job_once(
    config: str, slow: Simulated
) -> None:
    pixmill.run(config, limit=1, new_store=True)
    with ThreadPoolExecutor(2) as pool:
        codes = [pool.submit(pixmill.run, config) for _ in range(2)]
    assert [found.result().exit_code for found in codes] == [0, 0]
    assert slow.bill.charged == JOBS == len(set(slow.bill.keys))
