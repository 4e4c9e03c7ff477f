"""Conditions of a sweep may name the labels of values."""

from typing import Any

import pytest

from pixmill.request.model import Request, Sweep
from pixmill.request.sweep import make_points

INK = {"label": "ink", "value": "in black ink"}
OIL = {"label": "oil", "value": "in oil paint"}
LOW = {"label": "low", "value": 2}
AXES: dict[str, Any] = {"style": [INK, OIL, "plain"], "scale": [LOW, 5]}
REQUEST = Request(prompt="{text} {style}")


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("style == 'ink'", ["ink 2", "ink 5"]),
        ("'ink' == style", ["ink 2", "ink 5"]),
        ("style == 'in black ink'", ["ink 2", "ink 5"]),
        ("style != 'ink'", ["oil 2", "oil 5", "plain 2", "plain 5"]),
        ("style in ['ink', 'plain'] and scale == 5", ["ink 5", "plain 5"]),
        ("style not in ('ink', 'plain')", ["oil 2", "oil 5"]),
        ("scale == 'low' and style == 'oil'", ["oil 2"]),
        ("not (scale == 'low' or style in ['oil'])", ["ink 5", "plain 5"]),
        # Only what is compared with the axis is one of its labels.
        ("contains(style, 'ink')", ["ink 2", "ink 5"]),
    ],
)
def test_a_label_means_its_value(condition: str, kept: list[str]) -> None:
    sweep = Sweep.model_validate({**AXES, "only": [condition]})
    points = make_points(sweep, REQUEST)
    named = [
        f"{point.labels['style']} {point.values['scale']}" for point in points.points
    ]
    assert named == kept
    (count,) = points.condition_counts
    assert (count.text, count.matched, count.of) == (condition, len(kept), 6)


def test_a_text_that_is_a_value_itself_means_that() -> None:
    crossed = [{"label": "b", "value": "a"}, {"label": "a", "value": "b"}]
    sweep = Sweep.model_validate({"style": crossed, "only": ["style == 'a'"]})
    (point,) = make_points(sweep, REQUEST).points
    assert point.values["style"] == "a"


def test_a_condition_over_a_column_as_well_may_name_labels() -> None:
    sweep = Sweep.model_validate(
        {**AXES, "exclude": ["style == 'ink' and kind == 'x'"]}
    )
    (condition,) = make_points(sweep, REQUEST).row_conditions
    values = {"style": "in black ink", "kind": "x"}
    assert condition.condition.mask(values, 1).tolist() == [True]
