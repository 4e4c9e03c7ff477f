"""Asynchronous operations on the simulator: started once, whatever happens, and asked for until they have ended."""

import sqlite3
import threading
from collections import Counter
from typing import Any

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from tests.conftest import (
    Project,
    Simulated,
    pay_for_chunks,
    results,
    run_config,
    simulator,
)
from tests.fork_server import RUN, fork_code
from tests.pixmill.run_checks import ledger
from tests.real_command import Command, wait_until

REQ_KEY = "jimeng_t2i_v31"


def write_tasks(
    project: Project, simulated: Simulated, rows: int, **changes: Any
) -> str:
    """Write a table of `rows` prompts, and a config that has each painted by a task."""
    project.write_rows(
        [{"id": f"r{at}", "text": f"a lighthouse {at}"} for at in range(rows)]
    )
    project.config["input"] = {
        "path": str(project.folder / "pets.csv"),
        "columns": {"prompt": "text"},
    }
    project.use_simulator(simulated)
    project.write_config(
        request={"req_key": REQ_KEY, "params": {"width": 512, "height": 512}},
        limits={"poll_seconds": 0.05, "poll_qps": 1000},
    )
    return project.write_config(**changes)


def submits(simulated: Simulated) -> Counter[str]:
    """How often each request was charged, by its key on the bill."""
    return Counter(simulated.bill.keys)


def tasks_out(config: str) -> int:
    """How many tasks are on record that have not ended."""
    try:
        rows = ledger(config, "SELECT count(*) FROM jobs WHERE claim_task IS NOT NULL")
    except sqlite3.OperationalError:
        # The run has not made its ledger yet.
        return 0
    return int(rows[0][0])


def kill_run_with_tasks(config: str, number: int) -> None:
    """Start a run in another process, and kill it when so many tasks are out."""
    with fork_code(RUN, config) as process:
        wait_until(lambda: tasks_out(config) == number, "tasks")
        process.kill()
        process.wait()


def test_a_table_of_prompts_becomes_images_by_submit_and_poll(
    project: Project,
) -> None:
    with simulator(project.folder, "--latency", "0.2") as simulated:
        config = write_tasks(project, simulated, 5)
        report = run_config(config)
        assert (report["exit_code"], report["succeeded"]) == (0, 5)
        assert report["calls"] == 5, "polls are no calls"
        rows = results(report)
        assert len({row["task_id"] for row in rows}) == 5
        assert all(row["image_count"] == 1 and row["file_name"] for row in rows)
        assert all(row["latency_ms"] >= 180 for row in rows)
        again = run_config(config)
        assert (again["calls"], again["cached"]) == (0, 5)
        assert set(submits(simulated).values()) == {1}


def test_a_killed_run_is_resumed_without_a_second_submit(project: Project) -> None:
    with simulator(project.folder, "--latency", "1.5") as simulated:
        config = write_tasks(project, simulated, 6, limits={"concurrency": 6})
        kill_run_with_tasks(config, 6)
        assert {row[0] for row in ledger(config, "SELECT state FROM jobs")} == {
            "submitted"
        }
        report = run_config(config)
        assert (report["succeeded"], report["in_doubt"], report["calls"]) == (6, 0, 0)
        assert len(submits(simulated)) == 6
        assert set(submits(simulated).values()) == {1}


def test_tasks_that_were_left_out_are_asked_for_before_anything_is_submitted(
    project: Project,
) -> None:
    with simulator(project.folder, "--latency", "2") as simulated:
        config = write_tasks(project, simulated, 8, limits={"concurrency": 2})
        kill_run_with_tasks(config, 2)
        # Not always two, on a slow machine: one may have ended before the kill.
        out = tasks_out(config)
        # As if the rows came in another order, those with tasks are among the last ones.
        rows = [{"id": f"n{at}", "text": f"a new row {at}"} for at in range(3)]
        old = [{"id": f"r{at}", "text": f"a lighthouse {at}"} for at in range(8)]
        project.write_rows([*rows, *old])
        with prepare(load_config(config)) as prepared:
            assert len(prepared.plan.submitted) == out > 0
            jobs = list(prepared.plan.pending_jobs())
            new = len(jobs) - out
            assert [job.has_task for job in jobs] == [True] * out + [False] * new
            run = prepared.start()
            pay_for_chunks(run)
            report = run.finish()
        assert (report.succeeded, report.calls) == (11, new)
        assert set(submits(simulated).values()) == {1}


def test_a_limit_on_a_run_does_not_count_tasks_that_are_out(project: Project) -> None:
    with simulator(project.folder, "--latency", "0.8") as simulated:
        config = write_tasks(project, simulated, 5, limits={"concurrency": 3})
        kill_run_with_tasks(config, 3)
        report = run_config(config, limit=1)
        assert (report["succeeded"], report["calls"]) == (4, 1)


