"""The command `retry` as its owner has it: it asks first, pays once, and may be killed at any moment."""

from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Project, Simulated, results, simulator
from tests.pixmill.run_checks import (
    assert_usage_error,
    configure_run,
    faults_file,
    ledger,
)
from tests.real_command import Command, kill_9, ledger_rows, run_arguments, wait_until

ROWS = 8


def test_a_retry_without_a_terminal_needs_yes_and_changes_nothing_before(
    project: Project, pixmill: Command
) -> None:
    config = configure_run(project, "http://127.0.0.1:9", 2)
    nothing = pixmill("retry", config, "--yes", "--json")
    assert (nothing.exit_code, nothing.report["calls"]) == (0, 0)
    assert "nothing to retry: no job is failed" in nothing.stderr
    assert_usage_error(
        pixmill("retry", config, "--status", "faild"), "did you mean `failed`"
    )
    assert_usage_error(
        pixmill("retry", config, "--where", "id == 'r1'"),
        "run `pixmill run` to create it",
    )


@pytest.mark.slow
def test_what_failed_is_retried_once_agreed_and_a_run_after_it_pays_nothing(
    project: Project, quick: Command
) -> None:
    faults = faults_file(project.folder, {"prompt": "pet 1", "code": 50215, "times": 1})
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        config = configure_run(project, simulated.url, 3)
        assert quick(*run_arguments(config)).report["failed"] == 1
        assert_usage_error(
            quick("retry", config, "--status", "failed"),
            "no terminal to ask on",
            "1  to pay for, 1 of them once more",
        )
        assert ledger(config, "SELECT sum(again) FROM jobs") == [(0,)]
        done = quick("retry", config, "--code", "50215", "--yes", "--json")
        assert (done.exit_code, done.report["calls"], done.report["succeeded"]) == (
            0,
            1,
            3,
        ), done.stderr
        assert quick(*run_arguments(config)).report["calls"] == 0
        assert simulated.bill.calls == 4


@pytest.mark.slow
def test_rejected_candidates_ask_for_the_next_ones(
    project: Project, simulated: Simulated, quick: Command
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    project.write_config(
        input={"row_key": ["id"]},
        quality={"until": {"where": "status == 'succeeded'", "candidates": 2}},
    )
    config = project.path
    picks = project.folder / "picks.csv"
    picks.write_text("row_key,candidate,pick\nr1,0,reject\n")
    early = quick("retry", config, "--picks", str(picks), "--yes")
    assert_usage_error(early, "there is no ledger at")
    assert quick(*run_arguments(config)).report["calls"] == 2
    both = quick("retry", config, "--picks", str(picks), "--code", "50500")
    assert_usage_error(both, "--picks says by itself")
    unclear = quick("retry", config, "--picks", "$HOME/picks.csv")
    assert_usage_error(unclear, "contains $HOME")
    done = quick("retry", config, "--picks", str(picks), "--yes", "--json")
    assert "1 candidate rejected" in done.stderr
    assert done.report["calls"] == 1
    assert [row["candidate"] for row in results(done.report)] == [0, 1]


@pytest.mark.slow
def test_a_regeneration_that_is_killed_keeps_the_old_images_and_pays_once_for_each_mark(
    project: Project, quick: Command
) -> None:
    """What was in flight is not paid for again unasked, what was not sent yet is; every row has an image throughout."""
    with simulator(project.folder, "--latency", "0.3") as simulated:
        project.write_rows(project.rows(ROWS))
        project.use_simulator(simulated)
        config, store = project.path, Path(project.config["store"])
        project.write_config(limits={"concurrency": 2})
        assert quick(*run_arguments(config)).report["succeeded"] == ROWS
        with quick.started(
            "retry", config, "--status", "succeeded", "--yes"
        ) as process:
            wait_until(lambda: simulated.bill.calls >= ROWS + 3, "three new calls")
            kill_9(process)
        assert len(ledger_rows(store)) == ROWS, "each is still a success"
        resumed = quick(*run_arguments(config))
        again = quick(*run_arguments(config))
    assert resumed.report["succeeded"] == ROWS, resumed.stderr
    assert all((store / row["file_name"]).exists() for row in results(resumed.report))
    assert again.report["calls"] == 0
    calls = Counter(simulated.bill.keys)
    assert len(calls) == ROWS
    assert max(calls.values()) == 2, "a mark was paid for twice"
    died = ledger(
        config,
        "SELECT count(*) FROM attempts WHERE code = 'process_died' AND charged = 'unknown'",
    )[0][0]
    assert died <= 2
    assert simulated.bill.calls <= 2 * ROWS <= simulated.bill.calls + died
