"""Runs on Dask as their owner has them: real workers that are killed, interrupted, watched and compared.

The simulator's bill is the judge, as for runs on threads.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, ROOT, Project, results, simulator
from tests.pixmill.execution.test_tasks import submits, write_tasks
from tests.pixmill.run_checks import (
    check_run,
    faults_file,
    ledger,
    simulator_charges,
)
from tests.real_command import (
    Command,
    is_alive,
    run_arguments,
    shared_server,
    tree,
    wait_for_result,
    wait_until,
)

pytest.importorskip("prefect_dask")
pytestmark = pytest.mark.stack

CONCURRENCY = 16
LOOPBACK = "0100007F"
LISTENS = "0A"

CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    on = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=2, **on) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def pixmill(home: Path) -> Iterator[Command]:
    """The command on a Prefect server that all tests share."""
    with shared_server(home / "shared") as api:
        yield Command(home, api)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a Dask cluster that was there before any run, in a folder of its own; yields its address."""
    (folder / "cluster.py").write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PIXMILL_API_KEY": KEY},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # closes its stdin, by which it ends
        assert process.stdout
        yield process.stdout.readline().strip()


def listeners(pids: set[int]) -> set[str]:
    """The local addresses (hexadecimal) that the processes listen on, as the kernel has them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(
                    str(link.readlink()).removeprefix("socket:[").removesuffix("]")
                )
            except OSError:
                continue
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return {
        fields[1].partition(":")[0]
        for fields in lines
        if fields[3] == LISTENS and fields[9] in inodes
    }


def workers_of(processes: dict[int, str]) -> list[int]:
    return [pid for pid, command in processes.items() if "spawn_main" in command]


def freeze_with_calls_in_flight(worker: int, config: str) -> None:
    """Stop a process while calls of its are in flight: between two chunks it has none to lose."""

    def is_caught() -> bool:
        os.kill(worker, signal.SIGSTOP)
        owners = ledger(config, "SELECT owner FROM jobs WHERE state = 'in_flight'")
        # An owner ends in its pid and its start.
        if any(owner.split("|")[-2] == str(worker) for (owner,) in owners):
            return True
        os.kill(worker, signal.SIGCONT)
        return False

    wait_until(is_caught, "a moment with calls in flight")


def on_dask(project: Project, rows: int, **changes: Any) -> None:
    project.write_rows(project.rows(rows))
    project.write_config(
        limits={"qps": 10_000, "concurrency": CONCURRENCY},
        execution={"engine": "dask"},
        **changes,
    )


def test_a_killed_worker_costs_its_calls_in_flight_and_nothing_twice(
    project: Project, pixmill: Command
) -> None:
    """C9, P19: kill -9 in the middle of 5,000 jobs. Until then nothing of the run listens but on loopback."""
    rows = 5_000
    with simulator(project.folder, "--latency", "0.1") as simulated:
        on_dask(project, rows, output={"images": "url"})
        project.use_simulator(simulated)
        with pixmill.started(*run_arguments(project.path)) as process:
            wait_until(lambda: simulated.bill.length > 1_000, "1,000 calls")
            processes = tree(process.pid)
            heard = listeners(set(processes))
            first, second = workers_of(processes)
            freeze_with_calls_in_flight(first, project.path)
            os.kill(first, signal.SIGKILL)
            command = wait_for_result(process)
        report = command.report
        charges = simulator_charges(simulated)()
    check_run(project.path, report, charges)
    assert heard == {LOOPBACK}
    assert 0 < report["in_doubt"] <= CONCURRENCY, (
        "what the lost one had in flight, whatever its share was"
    )
    assert report["succeeded"] == rows - report["in_doubt"]
    assert (command.exit_code, report["skipped"]) == (3, 0), command.stderr
    assert "a worker was lost with" in command.stderr
    wait_until(
        lambda: not is_alive(second, processes[second]), "the end of the workers"
    )


def test_an_interrupted_run_lets_its_workers_finish_their_calls(
    project: Project, pixmill: Command
) -> None:
    """A5: Ctrl-C on a terminal reaches the workers too; what they sent is recorded, and the rest comes next time."""
    with simulator(project.folder, "--latency", "1") as simulated:
        on_dask(project, 200, output={"images": "url"})
        project.use_simulator(simulated)
        with pixmill.started(*run_arguments(project.path)) as process:
            wait_until(lambda: simulated.bill.calls >= CONCURRENCY, "the first answers")
            os.killpg(process.pid, signal.SIGINT)
            command = wait_for_result(process)
        check_run(project.path, command.report, simulator_charges(simulated)())
    report = command.report
    assert (command.exit_code, report["in_doubt"]) == (130, 0), command.stderr
    assert report["succeeded"] == simulated.bill.charged == report["calls"]
    assert report["skipped"] == 200 - report["succeeded"] > 0


def test_candidates_are_drawn_on_workers_round_by_round(
    project: Project, pixmill: Command
) -> None:
    faults = faults_file(
        project.folder, {"prompt": "a pet 3", "times": 2, "picture": "blank"}
    )
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        until = {"where": "not flag_blank", "candidates": 3}
        on_dask(project, 8, quality={"checks": ["blank"], "until": until})
        project.use_simulator(simulated)
        report = pixmill(*run_arguments(project.path)).report
        charges = simulator_charges(simulated)()
    rows = check_run(project.path, report, charges)
    assert [row["candidate"] for row in rows] == [0, 0, 0, 2, 0, 0, 0, 0]
    assert report["calls"] == 8 + 2
    assert report["candidates"]["accepted"] == 8


def test_a_cluster_that_was_there_ends_jobs_as_threads_do(
    project: Project, pixmill: Command
) -> None:
    """The keys are those of the workers, the folder is not theirs, and a run leaves the cluster as it found it."""
    rows = 24
    faults = faults_file(
        project.folder,
        {"prompt": "a pet 3", "code": 50413},
        {"prompt": "a pet 7", "code": 50207},
    )
    ways = {}
    with cluster(project.folder) as address:
        for engine, place in (("threads", None), ("dask", address)):
            with simulator(project.folder, "--faults", str(faults)) as simulated:
                on_dask(project, rows, store=str(project.folder / engine))
                project.use_simulator(simulated)
                project.write_config(
                    execution={"engine": engine, "address": place},
                    stop={"failed_fraction": 1},
                )
                command = pixmill(*run_arguments(project.path))
            names = (
                "row_key",
                "status",
                "error_code",
                "seed",
                "params",
                "prompt",
                "job_key",
                "attempts",
                "point_id",
            )
            rows_of = results(command.report)
            ways[engine] = [{name: row[name] for name in names} for row in rows_of]
            assert all(
                row["file_name"] for row in rows_of if row["status"] == "succeeded"
            )
    assert ways["dask"] == ways["threads"]
    assert {row["status"] for row in ways["dask"]} == {"succeeded", "refused", "failed"}


def test_workers_share_the_tasks_that_an_account_allows_for_each_operation(
    project: Project, pixmill: Command
) -> None:
    """C9: submitted once each, and never more at a time than `limits.concurrency`, of either operation."""
    rows, together = 16, 4
    with simulator(
        project.folder, "--latency", "0.5", "--concurrency", str(together)
    ) as simulated:
        write_tasks(
            project,
            simulated,
            rows,
            request={"params": {}},
            sweep={
                "groups": [{"grid": {"req_key": ["jimeng_t2i_v31", "jimeng_t2i_v30"]}}]
            },
            limits={"concurrency": together},
            execution={"engine": "dask"},
        )
        command = pixmill(*run_arguments(project.path))
        refused = [line for line in simulated.bill.lines() if line["code"] == 50430]
        assert command.exit_code == 0, command.stderr
        assert submits(simulated).total() == len(submits(simulated)) == 2 * rows
    report = command.report
    assert (report["succeeded"], report["calls"]) == (2 * rows, 2 * rows)
    assert refused == []
    assert len({row["task_id"] for row in results(report)}) == 2 * rows


def test_the_simulator_inside_a_run_answers_its_workers_too(
    project: Project, pixmill: Command
) -> None:
    """Its key is made up for the run and reaches the workers by their environment alone."""
    on_dask(project, 6)
    command = pixmill(*run_arguments(project.path))
    assert (command.exit_code, command.report["succeeded"]) == (0, 6), command.stderr
    # Workers tell the driver how the limits fared, which has no limiter of its own.
    name = f"{command.report['run_id']}.json"
    recorded = (Path(command.report["dataset"]).parent / "runs" / name).read_text()
    assert json.loads(recorded)["limits"]["rate"]["now"] == 10_000
    assert all(row["file_name"] for row in results(command.report))