def test_a_task_that_takes_too_long_is_left_to_the_next_run(project: Project) -> None:
    with simulator(project.folder, "--latency", "1.5") as simulated:
        config = write_tasks(
            project, simulated, 2, limits={"task_timeout_seconds": 0.3}
        )
        report = run_config(config)
        assert (report["succeeded"], report["skipped"], report["calls"]) == (0, 2, 2)
        assert report["reason"] == "finished with new problems: 2 still running"
        rows = results(report)
        assert {(row["status"], row["error_code"]) for row in rows} == {
            ("skipped", "still_running")
        }
        later = run_config(config, "limits.task_timeout_seconds=60")
        assert (later["succeeded"], later["calls"]) == (2, 0)
        assert set(submits(simulated).values()) == {1}


def test_a_task_taken_over_is_charged_to_the_account_and_at_the_price_of_its_submit(
    project: Project,
) -> None:
    """E14: the config of who polls it may have another account and no prices."""
    with simulator(project.folder, "--latency", "0.8") as simulated:
        config = write_tasks(
            project, simulated, 2, limits={"task_timeout_seconds": 0.1}
        )
        paying = ("provider.account=studio", "budget.price_per_call=0.22")
        first = run_config(config, *paying)
        assert (first["calls"], first["skipped"]) == (2, 2)
        later = run_config(
            config, "provider.account=other", "limits.task_timeout_seconds=60"
        )
        assert (later["calls"], later["succeeded"]) == (0, 2)
        charges = ledger(config, "SELECT run_id, account, amount FROM attempts")
        assert charges == [(first["run_id"], "studio", 220_000_000)] * 2
        assert {row["cost"] for row in results(later)} == {0.22}


def test_an_interrupted_run_submits_nothing_more_and_waits_for_its_tasks(
    project: Project,
) -> None:
    with simulator(project.folder, "--latency", "0.6") as simulated:
        config = write_tasks(project, simulated, 20, limits={"concurrency": 2})
        with prepare(load_config(config)) as prepared:
            run = prepared.start()
            payer = threading.Thread(target=pay_for_chunks, args=(run,))
            payer.start()
            wait_until(lambda: run.executor.progress().tasks == 2, "tasks")
            run.interrupt("SIGINT")
            payer.join()
            report = run.finish()
        assert report.exit_code == 130
        assert report.succeeded == report.calls == submits(simulated).total()
        assert tasks_out(config) == 0


def test_an_interrupted_run_and_status_say_how_many_tasks_still_work(
    project: Project, pixmill: Command
) -> None:
    with simulator(project.folder, "--latency", "3600") as simulated:
        config = write_tasks(
            project, simulated, 6, limits={"concurrency": 3, "task_timeout_seconds": 1}
        )
        with prepare(load_config(config)) as prepared:
            run = prepared.start()
            payer = threading.Thread(target=pay_for_chunks, args=(run,))
            payer.start()
            wait_until(lambda: run.executor.progress().tasks == 3, "tasks")
            run.interrupt("SIGINT")
            payer.join()
            report = run.finish()
        left = "3 tasks still work at the provider: the next run asks for the result"
        assert report.exit_code == 130
        assert left in report.reason
        assert left in pixmill("status", config).stderr


def test_operations_do_not_wait_for_each_other_s_tasks(project: Project) -> None:
    """Each has its own limit at the provider, and so here."""
    with simulator(
        project.folder, "--latency", "0.5", "--concurrency", "1"
    ) as simulated:
        config = write_tasks(
            project,
            simulated,
            3,
            request={"params": {}},
            sweep={"groups": [{"grid": {"req_key": [REQ_KEY, "jimeng_t2i_v30"]}}]},
            limits={"concurrency": 1},
        )
        with prepare(load_config(config)) as prepared:
            run = prepared.start()
            payer = threading.Thread(target=pay_for_chunks, args=(run,))
            payer.start()
            wait_until(lambda: run.executor.progress().tasks == 2, "tasks")
            payer.join()
            report = run.finish()
        assert report.succeeded == 6
        limits = run.executor.limits_summary()
        assert limits is not None
        assert limits["by_req_key"].keys() == {REQ_KEY, "jimeng_t2i_v30"}


def test_many_tasks_hold_no_threads(project: Project) -> None:
    with simulator(project.folder, "--latency", "3") as simulated:
        config = write_tasks(
            project,
            simulated,
            100,
            limits={"concurrency": 100},
            output={"images": "url"},
        )
        before = threading.active_count()
        with prepare(load_config(config)) as prepared:
            run = prepared.start()
            jobs = list(run.plan.pending_jobs())
            payer = threading.Thread(target=run.process, args=(jobs,))
            payer.start()
            # Not for all: on a slow machine the first end before the last are submitted.
            wait_until(lambda: run.executor.progress().tasks > 60, "many tasks")
            assert threading.active_count() - before <= 40
            payer.join()
            assert run.finish().succeeded == 100
