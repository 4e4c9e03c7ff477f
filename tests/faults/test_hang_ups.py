"""SIGHUP, SIGTERM and Ctrl-C as they really come: twice within moments, and with a terminal that is gone."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from pixmill.signals import AGAIN_SECONDS, drain_or_leave
from tests.conftest import ROOT, Project, Simulated, simulator
from tests.prefect_proxy import PrefectProxy
from tests.real_command import (
    PATIENCE,
    Command,
    Process,
    ledger_rows,
    run_arguments,
    wait_for_result,
    wait_until,
)

ROWS = 40
"""Enough that a busy machine is not through with them before it notices that the first are in flight."""

CONCURRENCY = 4

HANG_UP = """
import os, signal, sys, threading
from pixmill.signals import graceful_shutdown
stopped = threading.Event()
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with graceful_shutdown(lambda name: stopped.set()):
    os.kill(os.getpid(), signal.SIGHUP)
    print("drains" if stopped.wait(1 if sys.argv[1] == "nohup" else 30) else "goes on")
"""

SHORTLY = 0.0013
"""Seconds between the SIGHUP of a shell whose terminal closes and the kernel's own, as strace has them."""


def hung_up(how: str) -> tuple[int, str]:
    """The return code of a process to which SIGHUP came while it paid, and what it did next."""
    done = subprocess.run(
        [sys.executable, "-c", HANG_UP, how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.strip()


def test_a_closed_terminal_window_lets_calls_in_flight_end() -> None:
    """A7: they are paid, so they are waited for, as after SIGTERM."""
    assert hung_up("terminal") == (0, "drains")


def test_a_run_under_nohup_does_not_notice_that_its_terminal_closes() -> None:
    """A7."""
    assert hung_up("nohup") == (0, "goes on")


@pytest.mark.parametrize(
    ("signals", "leaves"),
    [
        ([(SIGHUP, 0.0), (SIGHUP, SHORTLY)], False),
        ([(SIGTERM, 0.0), (SIGTERM, SHORTLY)], False),
        ([(SIGINT, 0.0), (SIGINT, SHORTLY)], False),
        ([(SIGTERM, 0.0), (SIGHUP, SHORTLY), (SIGINT, SHORTLY)], False),
        ([(SIGHUP, 0.0), (SIGTERM, 60.0), (SIGHUP, 60.0)], False),
        ([(SIGINT, 0.0), (SIGTERM, 60.0)], False),
        ([(SIGINT, 0.0), (SIGINT, AGAIN_SECONDS)], True),
        ([(SIGTERM, 0.0), (SIGINT, 60.0)], True),
        ([(SIGINT, 0.0), (SIGINT, SHORTLY), (SIGINT, AGAIN_SECONDS)], True),
    ],
)
def test_only_a_second_ctrl_c_of_a_person_leaves_at_once(
    signals: list[tuple[signal.Signals, float]],
    leaves: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A7: a hang-up comes twice, `timeout` signals process and group; neither means that nobody wants to wait."""
    now = 0.0
    firsts: list[str] = []
    left: list[bool] = []
    handle = drain_or_leave(firsts.append, lambda: left.append(True))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for number, later in signals:
        now += later
        handle(number, None)
    assert firsts == [signals[0][0].name]
    assert bool(left) is leaves


@pytest.fixture(scope="module")
def proxy(prefect_api: str) -> Iterator[PrefectProxy]:
    with PrefectProxy(prefect_api).serving() as proxy:
        yield proxy


@pytest.fixture
def table(project: Project) -> Project:
    project.write_rows(project.rows(ROWS))
    return project


@contextmanager
def slow_provider(table: Project) -> Iterator[Simulated]:
    """A provider whose calls are under way for long enough to meet them."""
    with simulator(table.folder, "--latency", "2") as simulated:
        table.use_simulator(simulated)
        yield simulated


def script(table: Project) -> Path:
    """A shell script that runs the config and writes down how it ended, also when its own terminal is gone."""
    path = table.folder / "run.sh"
    command = f"{sys.executable} -m pixmill run {table.path} --yes --new-store"
    path.write_text(f"trap : HUP TERM INT\n{command}\necho $? > {table.folder}/code\n")
    return path


def exit_code(table: Project) -> int:
    """What the script wrote down, once it did."""
    path = table.folder / "code"
    wait_until(
        lambda: path.exists() and path.read_text().endswith("\n"), "an exit code"
    )
    return int(path.read_text())


def assert_drained(table: Project, simulated: Simulated) -> None:
    """Every call that was sent has its outcome, and no more were sent than were in flight."""
    succeeded = ledger_rows(table.folder / "out")
    assert set(succeeded.values()) == {
        line["request_id"] for line in simulated.bill.lines()
    }
    assert CONCURRENCY <= len(succeeded) < ROWS
    assert ledger_rows(table.folder / "out", state="in_flight") == {}
    assert ledger_rows(table.folder / "out", state="in_doubt") == {}


def calls_in_flight(table: Project) -> bool:
    store = table.folder / "out"
    if not (store / "ledger.db").exists():
        return False
    try:
        return len(ledger_rows(store, "job_key, run_id", "in_flight")) == CONCURRENCY
    except Exception:  # copied while it was made
        return False


@pytest.mark.slow
def test_a_window_that_closes_over_a_real_shell_costs_no_call(
    table: Project, quick: Command
) -> None:
    """A7: an interactive bash passes its SIGHUP on, and the kernel sends a second one; the terminal is gone, too."""
    with slow_provider(table) as simulated:
        path = script(table)
        shell, terminal = pty.fork()
        if shell == 0:
            os.chdir(ROOT)
            os.execvpe(
                "bash", ["bash", "--norc", "--noprofile", "-i"], quick.environment()
            )
        try:
            os.write(terminal, f"sh {path}\n".encode())
            reader = subprocess.Popen(
                ["cat"], stdin=terminal, stdout=subprocess.DEVNULL
            )
            wait_until(lambda: calls_in_flight(table), "calls in flight")
            reader.kill()
            reader.wait(PATIENCE)
        finally:
            os.close(terminal)
        assert exit_code(table) == 130
        os.waitpid(shell, 0)
        assert_drained(table, simulated)


@pytest.mark.slow
@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=lambda number: number.name)
def test_a_run_under_timeout_is_drained(
    table: Project, quick: Command, number: signal.Signals
) -> None:
    """A7: `timeout` signals its command, then the whole group, which is the command once more."""
    with slow_provider(table) as simulated:
        command = [
            "timeout",
            "600",
            sys.executable,
            "-m",
            "pixmill",
            "run",
            table.path,
            "--yes",
        ]
        process = subprocess.Popen(
            [*command, "--new-store"],
            cwd=ROOT,
            env=quick.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: calls_in_flight(table), "calls in flight")
            process.send_signal(number)
            assert process.wait(PATIENCE) == 130
        finally:
            process.kill()
            process.wait()
        assert_drained(table, simulated)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [SIGINT, SIGTERM, SIGHUP], ids=lambda number: number.name
)
def test_a_signal_after_the_publication_changes_nothing_of_what_is_told(
    table: Project, quick: Command, number: signal.Signals
) -> None:
    """A6: what follows the run's record is Prefect's, and the run is not interrupted any more."""
    runs = table.folder / "out" / "pets" / "runs"
    with simulator(table.folder) as simulated:
        table.use_simulator(simulated)
        with quick.started(*run_arguments(table.path)) as process:
            wait_until(lambda: any(runs.glob("*.json")), "the run's record")
            process.send_signal(number)
            done = wait_for_result(process)
    assert done.exit_code == done.report["exit_code"] == 0, done.stderr
    assert (done.report["calls"], done.report["succeeded"]) == (ROWS, ROWS)
    assert f"{ROWS} succeeded" in done.stderr
    assert done.report["run_id"] == next(runs.glob("*.json")).stem


@pytest.mark.slow
def test_a_person_need_not_wait_for_prefect_once_the_run_is_recorded(
    table: Project, proxy: PrefectProxy, tmp_path: Path
) -> None:
    """A6: a server that never answers in the end; the second Ctrl-C leaves, with the run's own exit code."""
    runs = table.folder / "out" / "pets" / "runs"
    pixmill = Command(tmp_path, proxy.url, forked=True)
    order = run_arguments(table.path, "--set", "limits.concurrency=1")
    with simulator(table.folder, "--latency", "0.1") as simulated:
        table.use_simulator(simulated)
        with pixmill.started(*order) as process:
            wait_until(lambda: simulated.bill.calls >= 1, "a call")
            with proxy.fails("flow_runs/.*/set_state", "hang"):
                wait_until(lambda: any(runs.glob("*.json")), "the run's record")
                insist(process)
                done = wait_for_result(process)
    assert done.exit_code == done.report["exit_code"] == 0, done.stderr
    assert (done.report["calls"], done.report["succeeded"]) == (ROWS, ROWS)
    assert "the run is over, all of it is recorded" in done.stderr


def insist(process: Process) -> None:
    """Send Ctrl-C until the process ends: on a busy machine two signals arrive as one."""
    for _ in range(20):
        process.send_signal(SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return
