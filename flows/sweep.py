"""Flows: a sweep that is ordered by a form. Prefect shows the types of a signature as fields, ranges
and choices, so each operation has a flow whose signature is made from its schema.

`sweep_parameters` is the form of the first operation. That of another one is `sweep_` and its
`req_key`, with underscores for what a name can't hold: `flows/sweep.py:sweep_jimeng_t2i_v40`.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from prefect import Flow, flow
from pydantic import Field

from flows.generate import generate_dataset
from pixmill.config.field_types import ConfigName
from pixmill.request.operations import OPERATIONS, Operation
from pixmill.request.operations.custom import installed_operations
from pixmill.request.registry import field_types, operation_of

Value: TypeAlias = bool | int | float | str
Order: TypeAlias = Callable[..., dict[str, Any]]

CONTROLNET = "high_aes_scheduler_svr_controlnet_v2.0"

# These were named before forms were made from schemas, and deployments pass them.
FIRST_NAMES: Mapping[str, tuple[str, list[Value]]] = {
    "controlnet_args.0.strength": ("strengths", [0.2, 0.6, 1.0]),
    "controlnet_args.0.type": ("controls", ["depth"]),
    "scale": ("scales", []),
    "ddim_steps": ("steps", []),
}
"""Names and values of lists in the form of `CONTROLNET`, by the path of the field."""


def make_form(operation: Operation) -> Callable[[Order], Flow[..., dict[str, Any]]]:
    """Return a decorator that makes a flow of an order: one with a list for each field of `operation`.

    The order is called with the lists that have values, by path, among its `axes`.
    """
    named = FIRST_NAMES if operation.req_key == CONTROLNET else {}
    paths: dict[str, str] = {}
    lists = []
    for path, kind in field_types(operation).items():
        name, values = named.get(path, (path.replace(".", "_"), []))
        paths[name] = path
        lists.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=values,
                annotation=list[kind],  # type: ignore[valid-type]
            )
        )

    def decorate(order: Order) -> Flow[..., dict[str, Any]]:
        config, name, *others = inspect.signature(order).parameters.values()

        def ordered(config: str, name: str, **given: Any) -> dict[str, Any]:
            grid = {
                path: given.pop(field, named[path][1] if path in named else [])
                for field, path in paths.items()
            }
            # A field that is in both is asked for as `axes` has it.
            axes = grid | given.pop("axes", {})
            return order(config, name, axes=axes, **given)

        ordered.__doc__ = order.__doc__
        ordered.__name__ = order.__name__
        ordered.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                config,
                name,
                *lists,
                *(
                    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                    for parameter in others
                ),
            ]
        )
        return flow(name="sweep-parameters", persist_result=False)(ordered)

    return decorate


def order_sweep(
    config: str,
    name: ConfigName,
    replicates: Annotated[int, Field(ge=1, le=16)] = 1,
    where: str | None = None,
    max_calls: Annotated[int, Field(ge=1)] = 200,
    limit: Annotated[int, Field(ge=1)] | None = None,
    overrides: list[str] | None = None,
    new_store: bool = False,
    axes: dict[str, list[Value]] = {},  # noqa: B006 - shown, never changed
) -> dict[str, Any]:
    """Cross the table of the config file `config` with every combination of the values given.

    The dataset is called `name`. Besides these, the form has a list for each field of its
    operation (`scales`, `steps`, `use_rephraser`, …); an empty one leaves the field as the config
    has it. `axes` holds values of further request fields by
    their dotted paths, of whatever operation the config is for: with another one than the form's,
    empty the lists. `where` picks rows, `max_calls` caps what is paid, `overrides` come before all
    of these. Returns what `pixmill run --json` says.
    """
    grid = {path: values for path, values in axes.items() if values}
    ordered = {
        "name": name,
        "sweep": {"groups": [{"grid": grid}]},
        "seed.replicates": replicates,
        "budget.max_calls": max_calls,
    }
    if where:
        ordered["input.where"] = where
    changes = [
        f"{key}={json.dumps(value, allow_nan=False)}" for key, value in ordered.items()
    ]
    return generate_dataset.fn(config, [*(overrides or []), *changes], limit, new_store)


sweep_parameters = make_form(operation_of(CONTROLNET))(order_sweep)


def __getattr__(name: str) -> Flow[..., dict[str, Any]]:
    """Return the form of an operation, made when it is asked for: each takes some milliseconds."""
    for req_key in [*OPERATIONS, *installed_operations().names]:
        if name == "sweep_" + re.sub(r"\W", "_", req_key):
            return make_form(operation_of(req_key))(order_sweep)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
