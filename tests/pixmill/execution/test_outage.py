"""Whole runs through outages and floods of faults: they pause, go on by themselves, and say what happened."""

import json

import pytest

from tests.conftest import Project
from tests.faulty_server import answer
from tests.pixmill.run_checks import (
    Fault,
    Provider,
    charged_but_lost,
    configure_run,
    error_response,
    ledger,
    run_and_check,
)


def out(calls: range, fault: Fault) -> dict[int | str, Fault]:
    return dict.fromkeys(calls, fault)


def test_a_run_pauses_in_an_outage_and_goes_on_by_itself(project: Project) -> None:
    """D1, D18: after five faults only probes go out; what they met is tried again and nothing is lost."""
    with Provider(
        out(range(11, 18), error_response(50500, 500)), delay=0.01
    ) as provider:
        # One at a time: a success that was under way would break the row of faults.
        config = configure_run(
            project,
            provider.url,
            40,
            retry={"max_attempts": 10},
            limits={"concurrency": 1},
        )
        run = run_and_check(config, provider.charges)
        gaps = [
            later - earlier
            for earlier, later in zip(
                provider.arrived, provider.arrived[1:], strict=False
            )
        ]
    assert (run.report["exit_code"], run.report["succeeded"], run.report["calls"]) == (
        0,
        40,
        47,
    )
    assert max(gaps) >= 0.3, "no probe waited before it went out"


def test_an_outage_without_answers_puts_no_more_into_doubt_than_was_in_flight_and_its_probes(
    project: Project,
) -> None:
    """D1, D18: a 504 may have been charged, so each costs a row; the breaker keeps them few."""
    page = charged_but_lost(answer(b"<html>504</html>", 504))
    with Provider(out(range(11, 19), page), delay=0.01) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 40, stop={"window": 20}),
            provider.charges,
        )
    assert (
        run.report["exit_code"],
        run.report["in_doubt"],
        run.report["succeeded"],
    ) == (3, 8, 32)
    assert run.report["calls"] == 40


def test_a_stop_names_the_codes_and_the_next_step(project: Project) -> None:
    """I1f: the sentence is the same for people and for programs."""
    with Provider(every=error_response(50215)) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 40, stop={"window": 10}),
            provider.charges,
        )
    assert run.report["exit_code"] == 5
    assert "failed or in doubt (50215 × 1" in run.report["reason"]
    assert "run the same command again" in run.report["reason"]


def test_an_overridden_code_is_ruled_as_the_config_says(project: Project) -> None:
    """E6: a provider's 50500 is final for one operation, and its 50215 passes by itself for all."""
    faults: dict[int | str, Fault] = {
        "a pet 1": error_response(50500, 500),
        "a pet 2": error_response(50215),
    }
    key = "high_aes_scheduler_svr_controlnet_v2.0"
    codes = {50215: "retry", key: {50500: {"verdict": "failed", "charged": "no"}}}
    with Provider(faults) as provider:
        config = configure_run(project, provider.url, 4, retry={"codes": codes})
        run = run_and_check(config, provider.charges)
    assert run.column("status") == ["succeeded", "failed", "succeeded", "succeeded"]
    assert run.report["calls"] == 5
    assert ledger(
        config, "SELECT code, charged FROM attempts WHERE code <> '10000' ORDER BY code"
    ) == [
        ("50215", "no"),
        ("50500", "no"),
    ]


def test_a_rule_for_another_operation_changes_nothing(project: Project) -> None:
    with Provider({"a pet 1": error_response(50500, 500)}) as provider:
        run = run_and_check(
            configure_run(
                project,
                provider.url,
                3,
                retry={"codes": {"other_key": {50500: "failed"}}},
            ),
            provider.charges,
        )
    assert (run.report["succeeded"], run.report["calls"]) == (3, 4)


def test_a_month_s_money_is_not_reset_by_the_next_run(project: Project) -> None:
    """E15: resume and retry go on where the ledger stands; the reason says until when."""
    budget = {"max_cost_per_month": 0.7, "price_per_call": 0.2, "max_calls": 100}
    with Provider({"a pet 0": error_response(50412)}) as provider:
        config = configure_run(
            project, provider.url, 10, budget=budget, limits={"concurrency": 1}
        )
        first, second = (
            run_and_check(config, provider.charges).report for _ in range(2)
        )
        other = run_and_check(
            configure_run(project, provider.url, 10, provider={"account": "another"}),
            provider.charges,
        ).report
    assert (
        first["exit_code"],
        first["succeeded"],
        first["refused"],
        first["calls"],
    ) == (
        4,
        3,
        1,
        4,
    )
    assert (second["exit_code"], second["succeeded"], second["calls"]) == (4, 3, 0)
    assert "budget.max_cost_per_month (0.7 CNY) is reached until 20" in second["reason"]
    assert (other["exit_code"], other["calls"]) == (4, 3)


def test_throttled_calls_do_not_use_a_cap_on_money_up(project: Project) -> None:
    budget = {"max_cost": 0.6, "price_per_call": 0.2}
    faults = out(range(2, 5), error_response(50429, 429))
    with Provider(faults) as provider:
        run = run_and_check(
            configure_run(
                project, provider.url, 9, budget=budget, limits={"concurrency": 1}
            ),
            provider.charges,
        )
    assert (run.report["exit_code"], run.report["succeeded"], run.report["calls"]) == (
        4,
        3,
        6,
    )
    assert run.report["cost"] == pytest.approx(0.6)
    assert json.loads(json.dumps(run.report))["reason"].startswith(
        "budget.max_cost (0.6 CNY)"
    )
