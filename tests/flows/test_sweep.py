"""The sweep that is ordered by a form: what it asks for, and that its ranges are the operation's."""

import json
from typing import Any

import pytest
from prefect.flows import load_flow_from_entrypoint

import flows.sweep
from flows.generate import generate_dataset
from flows.sweep import make_form, order_sweep, sweep_parameters
from pixmill.request.operations import OPERATIONS
from pixmill.request.registry import field_types, operation_of

pytestmark = pytest.mark.slow  # importing Prefect takes seconds


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The overrides of each run that the form has ordered, by their keys."""
    runs: list[dict[str, Any]] = []

    def take(_config: str, overrides: list[str], *_: object) -> dict[str, Any]:
        pairs = (override.partition("=") for override in overrides)
        runs.append({key: json.loads(value) for key, _, value in pairs})
        return {}

    monkeypatch.setattr(generate_dataset, "fn", take)
    return runs


def test_a_form_orders_the_lists_that_have_values(
    ordered: list[dict[str, Any]],
) -> None:
    sweep_parameters.fn("pets.yaml", "s", strengths=[0.5], controls=[], scales=[3, 4])
    (run,) = ordered
    grid = {"controlnet_args.0.strength": [0.5], "scale": [3, 4]}
    assert run["sweep"] == {"groups": [{"grid": grid}]}
    assert (run["name"], run["budget.max_calls"]) == ("s", 200)


def test_a_form_orders_any_field_of_any_operation(
    ordered: list[dict[str, Any]],
) -> None:
    """Another operation has other fields than the form has lists for."""
    axes: dict[str, list[Any]] = {"style": ["ink", "oil"], "logo_info.position": [0, 1]}
    sweep_parameters.fn("pets.yaml", "s", strengths=[], controls=[], axes=axes)
    assert ordered[0]["sweep"] == {"groups": [{"grid": axes}]}


def test_the_ranges_of_the_form_are_those_of_the_operation() -> None:
    fields = sweep_parameters.parameters.properties
    strength = fields["strengths"]["items"]
    assert (strength["exclusiveMinimum"], strength["maximum"]) == (0, 1)
    assert fields["controls"]["items"]["enum"] == ["depth", "canny", "pose"]


@pytest.mark.parametrize("req_key", OPERATIONS)
def test_the_form_of_an_operation_has_a_list_for_each_of_its_fields(
    req_key: str,
) -> None:
    form = make_form(operation_of(req_key))(order_sweep)
    lists = {
        name
        for name, field in form.parameters.properties.items()
        if field.get("type") == "array" and name != "overrides"
    }
    assert len(lists) == len(field_types(operation_of(req_key)))
    assert form.parameters.required == ["config", "name"]


def test_the_form_of_another_operation_is_found_by_its_name(
    ordered: list[dict[str, Any]],
) -> None:
    """As a deployment names it."""
    form = load_flow_from_entrypoint("flows/sweep.py:sweep_jimeng_t2i_v40")
    scale = form.parameters.properties["scale"]["items"]
    assert (scale["minimum"], scale["maximum"]) == (0, 1)
    taken = form.validate_parameters(
        {"config": "pets.yaml", "name": "s", "width": [2048, 2304], "scale": [0.25]}
    )
    form.fn(**taken)
    assert ordered[0]["sweep"] == {
        "groups": [{"grid": {"width": [2048, 2304], "scale": [0.25]}}]
    }
    with pytest.raises(Exception, match="less than or equal to 1"):
        form.validate_parameters({"config": "c", "name": "s", "scale": [50]})


def test_there_is_no_form_of_an_operation_that_nobody_knows() -> None:
    with pytest.raises(AttributeError, match="sweep_nothing"):
        flows.sweep.sweep_nothing  # noqa: B018 - is looked up
