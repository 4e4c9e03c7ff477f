"""What the caps leave of a run is known before it begins: the plan says it, the question asks for it."""

from contextlib import closing
from typing import Any

import pytest

from pixmill.cli.run_outlook import describe_agreement
from pixmill.config.loading import load_config
from pixmill.execution.caps import CallsWithinCaps, fit_into_caps
from pixmill.ledger import open_ledger
from pixmill.planning.planner import plan_config
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.cli.test_commands import json_line, pixmill

GATEWAY = {"kind": "gateway", "base_url": "http://127.0.0.1:9"}


def fit(config: str, *changes: str, limit: int | None = None) -> CallsWithinCaps:
    settings = load_config(config, changes)
    ledger = open_ledger(settings.ledger_address, read_only=True)
    if ledger is None:
        return fit_into_caps(plan_config(settings), limit, None)
    with closing(ledger):
        return fit_into_caps(plan_config(settings), limit, ledger)


@pytest.mark.parametrize(
    ("change", "calls", "cap"),
    [
        ("budget.max_calls=5", 5, "max_calls"),
        ("budget.max_cost=1.1", 5, "max_cost"),
        ("budget.max_cost_per_month=0.9", 4, "max_cost_per_month"),
        ("budget.max_cost=1.4", 7, None),
    ],
)
def test_a_plan_says_how_many_calls_the_caps_allow(
    project: Project, change: str, calls: int, cap: str | None
) -> None:
    project.write_rows(project.rows(7))
    config = project.write_config(
        provider=GATEWAY,
        input={"row_key": ["id"]},
        budget={"price_per_call": 0.2},
    )
    shown = pixmill("plan", config, "--set", change, "--json")
    of_all = f"{calls} of 7 calls (budget.{cap})" if cap else "7 calls"
    rows = "r0, r1, r2, r3" if calls == 4 else "r0, r1, r2, r3, r4"
    more = ", …" if calls > 5 else ""
    cost = f"{calls * 0.2:.2f} CNY"
    assert "  this month so far: 0.00 CNY\nrun would pay for" in shown.stderr
    assert f"run would pay for {of_all}, {cost}, of {rows}{more}\n" in shown.stderr
    said: Any = json_line(shown)["run"]
    assert (said["calls"], said["most_calls"]) == (calls, calls)
    assert said["cost"] == said["most_cost"] == pytest.approx(calls * 0.2)
    assert describe_agreement(fit(config, change), "CNY") == f"{of_all}, {cost}"
    # A limit that is lower than the cap is the limit, and one that is higher is not.
    limited = fit(config, change, limit=2)
    assert describe_agreement(limited, "CNY") == "2 calls, 0.40 CNY"


def test_of_answers_that_are_paid_for_by_the_image_the_calls_are_a_range(
    project: Project,
) -> None:
    project.write_rows([{"id": f"r{at}", "text": f"a boat {at}"} for at in range(7)])
    project.config["input"]["columns"] = {"prompt": "text"}
    config = project.write_config(
        provider=GATEWAY,
        request={"req_key": "jimeng_t2i_v40", "params": {"force_single": False}},
        budget={"prices": [{"price": 0.1, "per": "image"}]},
    )
    every = fit(config)
    most = every.most_cost
    assert most is not None
    per_call = most / 7
    assert per_call > 0.1
    found = fit(config, f"budget.max_cost={per_call * 2}")
    assert (found.calls, found.cost, found.cap) == (2, per_call * 2, "max_cost")
    assert found.most_calls > 2
    assert found.most_cost == per_call * 2
    assert not found.is_exact
    shown = pixmill("plan", config, "--set", f"budget.max_cost={per_call * 2}").stderr
    sum_of_two = f"{per_call * 2:.2f} CNY"
    assert f"run would pay for at least 2 of 7 calls (budget.max_cost), at most {sum_of_two}, of" in shown  # fmt: skip
    agreed = describe_agreement(found, "CNY")
    assert agreed == f"at most {found.most_calls} calls (budget.max_cost), {sum_of_two}"


def test_where_no_call_fits_a_run_says_so_and_ends_without_prefect(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    config = project.write_config(
        input={"row_key": ["id"]}, budget={"price_per_call": 0.2}
    )
    assert run_config(config)["calls"] == 3
    project.write_rows(project.rows(4))
    # Whoever asks Prefect for anything gets an error.
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    for cap, reason in (
        (
            "max_cost_per_month=0.7",
            "budget.max_cost_per_month (0.7 CNY) is reached until",
        ),
        ("max_cost=0.1", "budget.max_cost (0.1 CNY) allows no call; raise it"),
    ):
        flags = (config, "--set", f"budget.{cap}", "--json")
        shown = pixmill("plan", *flags)
        assert "  this month so far: 0.60 CNY\n" in shown.stderr
        assert f"run would end at once: {reason}" in shown.stderr
        assert "next: " not in shown.stderr
        said: Any = json_line(shown)["run"]
        assert (said["calls"], said["cost"], said["first_rows"]) == (0, 0, [])
        done = pixmill("run", *flags, "--yes")
        assert done.returncode == 4, done.stderr
        assert f"stopped early: {reason}" in done.stderr
        ended: Any = json_line(done)
        assert (ended["calls"], ended["skipped"], ended["succeeded"]) == (0, 1, 3)
    assert simulated.bill.charged == 3
