"""The end of `pixmill run` and Prefect: what it waits for, and what it says where Prefect fails."""

from typing import Any

import pytest
from prefect.exceptions import TerminationSignal
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

import flows.generate
from pixmill.cli import flow_run
from pixmill.cli.run import RunRequest
from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.prepare import PreparedRun, prepare
from pixmill.execution.run_summary import RunSummary
from tests.conftest import Project, Simulated


def flow_of(project: Project, monkeypatch: pytest.MonkeyPatch, does: Any) -> RunSummary:
    """What `pixmill run` reports where Prefect does this with the flow."""
    project.write_rows(project.rows(2))
    config = project.write_config()
    monkeypatch.setattr(flow_run, "_deliver_events", lambda: None)
    with prepare(load_config(config)) as run:
        monkeypatch.setattr(flows.generate, "generate_dataset", lambda *_: does(run))
        return flow_run.run_flow(run, RunRequest(run.config, config, []))


def carried_out(prepared: PreparedRun) -> None:
    run = prepared.start()
    for chunk in run.chunks():
        run.process(chunk)
    run.finish()


@pytest.mark.parametrize("wanted", [None, 30])
def test_the_end_waits_for_no_heartbeat_that_nobody_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, wanted: int | None
) -> None:
    """Its thread sleeps for whole seconds, and is waited for; an automation that needs it says how often."""
    seen: list[int | None] = []

    def look(run: PreparedRun) -> None:
        seen.append(get_current_settings().flows.heartbeat_frequency)
        carried_out(run)

    asked = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: wanted} if wanted else {}
    with temporary_settings(asked):
        flow_of(project, monkeypatch, look)
    assert seen == [wanted]


def test_a_sigterm_that_prefect_took_before_the_run_began_interrupts_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: PreparedRun) -> None:
        raise TerminationSignal(15)

    with pytest.raises(KeyboardInterrupt):
        flow_of(project, monkeypatch, end)


@pytest.mark.parametrize(
    "error", [TerminationSignal(15), ConnectionError("the server is gone")]
)
def test_a_run_that_prefect_left_after_its_end_tells_what_was_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A6, C2: the report is the run's own."""

    def end(run: PreparedRun) -> None:
        carried_out(run)
        raise error

    report = flow_of(project, monkeypatch, end)
    assert (report.exit_code, report.succeeded, report.calls) == (0, 2, 2)


def test_jobs_that_prefect_left_are_told_and_no_success(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """C2, C21: what was paid for is published, and the exit code is not 0."""

    def end(run: PreparedRun) -> None:
        started = run.start()
        started.process(next(started.chunks()))
        raise ConnectionError("the server is gone")

    report = flow_of(project, monkeypatch, end)
    assert (report.exit_code, report.succeeded, report.skipped) == (3, 1, 1)
    assert (
        "warning: Prefect failed (ConnectionError: the server"
        in capsys.readouterr().err
    )


def test_a_run_that_prefect_never_began_says_that_nothing_was_sent(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: and leaves the dataset alone."""

    def end(_: PreparedRun) -> None:
        raise ConnectionError("no server")

    with pytest.raises(
        PixmillError,
        match=r"ConnectionError: no server\) before the run began; nothing was sent",
    ):
        flow_of(project, monkeypatch, end)
    assert simulated.bill.calls == 0
    assert not (project.folder / "out" / "simulated" / "pets").exists()
