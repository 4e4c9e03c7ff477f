"""Flow: a sweep that is ordered by a form. Prefect shows the types of this signature as
fields, ranges and choices.
"""

import json
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.generate import generate_dataset
from pixmill.request.operations.controlnet import (
    ControlStrength,
    ControlType,
    Scale,
    Steps,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,99}$")]
Value = bool | int | float | str

FORM_FIELDS = {
    "strengths": "controlnet_args.0.strength",
    "controls": "controlnet_args.0.type",
    "scales": "scale",
    "steps": "ddim_steps",
}
"""The request fields that the form has a list of its own for; `axes` takes any other."""


@flow(name="sweep-parameters", persist_result=False)
def sweep_parameters(
    config: str,
    name: Name,
    strengths: list[ControlStrength] = [0.2, 0.6, 1.0],  # noqa: B006 - shown, never changed
    controls: list[ControlType] = ["depth"],  # noqa: B006
    scales: list[Scale] = [],  # noqa: B006
    steps: list[Steps] = [],  # noqa: B006
    replicates: Annotated[int, Field(ge=1, le=16)] = 1,
    where: str | None = None,
    max_calls: Annotated[int, Field(ge=1)] = 200,
    limit: Annotated[int, Field(ge=1)] | None = None,
    overrides: list[str] | None = None,
    new_store: bool = False,
    axes: dict[str, list[Value]] = {},  # noqa: B006
) -> dict[str, Any]:
    """Cross the table of the config file `config` with every combination of the values given.

    The dataset is called `name`. An empty list leaves its parameter as the config has it.
    `axes` holds values of further request fields by their dotted paths, of whatever
    operation the config is for: with another one than the form's, empty the lists.
    `where` picks rows, `max_calls` caps what is paid, `overrides` come before all of
    these. Returns what `pixmill run --json` says.
    """
    given = {
        "strengths": strengths,
        "controls": controls,
        "scales": scales,
        "steps": steps,
    }
    # A field that is in both is asked for as `axes` has it.
    grid = {FORM_FIELDS[field]: values for field, values in given.items()} | axes
    ordered = {
        "name": name,
        "sweep": {
            "groups": [
                {"grid": {path: values for path, values in grid.items() if values}}
            ]
        },
        "seed.replicates": replicates,
        "budget.max_calls": max_calls,
    }
    if where:
        ordered["input.where"] = where
    changes = [
        f"{key}={json.dumps(value, allow_nan=False)}" for key, value in ordered.items()
    ]
    return generate_dataset.fn(config, [*(overrides or []), *changes], limit, new_store)
