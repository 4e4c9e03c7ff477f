"""What a person sees of a run while it goes on."""

import io
import re
import time
from collections import Counter
from decimal import Decimal

import pytest
from rich.console import Console, Group

from pixmill.cli.progress import block, plain_line
from pixmill.config.loading import load_config
from pixmill.execution.progress import Progress, RunCounters
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.stop_signal import StopSignal

CALM = Progress(
    to_do=100,
    cached=5,
    done=Counter(succeeded=40, failed=2),
    in_flight=3,
    limit=4,
    qps=2,
    calls=44,
    rate=1.9,
    cost=8.4,
    currency="CNY",
    images_waiting=1,
    codes=[("50500", 2)],
    stopping=None,
)


def on_a_terminal(now: Progress) -> str:
    screen = io.StringIO()
    Console(file=screen, width=100).print(block(now))
    return screen.getvalue()


def test_no_text_of_the_progress_vanishes_on_white_or_on_black() -> None:
    """Yellow, cyan, green and white do on the one, blue and dim text on the other."""
    screen = io.StringIO()
    outcomes = Counter({"succeeded": 9, "failed": 2, "refused": 1, "in_doubt": 1})
    now = CALM._replace(done=outcomes, stopping="budget", service_is_down=True)
    console = Console(file=screen, force_terminal=True, color_system="standard")
    shown = block(now)
    assert isinstance(shown, Group)
    console.print(Group(*shown.renderables[1:]))
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", screen.getvalue()))
    assert codes == {"0", "31", "35", "1;35"}


@pytest.mark.parametrize("shown", [plain_line, on_a_terminal])
def test_progress_names_what_matters(shown: object) -> None:
    assert callable(shown)
    text = shown(CALM)
    for part in ("3 ", "in flight", "5 cached", "8.40 CNY", "50500 × 2", "1.9"):
        assert part in text
    assert "is down" not in text


@pytest.mark.parametrize(
    ("provider", "cost"),
    [
        ({"kind": "simulator"}, None),
        ({"kind": "gateway", "base_url": "http://127.0.0.1:9"}, 1),
    ],
    ids=["simulator", "gateway"],
)
def test_a_simulated_run_shows_no_money(
    provider: dict[str, str], cost: int | None
) -> None:
    config = load_config(
        name="pets",
        input={"path": "pets.csv", "columns": {"prompt": "text"}},
        request={"req_key": "jimeng_t2i_v31"},
        provider=provider,
        budget={"price_per_call": 1},
    )
    counts = RunCounters(config, 1)
    counts.record_answer(None, success=True, cost=Decimal(1))
    now = counts.progress(StopSignal(), in_flight=0, limit=1)
    assert now.cost == cost
    summary = RunSummary(cost=1.0)
    for text in (plain_line(now), on_a_terminal(now), summary.describe(config)):
        assert ("1 CNY" in text or "1.00 CNY" in text) == (cost is not None)


def test_the_rate_is_never_above_a_limit_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(
        name="pets",
        input={"path": "pets.csv", "columns": {"prompt": "text"}},
        request={"req_key": "jimeng_t2i_v31"},
    )
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    counts = RunCounters(config, 100)

    def shown() -> float:
        return counts.progress(StopSignal(), in_flight=0, limit=9, qps=4).rate

    # Sent four a second, the first of them slow, so that six end within a moment.
    clock[0] = 1.5
    for number in range(6):
        counts.record_call(number * 0.25)
        clock[0] += 0.01
    assert shown() == pytest.approx(4)
    # A second call that was sent a little early: its turn was the limiter's.
    counts = RunCounters(config, 100)
    counts.record_call(clock[0] - 0.49)
    counts.record_call(clock[0] - 0.25)
    assert shown() == 4
    # And a run that waits has no rate.
    clock[0] += 100
    assert shown() < 0.05


@pytest.mark.parametrize("shown", [plain_line, on_a_terminal])
def test_an_outage_is_said(shown: object) -> None:
    """D18: a run that waits says what for."""
    assert callable(shown)
    assert "the service is down" in shown(CALM._replace(service_is_down=True))
    assert "by SIGTERM" in shown(CALM._replace(stopping="interrupted by SIGTERM"))
