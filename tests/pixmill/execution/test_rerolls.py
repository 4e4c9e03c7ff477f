"""A refused output is drawn again with another seed, a bounded number of times over all runs."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pixmill.request.fingerprint import reroll_seed
from tests.conftest import Project, simulator
from tests.pixmill.run_checks import (
    configure_run,
    faults_file,
    run_and_check,
    simulator_charges,
)

LENIENT = {"failed_fraction": 1, "refused_fraction": 1}


def attempts(project: Project) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(project.folder / "out" / "ledger.db")) as ledger:
        return ledger.execute("SELECT code, seed FROM attempts ORDER BY id").fetchall()


@pytest.mark.parametrize("code", [50511, 50519])
def test_a_refused_output_is_drawn_again_with_a_derived_seed(
    project: Project, code: int
) -> None:
    faults = faults_file(project.folder, {"prompt": "sits", "code": code, "times": 2})
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        config = configure_run(
            project, simulated.url, 1, stop=LENIENT, request={"prompt": "{text} sits"}
        )
        run = run_and_check(config, simulator_charges(simulated))
        assert [line["code"] for line in simulated.bill.lines()] == [code, code, 10000]
    (seed,), (effective,) = run.column("seed"), run.column("effective_seed")
    assert run.report["succeeded"] == 1
    assert effective == reroll_seed(seed, 2)
    assert run.column("attempts") == [3]
    assert attempts(project) == [
        (str(code), seed),
        (str(code), reroll_seed(seed, 1)),
        ("10000", reroll_seed(seed, 2)),
    ]


@pytest.mark.parametrize("rerolls", [0, 1, 2])
def test_so_many_rerolls_and_no_more(project: Project, rerolls: int) -> None:
    faults = faults_file(project.folder, {"prompt": "sits", "code": 50511})
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        config = configure_run(
            project,
            simulated.url,
            1,
            stop=LENIENT,
            request={"prompt": "{text} sits"},
            retry={"rerolls": rerolls},
        )
        run = run_and_check(config, simulator_charges(simulated))
        again = run_and_check(config, simulator_charges(simulated))
        assert simulated.bill.calls == 1 + rerolls
    assert run.column("status") == ["refused"]
    assert run.column("effective_seed") == [
        reroll_seed(run.column("seed")[0], rerolls)
        if rerolls
        else run.column("seed")[0]
    ]
    assert again.report["calls"] == 0


def test_seeds_that_moderation_used_up_stay_so_in_the_next_run(
    project: Project,
) -> None:
    """A budget that ends between two seeds: the next run goes on with the next seed, it does not begin anew."""
    faults = faults_file(project.folder, {"prompt": "sits", "code": 50511, "times": 2})
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        settings: dict[str, Any] = {
            "stop": LENIENT,
            "request": {"prompt": "{text} sits"},
        }
        config = configure_run(
            project, simulated.url, 1, budget={"max_calls": 1}, **settings
        )
        first = run_and_check(config, simulator_charges(simulated))
        assert (first.report["exit_code"], first.column("status")) == (4, ["skipped"])
        second = run_and_check(
            project.write_config(budget={"max_calls": 100}),
            simulator_charges(simulated),
        )
    assert second.column("status") == ["succeeded"]
    seed = second.column("seed")[0]
    assert [seed for _, seed in attempts(project)] == [
        seed,
        reroll_seed(seed, 1),
        reroll_seed(seed, 2),
    ]


def test_a_refused_input_is_not_drawn_again(project: Project) -> None:
    faults = faults_file(project.folder, {"prompt": "sits", "code": 50411})
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        config = configure_run(
            project, simulated.url, 1, stop=LENIENT, request={"prompt": "{text} sits"}
        )
        run_and_check(config, simulator_charges(simulated))
        assert simulated.bill.calls == 1
