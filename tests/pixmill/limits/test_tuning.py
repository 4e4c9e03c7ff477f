"""The tuning numbers: each is used, explained, and on the page for operators."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from pixmill import tuning
from pixmill.backoff import Backoff

ROOT = Path(__file__).parents[3]
NAMES = [name for name in vars(tuning) if name.isupper()]
PAGE = (ROOT / "docs" / "how-limits-work.md").read_text()


def explanations() -> dict[str, str]:
    """The text under each number."""
    body = ast.parse(Path(tuning.__file__).read_text()).body
    return {
        node.targets[0].id: text.value.value
        for node, text in pairwise(body)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_number_says_its_unit_its_reason_and_what_more_and_less_would_do(
    name: str,
) -> None:
    unit, reason = explanations()[name].split("\n\n")
    assert "\n" not in unit
    assert "More: " in reason
    assert "Less: " in reason
    assert f"| `{name}` |" in PAGE


def test_no_number_is_left_over() -> None:
    sources = [
        path.read_text()
        for path in (ROOT / "pixmill").rglob("*.py")
        if path.name != "tuning.py"
    ]
    assert [name for name in NAMES if not any(name in text for text in sources)] == []


def test_the_bound_of_a_pause_doubles_up_to_its_cap_and_the_pause_is_drawn_below_it() -> (
    None
):
    backoff = Backoff(first=0.5, cap=3.0)
    assert [backoff.bound(failures) for failures in (1, 2, 3, 4, 5_000)] == [
        0.5,
        1,
        2,
        3,
        3,
    ]
    assert backoff.pause(2, jitter=lambda: 0.25) == 0.25
    assert all(0 <= backoff.pause(9) < 3 for _ in range(100))
