"""What becomes of a deployment's flow run in Prefect, by how the run ended: the state, and what its message tells."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow

from flows.generate import generate_dataset
from flows.maintain import maintain_dataset
from flows.run_states import STATES, run_state
from pixmill.execution.prepare import PreparedRun
from pixmill.execution.run import ActiveRun
from pixmill.execution.run_summary import EXIT_REFUSED
from pixmill.execution.stop_reasons import StopCode
from tests.conftest import Project, Simulated, simulator

pytestmark = pytest.mark.stack

PRICE = "budget.price_per_call=0.2"


def deployed(
    client: SyncPrefectClient, flow: Flow[..., Any], *overrides: str, config: str
) -> State[Any]:
    """Run `flow` as a deployment of it does; return the state that the API has of it in the end."""
    flow_id = client.create_flow_from_name(flow.name)
    deployment = client.create_deployment(flow_id, name="nightly")
    flow_run = client.create_flow_run_from_deployment(
        deployment, parameters={"config": config, "overrides": list(overrides)}
    )
    run_flow(
        flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="state"
    )
    state = client.read_flow_run(flow_run.id).state
    assert state
    return state


def seen(state: State[Any]) -> tuple[str, str]:
    return state.type.value, state.name


def message(state: State[Any]) -> str:
    assert state.message
    return state.message


def test_every_exit_code_that_a_run_can_end_with_has_a_state() -> None:
    assert STATES.keys() == {0, 3, EXIT_REFUSED, *StopCode}


def test_a_simulated_run_says_so_and_no_money() -> None:
    report = {
        "exit_code": 0,
        "reason": "finished",
        "succeeded": 2,
        "jobs": 2,
        "calls": 2,
    }
    state = run_state({**report, "cost": 0.4}, None, "pixmill status x", deployed=True)
    assert "2 calls, simulated, nothing was paid; next" in message(state)
    state = run_state({**report, "cost": 0.4}, "CNY", "x", deployed=True)
    assert "2 calls, 0.40 CNY; next" in message(state)


def test_a_run_that_went_well_is_completed_and_says_what_it_spent(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    state = deployed(prefect, generate_dataset, PRICE, config=shop.path)
    assert seen(state) == ("COMPLETED", "Completed")
    assert "6 of 6 jobs succeeded, 6 calls, 1.20 CNY" in message(state)


def test_new_problems_are_a_completed_run_with_a_name_of_its_own(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """Exit 3: the dataset is published, and somebody should look."""
    with faulty(shop, "- {prompt: pet 2, code: 50412}"):
        state = deployed(prefect, generate_dataset, config=shop.path)
    assert seen(state) == ("COMPLETED", "CompletedWithProblems")
    assert "1 refused" in message(state)


def test_a_budget_that_is_reached_is_no_crash(
    shop: Project, simulated: Simulated, prefect: SyncPrefectClient
) -> None:
    """Exit 4, with what happened, what was spent, and what to type next as it can be typed."""
    state = deployed(
        prefect, generate_dataset, "budget.max_calls=2", PRICE, config=shop.path
    )
    assert seen(state) == ("COMPLETED", "BudgetReached")
    assert message(state).startswith("budget.max_calls (2 calls) is reached")
    assert "2 of 6 jobs succeeded, 2 calls, 0.40 CNY" in message(state)
    assert message(state).endswith(
        f"next: pixmill status {shop.path} --set budget.max_calls=2 --set {PRICE}"
    )
    assert simulated.bill.calls == 2


def test_a_dataset_that_the_gate_refuses_fails_the_run(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """Exit 7: the condition and its figures are in the message."""
    shop.write_config(quality={"gate": ["count(status == 'succeeded') > 6"]})
    state = deployed(prefect, generate_dataset, config=shop.path)
    assert seen(state) == ("FAILED", "GateRefused")
    assert "count(status == 'succeeded') = 6" in message(state)
    assert message(state).endswith(f"next: pixmill publish {shop.path}")


def test_a_run_that_its_breaker_stopped_has_failed(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """Exit 5."""
    with faulty(shop, "- {prompt: pet, code: 50412}"):
        state = deployed(
            prefect,
            generate_dataset,
            "stop.window=3",
            "limits.concurrency=1",
            config=shop.path,
        )
    assert seen(state) == ("FAILED", "StoppedByBreaker")
    assert "of the last 3 jobs are refused" in message(state)
    assert f"next: pixmill status {shop.path}" in message(state)


def test_a_key_that_the_provider_refuses_fails_the_run(
    shop: Project, prefect: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 6. I9: the key is in no state."""
    monkeypatch.setenv("PIXMILL_API_KEY", "not-the-right-key")
    state = deployed(prefect, generate_dataset, config=shop.path)
    assert seen(state) == ("FAILED", "CredentialsRefused")
    assert "check key" in message(state)
    assert "not-the-right-key" not in state.model_dump_json()


