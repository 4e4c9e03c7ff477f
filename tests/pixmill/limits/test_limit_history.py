"""What an operator sees of the limits: the log, the run's report, and `pixmill status`."""

import json
import logging
import random
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.execution.status import read_status
from pixmill.limits.feedback import Feedback
from pixmill.limits.history import GROWTH, IN_FLIGHT, RATE, LimitHistory, as_limit
from pixmill.tuning import CHANGES_KEPT, FAULTS_TO_OPEN, NOTABLE_CHANGE
from tests.conftest import Project, run_config, simulator
from tests.fork_server import RUN, fork_code
from tests.pixmill.limits.test_limiter_in_virtual_time import Hidden, Still, World
from tests.pixmill.run_checks import configure_run
from tests.real_command import wait_until


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The limits' log lines, DEBUG included."""
    with caplog.at_level(logging.DEBUG, "pixmill.limits"):
        yield caplog


def told(logged: pytest.LogCaptureFixture) -> list[str]:
    """What an operator reads at INFO."""
    return [
        record.getMessage()
        for record in logged.records
        if record.levelno >= logging.INFO
    ]


def test_a_cut_of_the_rate_is_told_with_the_provider_s_code(
    logged: pytest.LogCaptureFixture,
) -> None:
    still = Still(qps=20)
    calls = still.sent(20)
    still.limiter.release(calls[-1], Feedback.RATE_LIMITED, answered=True, code="50429")
    (change,) = still.limiter.changes
    assert (change.what, change.before, change.cause) == (RATE, 20, "50429")
    assert change.after == still.limiter.rate_limit
    assert told(logged) == [f"rate 20.0 → {change.after:.1f} calls/s: 50429"]


def test_a_cut_of_the_calls_in_flight_is_told_with_the_provider_s_code(
    logged: pytest.LogCaptureFixture,
) -> None:
    still = Still(concurrency=12)
    calls = still.sent(12)
    still.limiter.release(
        calls[8], Feedback.CONCURRENCY_LIMITED, answered=True, code="50430"
    )
    for call in calls[9:]:
        still.limiter.release(call, Feedback.CONCURRENCY_LIMITED, answered=True)
    assert told(logged) == ["in flight 12 → 8: 50430"]
    assert still.limiter.summary()["in_flight"] == {"now": 8, "lowest": 8, "cuts": 1}


def test_an_outage_is_told_as_a_single_call_in_flight_and_so_is_its_end(
    logged: pytest.LogCaptureFixture,
) -> None:
    still = Still(concurrency=10)
    still.answered(Feedback.OK, *still.sent(1))
    still.answered(Feedback.FAULT, *still.sent(FAULTS_TO_OPEN))
    still.answered(Feedback.OK, *still.sent(1))
    assert told(logged) == [
        "in flight 10 → 1: outage",
        "in flight 1 → 10: the service works again",
    ]


def test_a_hold_that_the_provider_asks_for_is_told_once(
    logged: pytest.LogCaptureFixture,
) -> None:
    """Each of the calls in flight may bring the same Retry-After."""
    still = Still()
    for _ in range(5):
        still.limiter.pause_all(7)
    assert told(logged) == [
        "all calls wait for 7 s, as the provider asks for it (Retry-After)"
    ]


def test_the_swing_around_a_limit_that_stands_does_not_fill_the_log(
    logged: pytest.LogCaptureFixture,
) -> None:
    """2,000 calls at a limit that is found and then met again and again."""
    hidden = Hidden(qps=8, concurrency=40, latency=0.5)
    world = World(hidden, 1)
    limiter = hidden.limiter(world)
    world.run(limiter, 2000)
    summary = limiter.summary()
    assert summary["rate"]["cuts"] > 5
    assert len(told(logged)) == len(summary["changes"]) <= 12
    steps = [record for record in logged.records if record.levelno == logging.DEBUG]
    assert len(steps) > 100


@pytest.mark.parametrize("seed", range(20))
def test_an_operator_is_never_more_than_a_notable_change_behind(seed: int) -> None:
    """Many small steps are told once they come to something, and start where the last one ended."""
    lot = random.Random(seed)
    history = LimitHistory("", lambda: 0.0)
    value = 50.0
    history.record(RATE, 100.0, value, "50429")
    for _ in range(300):
        before = value
        value *= lot.uniform(0.95, 1.06)
        history.record(RATE, before, value, GROWTH)
        seen = history.changes[-1].after
        assert abs(as_limit(value) - seen) < NOTABLE_CHANGE * seen
    changes = history.changes
    assert len(changes) <= CHANGES_KEPT
    for earlier, later in pairwise(changes):
        assert earlier.after == later.before


def recorded_limits(project: Project, report: Mapping[str, Any]) -> Any:
    """What the record of a run, beside its dataset, tells of the limits."""
    path = project.folder / "out" / "pets" / "runs" / f"{report['run_id']}.json"
    return json.loads(path.read_text())["limits"]


def test_the_run_s_report_and_status_tell_how_the_limits_changed(
    project: Project,
) -> None:
    # Twelve calls begin while the first ones are worked on, whatever the machine does.
    limits = {"concurrency": 12, "qps": 10_000}
    with simulator(
        project.folder, "--concurrency", "3", "--latency", "0.3"
    ) as simulated:
        config = configure_run(project, simulated.url, 40, limits=limits)
        report = run_config(config)
        throttled = sum(line["code"] == 50430 for line in simulated.bill.lines())
    assert throttled
    recorded = recorded_limits(project, report)
    in_flight = recorded["in_flight"]
    assert in_flight["cuts"] >= 1
    assert in_flight["lowest"] <= in_flight["now"] <= 12
    first = recorded["changes"][0]
    assert (first["what"], first["before"], first["cause"]) == (IN_FLIGHT, 12, "50430")
    (run,) = read_status(load_config(config)).runs
    assert [change._asdict() for change in run.limit_changes] == recorded["changes"]
    # Only the newest changes are shown, and how many there were is up to the answers.
    assert any("in flight" in line for line in run.describe_limits())


def test_a_run_that_paid_for_nothing_tells_no_limits(project: Project) -> None:
    with simulator(project.folder) as simulated:
        config = configure_run(project, simulated.url, 2)
        run_config(config)
        assert recorded_limits(project, run_config(config)) is None


def test_status_tells_the_changes_of_a_run_that_another_process_carries_out(
    project: Project,
) -> None:
    limits = {"concurrency": 12, "qps": 50}
    with simulator(
        project.folder, "--concurrency", "2", "--latency", "0.3"
    ) as simulated:
        config = configure_run(project, simulated.url, 400, limits=limits)

        def changes() -> list[str]:
            runs = read_status(load_config(config)).runs
            return [line for run in runs if run.alive for line in run.describe_limits()]

        with fork_code(RUN, config):
            wait_until(lambda: simulated.bill.calls >= 3, "3 calls")
            wait_until(lambda: bool(changes()), "a change of a limit")
            seen = changes()
    assert any("in flight 12 →" in line and "50430" in line for line in seen)
