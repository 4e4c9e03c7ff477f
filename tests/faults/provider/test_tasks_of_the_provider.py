"""What becomes of asynchronous operations: submits and polls that fail, and tasks that end without their pictures."""

from typing import Any

import pytest

from pixmill.execution import task_poller
from tests.conftest import Project, Simulated, results, run_config, simulator
from tests.pixmill.execution.test_tasks import submits, write_tasks
from tests.pixmill.run_checks import faults_file, ledger

ROWS = 4
THROTTLES: list[dict[str, Any]] = [
    {"action": "poll", "calls": "1-3", "code": 50429},
    {"action": "poll", "calls": "4-6", "code": 50430},
]


def once(**what: Any) -> list[dict[str, Any]]:
    """A rule that one submit meets."""
    return [{"action": "submit", "times": 1, **what}]


def check_charges(config: str, simulated: Simulated) -> None:
    """No request is charged twice, and what is on the bill is in the ledger: as charged, or as unknown."""
    assert set(submits(simulated).values()) == {1}
    on_bill = {line["task_id"] for line in simulated.bill.lines() if line["charged"]}
    by_charge: dict[str, set[str | None]] = {
        "yes": set(),
        "no": set(),
        "unknown": set(),
    }
    for task_id, charged in ledger(config, "SELECT task_id, charged FROM attempts"):
        by_charge[charged].add(task_id)
    assert by_charge["yes"] <= on_bill
    assert not by_charge["no"] & on_bill
    # The task of a submit whose answer was lost has no id here.
    unseen = on_bill - by_charge["yes"] - by_charge["unknown"]
    assert len(unseen) <= (None in by_charge["unknown"])


@pytest.mark.parametrize(
    ("rules", "outcome", "calls"),
    [
        (once(wire="reset", at="headers"), ("in_doubt", "no_answer"), ROWS),
        (once(task="not_found"), ("in_doubt", "task_not_found"), ROWS),
        (once(task="expired"), ("succeeded", None), ROWS + 1),
        (once(task="failed"), ("failed", "task_failed"), ROWS),
        (once(task="empty"), ("failed", "no_image"), ROWS),
        (once(task=50413), ("refused", "50413"), ROWS),
        (once(task=50215), ("failed", "50215"), ROWS),
        (once(task=50511), ("succeeded", None), ROWS + 1),
        (THROTTLES, ("succeeded", None), ROWS),
    ],
    ids=[
        "answer lost",
        "forgotten",
        "expired",
        "failed",
        "no images",
        "refused",
        "bad input",
        "redrawn",
        "polls throttled",
    ],
)
def test_a_task_that_goes_wrong_costs_no_other_and_is_not_paid_for_twice(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[dict[str, Any]],
    outcome: tuple[str, str | None],
    calls: int,
) -> None:
    """E17 to E22: and a second run sends nothing again unless its config asks for it."""
    monkeypatch.setattr(task_poller, "NOT_FOUND_SECONDS", 0.2)
    faults = faults_file(project.folder, *rules)
    with simulator(
        project.folder, "--latency", "0.1", "--faults", str(faults)
    ) as simulated:
        config = write_tasks(
            project, simulated, ROWS, stop={"failed_fraction": 1, "window": 100}
        )
        report = run_config(config)
        again = run_config(config)
        check_charges(config, simulated)
    rows = results(report)
    others = [("succeeded", None)] * (ROWS - 1)
    found = sorted((row["status"], row["error_code"] or "") for row in rows)
    assert found == sorted((status, code or "") for status, code in [*others, outcome])
    assert (report["calls"], again["calls"]) == (calls, 0)


def test_an_account_that_is_rejected_by_a_poll_stops_the_run_and_loses_no_task(
    project: Project,
) -> None:
    """E11, E22: what was started is left to the next run, which pays nothing for it."""
    faults = faults_file(
        project.folder, {"action": "poll", "times": ROWS, "code": 50400}
    )
    with simulator(
        project.folder, "--latency", "0.1", "--faults", str(faults)
    ) as simulated:
        config = write_tasks(project, simulated, ROWS, limits={"concurrency": ROWS})
        stopped = run_config(config)
        submitted = stopped["calls"]
        resumed = run_config(config)
        while resumed["exit_code"] == 6:
            submitted += resumed["calls"]
            resumed = run_config(config)
        submitted += resumed["calls"]
    assert stopped["exit_code"] == 6
    assert (resumed["exit_code"], submitted) == (0, ROWS)
    assert {row["status"] for row in results(resumed)} == {"succeeded"}
