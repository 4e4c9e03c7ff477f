"""Runs as their owner has them: real processes that are killed, interrupted, doubled and watched.

The simulator's bill is the judge: it says what was charged, whatever the run believes.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, Bill, Project, results, simulator
from tests.pixmill.execution.test_tasks import submits, tasks_out, write_tasks
from tests.real_command import (
    Command,
    Process,
    children,
    is_alive,
    job_keys_by_bill_key,
    kill_9,
    ledger_rows,
    run_arguments,
    wait_for_result,
    wait_until,
)

pytestmark = pytest.mark.slow

ROWS = 40
CONCURRENCY = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def pixmill(home: Path) -> Command:
    """The command with its embedded server."""
    return Command(home)


@pytest.fixture
def table(project: Project) -> Project:
    project.write_rows(project.rows(ROWS))
    return project


def run_until_killed(
    pixmill: Command, config: str, bill: Bill, calls: int
) -> dict[int, str]:
    """Start a run and `kill -9` it once the bill has `calls` lines; return the child processes that it had."""
    with pixmill.started(*run_arguments(config)) as process:
        wait_until(lambda: bill.calls >= calls, f"{calls} calls")
        helpers = children(process.pid)
        kill_9(process)
    return helpers


def wait_for_the_end_of(helpers: Mapping[int, str]) -> None:
    wait_until(
        lambda: not any(is_alive(*helper) for helper in helpers.items()),
        f"the end of {helpers}",
    )


def assert_nothing_lost_nothing_paid_twice(
    project: Project, bill: Bill, *, in_doubt: int
) -> None:
    """Every line of the bill is a success or in doubt, no key is there twice, and few are in doubt."""
    store = Path(project.config["store"])
    succeeded, doubted = ledger_rows(store), ledger_rows(store, state="in_doubt")
    job_key = job_keys_by_bill_key(project.path)
    assert len(set(bill.keys)) == len(bill.keys) == bill.calls
    assert {job_key[key] for key in bill.keys} <= succeeded.keys() | doubted.keys()
    assert set(succeeded.values()) <= {line["request_id"] for line in bill.lines()}
    assert len(succeeded) + len(doubted) == ROWS
    assert len(doubted) <= in_doubt


@pytest.mark.parametrize("calls", [1, 17, ROWS], ids=lambda calls: f"at call {calls}")
def test_a_killed_run_goes_on_where_it_was(
    table: Project, quick: Command, calls: int
) -> None:
    """A1: kill -9 at the first call, in the middle and around publication."""
    with simulator(table.folder, "--latency", "0.1") as simulated:
        table.use_simulator(simulated)
        run_until_killed(quick, table.path, simulated.bill, calls)
        acknowledged = ledger_rows(table.folder / "out")
        resumed = quick(*run_arguments(table.path))
        again = quick(*run_arguments(table.path))
    report = resumed.report
    assert acknowledged.items() <= ledger_rows(table.folder / "out").items()
    assert_nothing_lost_nothing_paid_twice(table, simulated.bill, in_doubt=CONCURRENCY)
    assert resumed.exit_code == (3 if report["in_doubt"] else 0), resumed.stderr
    assert report["succeeded"] + report["in_doubt"] == ROWS
    assert (
        sum(row["status"] == "succeeded" for row in results(report))
        == report["succeeded"]
    )
    assert (again.exit_code, again.report["calls"]) == (0, 0)


def test_a_run_that_is_killed_while_it_resumes_loses_nothing_either(
    table: Project, quick: Command
) -> None:
    """A3: killed, killed again while it goes on, and only then left alone."""
    with simulator(table.folder, "--latency", "0.1") as simulated:
        table.use_simulator(simulated)
        run_until_killed(quick, table.path, simulated.bill, 7)
        acknowledged = ledger_rows(table.folder / "out")
        run_until_killed(quick, table.path, simulated.bill, 23)
        assert acknowledged.items() <= ledger_rows(table.folder / "out").items()
        report = quick(*run_arguments(table.path)).report
    assert acknowledged.items() <= ledger_rows(table.folder / "out").items()
    assert_nothing_lost_nothing_paid_twice(
        table, simulated.bill, in_doubt=2 * CONCURRENCY
    )
    assert report["succeeded"] + report["in_doubt"] == ROWS


def test_the_built_in_simulator_ends_with_a_killed_run(
    table: Project, pixmill: Command
) -> None:
    """A1: neither the Prefect server nor the simulator of a killed run stays behind."""
    table.write_config(provider={"kind": "simulator"})
    bill = Bill(table.folder / "out" / "simulated" / "bill.jsonl")
    helpers = run_until_killed(pixmill, table.path, bill, 5)
    commands = " ".join(helpers.values())
    assert "prefect.server" in commands
    assert "pixmill.simulator" in commands
    wait_for_the_end_of(helpers)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name
)
def test_an_interrupted_run_finishes_its_calls_and_the_same_command_goes_on(
    table: Project, pixmill: Command, quick: Command, number: signal.Signals
) -> None:
    """A6: calls in flight are paid, so they are waited for and recorded; nothing new is sent."""
    with simulator(table.folder, "--latency", "0.5") as simulated:
        table.use_simulator(simulated)
        with pixmill.started(*run_arguments(table.path)) as process:
            wait_until(lambda: simulated.bill.calls >= 6, "6 calls")
            os.killpg(
                process.pid, number
            )  # as a terminal's Ctrl-C does, which reaches the whole process group
            stopped = wait_for_result(process)
        assert stopped.exit_code == stopped.report["exit_code"] == 130, stopped.stderr
        assert stopped.report["in_doubt"] == 0
        assert (
            stopped.report["calls"]
            == stopped.report["succeeded"]
            == simulated.bill.charged
            < ROWS
        )
        assert set(ledger_rows(table.folder / "out").values()) == {
            line["request_id"] for line in simulated.bill.lines()
        }
        report = quick(*run_arguments(table.path)).report
    assert (report["exit_code"], report["succeeded"]) == (0, ROWS)
    assert len(set(simulated.bill.keys)) == simulated.bill.calls == ROWS


def insist(process: Process) -> None:
    """Press Ctrl-C until the process is gone: on a busy machine two signals may arrive as one."""
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return


def test_a_second_ctrl_c_leaves_at_once(table: Project, pixmill: Command) -> None:
    """A6: calls of a minute are not waited for; they are in doubt, as no answer was seen."""
    with simulator(table.folder, "--latency", "60") as simulated:
        table.use_simulator(simulated)
        with pixmill.started(*run_arguments(table.path)) as process:
            wait_until(lambda: bool(in_flight(table)), "a call in flight")
            helpers = children(process.pid)
            insist(process)
            left = wait_for_result(process)
        counts = pixmill("plan", table.path, "--json").report
    assert left.exit_code == 130
    assert "calls in flight may have been charged" in left.stderr
    assert 1 <= counts["in_doubt"] <= CONCURRENCY
    assert counts["in_doubt"] + counts["pending"] == ROWS
    wait_for_the_end_of(helpers)


def test_a_second_ctrl_c_leaves_tasks_to_the_next_run(
    project: Project, quick: Command
) -> None:
    """A6: their results are fetched then, and nothing is submitted a second time."""
    with simulator(project.folder, "--latency", "8") as simulated:
        config = write_tasks(project, simulated, 3)
        with quick.started(*run_arguments(config)) as process:
            wait_until(lambda: tasks_out(config) == 3, "tasks")
            insist(process)
            left = wait_for_result(process)
        report = quick(*run_arguments(config)).report
        charged = submits(simulated)
    assert left.exit_code == 130
    assert "asks for tasks that still work" in left.stderr
    assert (report["succeeded"], report["in_doubt"], report["calls"]) == (3, 0, 0)
    assert (len(charged), set(charged.values())) == (3, {1})


def in_flight(project: Project) -> dict[str, str]:
    try:
        return ledger_rows(project.folder / "out", "job_key, run_id", "in_flight")
    except sqlite3.DatabaseError:  # copied while it was made
        return {}


def test_two_runs_at_the_same_time_share_the_work(
    table: Project, quick: Command
) -> None:
    """H1: claims in the ledger keep two runs of one config from paying for the same job."""
    count = 120
    table.write_rows(table.rows(count))
    with simulator(table.folder, "--latency", "0.25") as simulated:
        table.use_simulator(simulated)
        with (
            quick.started(*run_arguments(table.path)) as one,
            quick.started(*run_arguments(table.path)) as other,
        ):
            runs = [wait_for_result(one), wait_for_result(other)]
        reports = [run.report for run in runs]
        last = quick(*run_arguments(table.path)).report
    assert [run.exit_code for run in runs] == [0, 0], [run.stderr for run in runs]
    assert sum(report["calls"] for report in reports) == simulated.bill.calls == count
    assert len(set(simulated.bill.keys)) == count
    assert all(
        report["succeeded"] + report["skipped"] == report["jobs"] == count
        for report in reports
    )
    assert (last["succeeded"], last["calls"]) == (count, 0)


def test_a_closed_terminal_loses_nothing(table: Project, quick: Command) -> None:
    """A7: the pipes of stdout and stderr break in mid-run, and there is much to warn of."""
    with simulator(table.folder, "--latency", "0.6") as simulated:
        table.use_simulator(simulated)
        table.write_config(
            output={"allow_hosts": []}, stop={"images": 100}
        )  # a warning for every image
        with quick.started(*run_arguments(table.path)) as process:
            wait_until(lambda: simulated.bill.calls >= 2, "2 calls")
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            process.stderr.close()
            process.wait(90)
        assert process.returncode == 3
        assert len(set(simulated.bill.keys)) == simulated.bill.calls == ROWS
        charged = {line["request_id"] for line in simulated.bill.lines()}
        assert set(ledger_rows(table.folder / "out").values()) == charged
        table.write_config(output={"allow_hosts": ["127.0.0.1"]})
        after = quick(*run_arguments(table.path)).report
    assert (
        after["exit_code"],
        after["succeeded"],
        after["calls"],
        after["images_missing"],
    ) == (
        0,
        ROWS,
        0,
        0,
    )


def test_a_warning_that_nobody_can_read_is_no_error() -> None:
    """A7: a thread that warns of an unknown code holds an answer that is not written down yet."""
    code = "import logging; from pixmill.cli.console import show_warnings; show_warnings()\n"
    code += "logging.getLogger('pixmill.provider').warning('something odd'); print('went on', flush=True)"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=writer,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stdout == b"went on\n"


def test_status_tells_from_another_process_that_a_run_is_going_on(
    table: Project, quick: Command
) -> None:
    with simulator(table.folder, "--latency", "0.5") as simulated:
        table.use_simulator(simulated)
        with quick.started(*run_arguments(table.path)) as process:
            wait_until(lambda: simulated.bill.calls >= 5, "5 calls")
            during = quick("status", table.path, "--json")
            kill_9(process)
        after = quick("status", table.path, "--json")
    assert during.report["runs"][0]["alive"]
    assert 1 <= during.report["cached"] < ROWS
    assert "running now" in during.stderr
    assert "a run is active" in during.stderr.splitlines()[-1]
    assert not after.report["runs"][0]["alive"]
    assert f"pixmill run {table.path}" in after.stderr.splitlines()[-1]
