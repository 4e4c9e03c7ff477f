"""The command `retry` as its owner has it: it asks first, pays once, and may be killed at any moment."""

from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Workshop, results, simulator
from tests.pixmill.run_checks import faults_file, ledger, refused, use
from tests.real_command import Command, kill_9, ledger_rows, pay, wait_until

ROWS = 8


def test_a_retry_without_a_terminal_needs_yes_and_changes_nothing_before(
    workshop: Workshop, pixmill: Command
) -> None:
    config = use(workshop, "http://127.0.0.1:9", 2)
    nothing = pixmill("retry", config, "--yes", "--json")
    assert (nothing.exit_code, nothing.report["calls"]) == (0, 0)
    assert "nothing to retry: no job is failed" in nothing.stderr
    refused(pixmill("retry", config, "--status", "faild"), "did you mean `failed`")
    refused(pixmill("retry", config, "--where", "id == 'r1'"), "`pixmill run` makes it")


@pytest.mark.slow
def test_what_failed_is_retried_once_agreed_and_a_run_after_it_pays_nothing(
    workshop: Workshop, quick: Command
) -> None:
    faults = faults_file(
        workshop.folder, {"prompt": "pet 1", "code": 50215, "times": 1}
    )
    with simulator(workshop.folder, "--faults", str(faults)) as simulated:
        config = use(workshop, simulated.url, 3)
        assert quick(*pay(config)).report["failed"] == 1
        refused(
            quick("retry", config, "--status", "failed"),
            "no terminal to ask on",
            "1  to pay for, of them 1 asked",
        )
        assert ledger(config, "SELECT sum(again) FROM jobs") == [(0,)]
        done = quick("retry", config, "--code", "50215", "--yes", "--json")
        assert (done.exit_code, done.report["calls"], done.report["succeeded"]) == (
            0,
            1,
            3,
        ), done.stderr
        assert quick(*pay(config)).report["calls"] == 0
        assert simulated.bill.calls == 4


@pytest.mark.slow
def test_a_regeneration_that_is_killed_keeps_the_old_images_and_pays_once_for_each_mark(
    workshop: Workshop, quick: Command
) -> None:
    """What was in flight is not paid for again unasked, what was not sent yet is; every row has an image throughout."""
    with simulator(workshop.folder, "--latency", "0.3") as simulated:
        workshop.write_rows(workshop.rows(ROWS))
        workshop.use(simulated)
        config, store = workshop.path, Path(workshop.config["store"])
        workshop.write_config(limits={"concurrency": 2})
        assert quick(*pay(config)).report["succeeded"] == ROWS
        with quick.started(
            "retry", config, "--status", "succeeded", "--yes"
        ) as process:
            wait_until(lambda: simulated.bill.calls >= ROWS + 3, "three new calls")
            kill_9(process)
        assert len(ledger_rows(store)) == ROWS, "each is still a success"
        resumed = quick(*pay(config))
        again = quick(*pay(config))
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
