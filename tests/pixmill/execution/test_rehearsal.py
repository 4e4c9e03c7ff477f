"""A rehearsal: a config of a real provider against the simulator and its faults, by the real command."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixmill.cli.run import REHEARSAL
from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from tests.conftest import Bill, Project, Simulated, pay_for_chunks, results
from tests.pixmill.run_checks import (
    assert_usage_error,
    check_run,
    faults_file,
    ledger,
    simulator_charges,
)
from tests.real_command import Command

MIX: list[dict[str, Any]] = [
    {"calls": "3", "code": 50429},
    {"share": 0.06, "sticky": True, "wire": "reset"},
    {"share": 0.06, "sticky": True, "broken": "truncated"},
    {"share": 0.06, "sticky": True, "status": 504, "broken": "html"},
    {"share": 0.1, "sticky": True, "code": 50412},
    {"share": 0.1, "sticky": True, "code": 50207},
    {"share": 0.1, "sticky": True, "image": {"status": 403}},
    {"share": 0.1, "code": 50500},
]
ROWS = 40


def real(project: Project) -> str:
    """A config that would pay at a gateway that nobody may call, with a key that nobody has."""
    project.write_rows(project.rows(ROWS))
    return project.write_config(
        provider={
            "kind": "gateway",
            "base_url": "https://gateway.invalid",
            "api_key_env": "NO_SUCH_KEY",
        },
        stop={"failed_fraction": 1, "refused_fraction": 1},
        limits={"qps": 200, "concurrency": 8},
        retry={"max_attempts": 20},
        execution={"jobs_per_task": ROWS},
    )


def in_process(config: str, faults: Path, *overrides: str) -> dict[str, Any]:
    """Rehearse without Prefect, as the command does with it."""
    settings = load_config(config, (*overrides, *REHEARSAL))
    with prepare(settings, faults=faults) as prepared:
        run = prepared.start()
        pay_for_chunks(run)
        return run.finish().as_dict()


def outcomes(report: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(row["status"], row["error_code"]) for row in results(report)]


@pytest.mark.slow
def test_a_rehearsal_pays_nobody_and_ends_like_a_bad_night(
    project: Project, tmp_path: Path, prefect_api: str
) -> None:
    """D1, D3, D7, E4, E6, E7, F1 in one run: every call is on the simulator's bill, and the same seed ends alike."""
    config, faults = real(project), faults_file(tmp_path, *MIX)
    command = Command(tmp_path, prefect_api)
    rehearse = ("run", config, "--rehearse", str(faults), "--json")
    ended = command(*rehearse)
    report = ended.report

    assert (ended.exit_code, report["exit_code"]) == (3, 3), ended.stderr
    assert "REHEARSAL: the simulator answers instead of the provider" in ended.stderr
    assert "REHEARSAL over: no provider was called" in ended.stderr
    assert f"next: pixmill status {config} --set {REHEARSAL[0]}" in ended.stderr
    bill = Bill(tmp_path / "out" / "simulated" / "bill.jsonl")
    met = Counter(line["fault"] for line in bill.lines())
    assert all(met[place] for place in range(len(MIX))), met
    check_run(config, report, simulator_charges(Simulated("", bill))(), *REHEARSAL)
    assert report["in_doubt"] == met[1] + met[2] + met[3]
    assert not (tmp_path / "out" / "ledger.db").exists()

    again = command(*rehearse)
    assert again.report["calls"] == 0
    assert f"rehearsed before: {ROWS} of {ROWS} jobs have an outcome in" in again.stderr

    elsewhere = in_process(config, faults, f"store={tmp_path / 'other'}")
    assert outcomes(elsewhere) == outcomes(report)


def test_a_rehearsal_keeps_to_the_budget_of_its_config(
    project: Project, tmp_path: Path
) -> None:
    config = real(project)
    report = in_process(
        config, faults_file(tmp_path, {"code": 50500, "times": 3}), "budget.max_calls=5"
    )

    assert (report["exit_code"], report["calls"]) == (4, 5)
    assert ledger(
        config,
        "SELECT count(*) FROM attempts WHERE code = '50500'",
        overrides=REHEARSAL,
    ) == [(3,)]


def test_every_mistake_in_a_faults_file_comes_before_anything_starts(
    project: Project, pixmill: Command, tmp_path: Path
) -> None:
    config, faults = (
        real(project),
        faults_file(tmp_path, {"code": "fifty"}, {"share": 7, "wire": "snap"}),
    )

    assert_usage_error(
        pixmill("run", config, "--rehearse", str(faults)),
        "rule[0].code",
        "rule[1].share",
        "rule[1].wire",
    )
    assert not (tmp_path / "out").exists()