def test_an_interrupted_run_is_cancelled(
    shop: Project, prefect: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6, C11, exit 130: also what becomes of a run that somebody cancels in the UI."""
    start = PreparedRun.start

    def start_and_stop(prepared: PreparedRun) -> ActiveRun:
        run = start(prepared)
        run.interrupt("SIGTERM")
        return run

    monkeypatch.setattr(PreparedRun, "start", start_and_stop)
    state = deployed(prefect, generate_dataset, config=shop.path)
    assert seen(state) == ("CANCELLED", "Interrupted")
    assert "interrupted by SIGTERM" in message(state)


def test_a_run_that_may_not_spend_has_failed_and_says_what_to_set(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """The hint of an error is part of the state: nobody sees a terminal."""
    state = deployed(
        prefect, generate_dataset, "budget.max_calls=null", config=shop.path
    )
    assert seen(state) == ("FAILED", "Failed")
    assert "6 calls" in message(state)
    assert "set budget.max_calls" in message(state)


def test_whoever_calls_the_flow_in_python_gets_its_report_however_it_ended(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """The state has the name of the ending all the same, for who looks in the UI."""
    with faulty(shop, "- {prompt: pet, code: 50412}"):
        report = generate_dataset(shop.path, ["stop.window=3", "limits.concurrency=1"])
    assert report["exit_code"] == 5
    newest = max(prefect.read_flow_runs(), key=lambda run: run.created)
    assert newest.state
    assert newest.state.name == "StoppedByBreaker"


def test_maintenance_brings_images_back_and_pays_nothing(
    shop: Project, simulated: Simulated, prefect: SyncPrefectClient
) -> None:
    generate_dataset(shop.path)
    lost = images(shop)[:2]
    for image in lost:
        image.unlink()
    state = deployed(prefect, maintain_dataset, config=shop.path)
    assert seen(state) == ("COMPLETED", "Completed"), message(state)
    assert "2 fetched" in message(state)
    assert all(image.exists() for image in lost)
    assert simulated.bill.calls == 6


def test_a_store_that_is_not_what_it_was_fails_its_maintenance(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """B8: what can't be repaired is told, by its kind and with the command that lists it."""
    generate_dataset(shop.path)
    shop.write_rows(shop.rows(3))
    generate_dataset(shop.path)
    (version, *_) = (shop.folder / "out" / "pets" / "history").glob("*.parquet")
    version.write_bytes(version.read_bytes()[:-7])
    state = deployed(prefect, maintain_dataset, config=shop.path)
    assert seen(state) == ("FAILED", "StoreDamaged")
    assert "1 wrong: history" in message(state)
    assert f"next: pixmill verify {shop.path}" in message(state)


def test_images_that_can_not_be_had_are_a_problem_that_is_told(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    with simulator(shop.folder) as ended:
        shop.use_simulator(ended)
        generate_dataset(shop.path)
    images(shop)[0].unlink()
    state = deployed(prefect, maintain_dataset, config=shop.path)
    assert seen(state) == ("COMPLETED", "CompletedWithProblems"), message(state)
    assert "0 fetched, 1 pending, 0 lost" in message(state)
    assert f"next: pixmill repair {shop.path}" in message(state)


def test_maintenance_without_a_ledger_says_so(
    project: Project, prefect: SyncPrefectClient
) -> None:
    project.write_rows(project.rows(1))
    state = deployed(prefect, maintain_dataset, config=project.write_config())
    assert seen(state) == ("FAILED", "Failed")
    assert "there is no ledger" in message(state)


def images(shop: Project) -> list[Path]:
    return sorted((shop.folder / "out" / "images").glob("*/*.*"))


@contextmanager
def faulty(shop: Project, faults: str) -> Iterator[None]:
    """Let the shop's config call a simulator with `faults`."""
    file = shop.folder / "faults.yaml"
    file.write_text(faults + "\n")
    with simulator(shop.folder, "--faults", str(file)) as simulated:
        shop.use_simulator(simulated)
        yield
