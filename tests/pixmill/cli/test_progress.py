"""What a person sees of a run while it goes on."""

import io
from collections import Counter

import pytest
from rich.console import Console

from pixmill.cli.progress import block, plain_line
from pixmill.execution.progress import Progress

CALM = Progress(
    to_pay=100,
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


@pytest.mark.parametrize("shown", [plain_line, on_a_terminal])
def test_progress_names_what_matters(shown: object) -> None:
    assert callable(shown)
    text = shown(CALM)
    for part in ("3 ", "in flight", "5 cached", "8.40 CNY", "50500 × 2", "1.9"):
        assert part in text
    assert "is down" not in text


@pytest.mark.parametrize("shown", [plain_line, on_a_terminal])
def test_an_outage_is_said(shown: object) -> None:
    """D18: a run that waits says what for."""
    assert callable(shown)
    assert "the service is down" in shown(CALM._replace(service_is_down=True))
    assert "by SIGTERM" in shown(CALM._replace(stopping="interrupted by SIGTERM"))
