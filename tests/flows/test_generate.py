"""The flow on a real Prefect server: what people see of a run in the UI, and what must never be seen there."""

import json
import re
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
)
from prefect.client.schemas.objects import TaskRun

from flows.generate import generate_dataset
from pixmill.config.loading import load_config
from pixmill.errors import ConfigError, PixmillError, SpendingRefused
from pixmill.execution.prepare import prepare, prepare_flow_run
from pixmill.execution.run import ActiveRun
from tests.conftest import KEY, Project, Simulated, results, simulator

pytestmark = pytest.mark.slow


def run_of(report: dict[str, Any], client: SyncPrefectClient) -> UUID:
    """The Prefect flow run that made `report`: the newest one."""
    assert report["calls"]
    newest = max(client.read_flow_runs(), key=lambda run: run.created)
    assert newest.state
    assert newest.state.is_completed()
    return newest.id


def task_runs(client: SyncPrefectClient, flow_run_id: UUID, name: str) -> list[TaskRun]:
    of_run = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
    return [
        run
        for run in client.read_task_runs(
            flow_run_filter=of_run, task_run_filter=TaskRunFilter(), limit=200
        )
        if run.task_key.partition("-")[0] == name
    ]


def artifacts(client: SyncPrefectClient, flow_run_id: UUID) -> list[dict[str, Any]]:
    """All artifacts of a flow run and of its task runs, as the API has them."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}}
    return client._client.post("/artifacts/filter", json=wanted).json()  # type: ignore[no-any-return]


def log_lines(client: SyncPrefectClient, flow_run_id: UUID) -> list[str]:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    return [log.message for log in client.read_logs(log_filter=wanted)]


def test_each_row_of_a_small_table_is_a_task_run_with_its_name(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """And the flow returns what `run --json` says."""
    report = generate_dataset(shop.path)
    assert (report["exit_code"], report["succeeded"], report["calls"]) == (0, 6, 6)
    assert [row["status"] for row in results(report)] == ["succeeded"] * 6
    runs = task_runs(prefect, run_of(report, prefect), "cv_process")
    assert sorted(run.name for run in runs) == [
        f"row {at + 1} · r{at}" for at in range(6)
    ]
    assert all(run.state and run.state.is_completed() for run in runs)


def test_chunks_show_their_first_and_last_row(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    report = generate_dataset(shop.path, ["execution.jobs_per_task=4"])
    runs = task_runs(prefect, run_of(report, prefect), "cv_process")
    assert sorted(run.name for run in runs) == [
        "row 1 · r0 … row 4 · r3",
        "row 5 · r4 … row 6 · r5",
    ]


def test_artifacts_show_progress_summary_and_failures(
    project: Project, prefect: SyncPrefectClient
) -> None:
    faults = project.folder / "faults.yaml"
    faults.write_text("- {prompt: pet 2, code: 50412}\n")
    with simulator(project.folder, "--faults", str(faults)) as simulated:
        project.write_rows(project.rows(4))
        project.use_simulator(simulated)
        project.write_config(output={"report_url": "https://files.example.com/out/"})
        report = generate_dataset(project.path, new_store=True)
    assert (report["exit_code"], report["refused"]) == (3, 1)
    flow_run = run_of(report, prefect)
    # Called after its config and when it began.
    name = prefect.read_flow_run(flow_run).name
    assert re.fullmatch(r"pets \d{4}-\d\d-\d\d \d\d:\d\d", name)
    shown = artifacts(prefect, flow_run)
    by_kind = {
        artifact["key"] or artifact["type"]: artifact["data"] for artifact in shown
    }
    assert by_kind.keys() == {
        "progress",
        "pets-summary",
        "pets-report",
        "pets-pictures",
        "pets-failures",
    }
    # Pictures that take too long keep nothing else from being shown.
    latest = max(shown, key=lambda artifact: artifact["created"])
    assert latest["key"] == "pets-pictures"
    address = "https://files.example.com/out/pets/report/index.html"
    assert address in by_kind["pets-report"]
    assert by_kind["pets-pictures"].startswith("data:image/jpeg;base64,")
    assert by_kind["progress"] == 100
    summary = {row["what"]: row["value"] for row in _table(by_kind["pets-summary"])}
    assert summary["jobs"] == "3 of 4 jobs succeeded, 1 refused"
    assert summary["calls"].startswith("4 in ")
    assert summary["cost"] == "unknown, as no price is set"
    assert summary["run"] == report["run_id"]
    assert _table(by_kind["pets-failures"]) == [{"code": "50412", "calls": 1}]


def _table(data: Any) -> list[dict[str, Any]]:
    return json.loads(data) if isinstance(data, str) else data


def test_the_librarys_log_lines_reach_the_api_and_no_secret_does(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """I9: the key is in no parameter, artifact, log line or name."""
    report = generate_dataset(shop.path, ["output.allow_hosts=[]"])
    assert report["images_missing"] == 6
    flow_run_id = run_of(report, prefect)
    lines = log_lines(prefect, flow_run_id)
    assert sum("could not be had" in line for line in lines) == 6
    run = prefect.read_flow_run(flow_run_id)
    assert run.parameters["config"] == shop.path
    everything = [
        run.model_dump_json(),
        json.dumps(artifacts(prefect, flow_run_id)),
        *lines,
        *(
            task.model_dump_json()
            for task in task_runs(prefect, flow_run_id, "cv_process")
        ),
    ]
    assert not [text for text in everything if KEY in text]


def test_a_chunk_that_infrastructure_fails_is_retried_and_pays_nothing_twice(
    shop: Project,
    simulated: Simulated,
    prefect: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C11: the first try is lost after it paid; the second finds everything in the ledger."""
    process, lost = ActiveRun.process, []

    def lose_the_first(run: ActiveRun, chunk: Any) -> Any:
        count = process(run, chunk)
        if not lost:
            lost.append(chunk)
            raise ConnectionError("the worker's network is gone")
        return count

    monkeypatch.setattr(ActiveRun, "process", lose_the_first)
    report = generate_dataset(shop.path, ["execution.jobs_per_task=3"])
    assert (report["exit_code"], report["succeeded"], simulated.bill.calls) == (0, 6, 6)
    tries = [
        run.run_count
        for run in task_runs(prefect, run_of(report, prefect), "cv_process")
    ]
    assert sorted(tries) == [1, 2]


