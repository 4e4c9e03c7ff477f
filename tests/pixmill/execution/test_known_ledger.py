"""A ledger that was lost or is too old: nothing that the store has pictures of is paid for again unasked."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import SpendingRefused, UserError
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from pixmill.execution.score import score
from pixmill.execution.spending_rules import check_consent, check_spending
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.cli.test_commands import pixmill

ROWS = 3
CHECKS = "quality.checks=[blank]"


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    """A project with a picture of each row."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    assert run_config(project.path)["succeeded"] == ROWS
    return project


def lose_ledger(project: Project) -> None:
    for path in Path(project.config["store"]).glob("ledger.db*"):
        path.unlink()


def check_as_a_schedule_does(project: Project, *, new_store: bool = False) -> None:
    with prepare(load_config(project.path)) as prepared:
        check_spending(prepared.plan, new_store=new_store, known=prepared.known_ledger)


def check_as_python_does(project: Project) -> None:
    with prepare(load_config(project.path)) as prepared:
        check_consent(
            prepared.plan,
            prepared.to_pay,
            yes=True,
            new_store=False,
            known=prepared.known_ledger,
        )


TRIED = {
    "nothing": lambda _: None,
    "a run": check_as_a_schedule_does,
    "a repair": lambda project: repair(load_config(project.path)),
    "scoring": lambda project: score(load_config(project.path, [CHECKS])),
    "a run and a repair": lambda project: (
        pixmill("run", project.path, "--yes"),
        repair(load_config(project.path)),
    ),
    "a run that pays for nothing": lambda project: run_config(project.path, limit=0),
    "verifying": lambda project: pixmill("verify", project.path),
}
"""What somebody may try who has lost a ledger."""


@pytest.mark.parametrize("check", [check_as_a_schedule_does, check_as_python_does])
@pytest.mark.parametrize("tried", TRIED.values(), ids=TRIED)
def test_after_a_lost_ledger_no_picture_is_paid_for_again_whatever_was_tried(
    paid: Project,
    simulated: Simulated,
    tried: Callable[[Project], object],
    check: Callable[[Project], None],
) -> None:
    lose_ledger(paid)
    calls = simulated.bill.calls
    with suppress(UserError, SpendingRefused):
        tried(paid)
    with pytest.raises(SpendingRefused) as refused:
        check(paid)
    assert "does not know the run that published the 3 images of pets" in str(
        refused.value
    )
    assert refused.value.hint.startswith("restore the ledger from a backup")
    assert simulated.bill.calls == calls


@pytest.mark.parametrize("command", [repair, score], ids=["repair", "score"])
@pytest.mark.parametrize("is_empty", [False, True], ids=["none", "empty"])
def test_what_a_ledger_does_not_know_is_neither_repaired_nor_scored(
    paid: Project, command: Callable[..., object], is_empty: bool
) -> None:
    lose_ledger(paid)
    if is_empty:
        with pytest.raises(SpendingRefused):
            check_as_a_schedule_does(paid)
    what = "knows no job" if is_empty else "there is no ledger at"
    with pytest.raises(UserError, match=what) as refused:
        command(load_config(paid.path, [CHECKS]))
    assert "restore the ledger from a backup" in refused.value.hint


def test_a_ledger_that_is_too_old_pays_for_nothing_that_was_published_since(
    paid: Project,
) -> None:
    ledger = Path(paid.config["store"]) / "ledger.db"
    backup = paid.folder / "backup.db"
    shutil.copy(ledger, backup)
    paid.write_rows(paid.rows(ROWS + 2))
    assert run_config(paid.path)["succeeded"] == ROWS + 2
    lose_ledger(paid)
    shutil.copy(backup, ledger)
    with pytest.raises(SpendingRefused, match="published the 5 images of pets"):
        check_as_a_schedule_does(paid)


def test_who_wants_to_pay_again_is_asked_once(paid: Project) -> None:
    lose_ledger(paid)
    check_as_a_schedule_does(paid, new_store=True)
    assert run_config(paid.path)["succeeded"] == ROWS
    paid.write_rows(paid.rows(ROWS + 1))
    check_as_a_schedule_does(paid)


def test_a_lost_ledger_is_said_where_somebody_looks_and_none_is_sent_to_pay(
    paid: Project,
) -> None:
    lose_ledger(paid)
    for tried in (False, True):
        if tried:
            # It leaves an empty ledger.
            assert pixmill("run", paid.path, "--yes").returncode == 2
        for command in ("status", "plan"):
            said = pixmill(command, paid.path).stderr
            assert "the 3 images of pets, so they would be paid for again" in said
        assert said.splitlines()[-1] == f"next: pixmill verify {paid.path}"
        status = pixmill("status", paid.path).stderr
        assert status.splitlines()[-1] == f"next: pixmill verify {paid.path}"
        verified = pixmill("verify", paid.path).stderr
        assert "restore the ledger from a backup" in verified
        assert "pixmill repair" not in verified
