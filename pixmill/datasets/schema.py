"""The dataset's schema: which columns it has, of what type and name, and what they mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.datasets.our_columns import OUR_COLUMNS, find_columns
from pixmill.planning.job_expander import JobExpander
from pixmill.request.sweep import Axis, axis_column

OUR_FIELDS: tuple[tuple[str, pa.DataType], ...] = tuple(
    (column.name, column.type) for column in OUR_COLUMNS
)
"""Names and types of our columns, in the order of the dataset."""

_AXES_AFTER = "replicate"
"""The column behind which the sweep's axes have theirs."""

DESCRIPTION = b"pixmill"
"""The key of the schema's metadata under which a JSON object says what the columns mean."""


def result_schema(
    input_schema: pa.Schema,
    axes: Sequence[Axis] = (),
    scores: Sequence[tuple[str, pa.DataType]] = (),
) -> pa.Schema:
    """Return the dataset's schema: the input's columns, ours, and those of `scores`, prefixed with
    `pixmill_` where a name is taken."""
    taken = set(input_schema.names)
    ours = []
    for name, kind in [*our_fields(axes), *scores]:
        free = name
        while free in taken:
            free = f"pixmill_{free}"
        taken.add(free)
        ours.append(pa.field(free, kind))
    return pa.schema([*input_schema, *ours])


def our_columns(schema: pa.Schema) -> Mapping[str, str]:
    """Return the actual name of each of our columns that is there."""
    return find_columns(schema, [name for name, _ in OUR_FIELDS])


def free_name(name: str, schema: pa.Schema) -> str:
    """Return `name`, prefixed with `pixmill_` until no column has it."""
    while name in schema.names:
        name = f"pixmill_{name}"
    return name


def our_fields(axes: Sequence[Axis]) -> list[tuple[str, pa.DataType]]:
    """Return names and types of our columns, those of the sweep's `axes` among them."""
    fields = list(OUR_FIELDS)
    # Beside the point that they make up, where people look for them.
    after = [name for name, _ in fields].index(_AXES_AFTER) + 1
    return [
        *fields[:after],
        *(
            (axis.column, axis_column([each.value for each in axis.values]).type)
            for axis in axes
        ),
        *fields[after:],
    ]


def description(
    config: Config,
    expander: JobExpander,
    schema: pa.Schema,
    input_schema: pa.Schema,
) -> dict[str, Any]:
    """Say what the columns of `schema` mean: the sweep's axes, the columns that are read, and our
    names."""
    ours = dict(
        zip(
            (name for name, _ in our_fields(expander.sweep.axes)),
            schema.names[len(input_schema.names) :],
            # Behind ours are those of scores.
            strict=False,
        )
    )
    return {
        "name": config.name,
        "axes": [
            {
                "path": axis.path,
                "column": ours[axis.column],
                "values": [value._asdict() for value in axis.values],
            }
            for axis in expander.sweep.axes
        ],
        "columns": {
            role: config.input.columns[role] for role in sorted(config.input.columns)
        },
        "row_key": config.input.row_key,
        "own": ours,
        "provider": config.provider.kind,
        "currency": config.budget.currency,
    }
