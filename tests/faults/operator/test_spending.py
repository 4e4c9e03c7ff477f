"""Spending: what stands between a plan and the first paid call, on a terminal and where nobody watches."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.known_ledger import examine_ledger
from pixmill.execution.prepare import prepare_flow_run
from pixmill.execution.spending_rules import check_spending
from pixmill.planning.planner import make_plan
from tests.conftest import ROOT, Project
from tests.pixmill.run_checks import (
    PATIENCE,
    Provider,
    assert_usage_error,
    configure_run,
)
from tests.real_command import Command, run_arguments


def test_a_run_without_a_terminal_needs_consent_and_a_real_one_a_cap(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """Spending: nobody watches a nightly job."""
    config = configure_run(project, provider.url, 3)
    assert_usage_error(
        pixmill("run", config, "--new-store", "--json"),
        "no terminal to ask on",
        "--yes",
    )
    assert_usage_error(
        pixmill(*run_arguments(config, "--set", "budget.max_calls=null")),
        "3 calls",
        "budget.max_calls",
    )
    assert provider.requests == []


def test_the_simulator_needs_no_cap(project: Project) -> None:
    project.write_rows(project.rows(2))
    config = project.write_config()
    plan = make_plan(load_config(config, ["budget.max_calls=null"]), None)
    check_spending(plan, new_store=False, known=examine_ledger(plan.config, None))


def test_a_real_run_without_its_ledger_is_refused(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """Spending: the disk with the ledger is gone, so everything would be paid for again."""
    config = configure_run(project, provider.url, 3)
    assert_usage_error(
        pixmill("run", config, "--yes", "--json"), "no ledger", "--new-store"
    )
    assert provider.requests == []


def test_a_real_run_without_its_ledger_is_refused_every_night(
    project: Project, provider: Provider
) -> None:
    """Spending: the refusal itself must not make the ledger whose absence it is about."""
    config = configure_run(project, provider.url, 3)
    for _ in range(2):
        nightly = prepare_flow_run(config, [], None, new_store=False, deployed=False)
        with pytest.raises(PixmillError, match="no ledger"), nightly:
            pass


def test_a_flow_run_of_a_deployment_refuses_a_store_that_will_not_last(
    project: Project, provider: Provider
) -> None:
    config = configure_run(project, provider.url, 1, store="out")
    relative = prepare_flow_run(config, [], None, new_store=True, deployed=True)
    with pytest.raises(PixmillError, match="relative"), relative:
        pass
    assert provider.requests == []


def on_a_terminal(command: Command, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, answer its question, and return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pixmill", *arguments],
        cwd=ROOT,
        env=command.environment(),
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + PATIENCE
    try:
        while part := _read(ours, deadline):
            shown += part
            if answer and "[y/N]" in shown:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        return process.wait(PATIENCE), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int, deadline: float) -> str:
    assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[
        0
    ], "the command said nothing"
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # Linux: everybody on the other side has left
        return ""


def test_a_run_on_a_terminal_shows_what_it_costs_and_asks(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """Spending: an unknown price is unknown, not 0; a no sends nothing."""
    config = configure_run(project, provider.url, 3, budget={"price_per_call": 0.2})
    code, shown = on_a_terminal(pixmill, "n", "run", config)
    assert (code, provider.requests) == (2, [])
    assert all(
        words in shown
        for words in (
            "3",
            "0.60 CNY",
            "this month so far: 0.00 CNY",
            f"this run starts {project.folder}/out/ledger.db",
            "Pay for 3 calls, 0.60 CNY, with a new ledger? [y/N]",
        )
    )
    # --yes does not mean a store that is not there, and whoever presses Enter agrees to nothing.
    code, shown = on_a_terminal(pixmill, " ", "run", config, "--yes")
    assert (code, provider.requests) == (2, [])
    assert "with a new ledger? [y/N]" in shown
    # Under a flag the sum is that of what is asked for.
    code, shown = on_a_terminal(pixmill, "n", "run", config, "--limit", "2")
    assert (code, provider.requests) == (2, [])
    assert "Pay for 2 calls, 0.40 CNY, with a new ledger? [y/N]" in shown
    assert "cost: 0.60 CNY, for all 3 calls" in shown
    code, shown = on_a_terminal(
        pixmill, "n", "run", config, "--set", "budget.price_per_call=null"
    )
    assert (code, provider.requests) == (2, [])
    assert "cost: unknown" in shown
    assert "Pay for 3 calls, at an unknown price, with a new ledger? [y/N]" in shown


@pytest.mark.slow
def test_a_yes_on_a_terminal_pays(
    project: Project, tmp_path: Path, prefect_api: str
) -> None:
    """Spending: on a terminal a person's yes is enough; no cap and no --new-store."""
    with Provider() as provider:
        config = configure_run(project, provider.url, 2, budget={"max_calls": None})
        code, shown = on_a_terminal(Command(tmp_path, prefect_api), "y", "run", config)
        assert (code, len(provider.requests)) == (0, 2), shown