def test_a_chunk_that_fails_for_good_ends_the_run_with_its_reason(
    shop: Project,
    simulated: Simulated,
    prefect: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C21: its row is skipped, all others are recorded and published, and the same command goes on."""
    process = ActiveRun.process

    def fail(run: ActiveRun, chunk: Any) -> Any:
        if chunk[0].row_number == 3:
            raise RuntimeError("no way")
        return process(run, chunk)

    monkeypatch.setattr(ActiveRun, "process", fail)
    with pytest.raises(
        PixmillError, match=r"row 3.* failed for good: RuntimeError: no"
    ):
        generate_dataset(shop.path)
    statuses = [row["status"] for row in load_rows(shop)]
    assert statuses == ["succeeded"] * 2 + ["skipped"] + ["succeeded"] * 3
    monkeypatch.setattr(ActiveRun, "process", process)
    report = generate_dataset(shop.path)
    assert (report["exit_code"], report["calls"], simulated.bill.calls) == (0, 1, 6)


def load_rows(shop: Project) -> list[dict[str, Any]]:
    return results({"dataset": shop.folder / "out" / "pets" / "dataset.parquet"})


def test_a_flow_run_pays_for_a_real_provider_only_under_a_cap(
    shop: Project, prefect: SyncPrefectClient
) -> None:
    """Spending: nobody is there to ask."""
    shop.write_config(budget={"max_calls": None})
    with pytest.raises(SpendingRefused, match="6 calls"):
        generate_dataset(shop.path)
    assert not (shop.folder / "out" / "pets").exists()


def test_a_flow_run_asks_for_a_ledger_that_exists(
    project: Project, simulated: Simulated
) -> None:
    """A nightly job that lost its disk must not pay for everything again; `new_store` agrees to it once."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    with (
        pytest.raises(SpendingRefused, match="there is no ledger"),
        prepare_flow_run(project.path, [], None, new_store=False, deployed=False),
    ):
        pass
    assert simulated.bill.calls == 0


def test_only_a_deployment_refuses_a_relative_store(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    project.write_rows(project.rows(1))
    project.write_config(store="out")
    with (
        pytest.raises(ConfigError, match="'out' is relative"),
        open_run(project.path, deployed=True),
    ):
        pass
    assert not Path("out").exists()
    with open_run(project.path, deployed=False) as run:
        assert run.to_pay == 1
    with open_run(
        project.path, f"store={project.folder / 'out'}", deployed=True
    ) as run:
        assert run.to_pay == 1


def open_run(config: str, *overrides: str, deployed: bool) -> Any:
    return prepare_flow_run(config, overrides, None, new_store=False, deployed=deployed)


@pytest.mark.parametrize(
    ("rows", "most"), [(1, 1), (200, 200), (201, 200), (1000, 200), (4321, 200)]
)
def test_a_large_table_makes_a_few_hundred_task_runs_at_most(
    project: Project, rows: int, most: int
) -> None:
    """`jobs_per_task: auto`; every job is in exactly one chunk."""
    project.write_rows(project.rows(rows))
    with prepare(load_config(project.write_config())) as prepared:
        run = prepared.start()
        chunks = list(run.chunks())
        assert len(chunks) <= most
        assert [job.row_number for chunk in chunks for job in chunk] == list(
            range(1, rows + 1)
        )
        assert not run.executor.has_enough(chunks[:1])
        assert run.executor.has_enough(chunks) is (rows > 1)


def test_quick_calls_make_larger_task_runs_and_slow_ones_do_not(
    project: Project,
) -> None:
    """A task run costs the same whatever a call takes: with calls of a millisecond it would be half of a run."""
    project.write_rows(project.rows(1000))
    with prepare(load_config(project.write_config())) as prepared:
        run = prepared.start()
        chunks = run.chunks()
        first = next(chunks)
        assert len(first) == 5
        assert not run.executor.has_enough([first])
        for _ in range(200):  # at once
            run.executor.counts.record_call(time.monotonic())
            run.executor.counts.record_answer("10000", success=True, cost=None)
        rest = next(chunks)
        assert len(rest) == 995
        assert run.executor.has_enough([first, rest])
        assert not run.executor.has_enough([rest])
