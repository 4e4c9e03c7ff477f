"""Flow: a sweep that is ordered by a form. Prefect shows the types of this signature as fields, ranges and choices."""

import json
from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from flows.generate import generate_dataset

Strength = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[float, Field(ge=1, le=30)]
Steps = Annotated[int, Field(ge=1, le=50)]
Control = Literal["depth", "canny", "pose"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,99}$")]


@flow(name="sweep-parameters", persist_result=False)
def sweep_parameters(
    config: str,
    name: Name,
    strengths: list[Strength] = [0.2, 0.6, 1.0],  # noqa: B006 - it is shown in the form, and never changed
    controls: list[Control] = ["depth"],  # noqa: B006
    scales: list[Scale] = [],  # noqa: B006
    steps: list[Steps] = [],  # noqa: B006
    replicates: Annotated[int, Field(ge=1, le=16)] = 1,
    where: str | None = None,
    max_calls: Annotated[int, Field(ge=1)] = 200,
    limit: Annotated[int, Field(ge=1)] | None = None,
    overrides: list[str] | None = None,
    new_store: bool = False,
) -> dict[str, Any]:
    """Cross the table of the config file `config` with every combination of the values given.

    The dataset is called `name`. An empty list leaves its parameter as the config has it. `where` picks rows,
    `max_calls` caps what is paid, `overrides` come before all of these. Returns what `pixmill run --json` says.
    """
    axes = {
        "controlnet_args.0.strength": strengths,
        "controlnet_args.0.type": controls,
        "scale": scales,
        "ddim_steps": steps,
    }
    ordered = {
        "name": name,
        "sweep": {
            "groups": [
                {"grid": {path: values for path, values in axes.items() if values}}
            ]
        },
        "seed.replicates": replicates,
        "budget.max_calls": max_calls,
        **({"input.where": where} if where else {}),
    }
    changes = [
        *(overrides or []),
        *(
            f"{key}={json.dumps(value, allow_nan=False)}"
            for key, value in ordered.items()
        ),
    ]
    return generate_dataset.fn(config, changes, limit, new_store)
