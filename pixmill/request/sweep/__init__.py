"""The sweep algebra: `sweep:` of a config becomes points, before any row is read.

    mistakes = read_sweep(config.sweep, config.request).mistakes    # [(config path, message), …]
    sweep = make_points(config.sweep, config.request)               # ConfigError where there are mistakes
    for point in sweep.points:
        request, texts = sweep.request_at(point, config.request), sweep.variables_at(point)

Groups multiply, the first one slowest. A group is one of

* `grid: {axis: values, …}`: every combination, the last axis fastest;
* `zip: {axis: values, …}`: the axes in step;
* `list: [{axis: value, …}, …]`: these points; an axis that an item leaves out is at its default;
* `random: {n: 20, seed: 1, axis: distribution, …}`: n draws, the axes beside `n` and `seed` (default 0).

Values are a list, `{range: [a, b, step]}` with b if a step hits it, `{linspace: [a, b, n]}` or
`{logspace: [a, b, n]}` between the end values a and b. `random` draws uniformly from these, from `{choice: […]}`,
`{uniform: [a, b]}`, `{randint: [a, b]}` (b included), or evenly over orders of magnitude: `{loguniform: [a, b]}`.
A value may be `{label: …, value: …}`.

A point stays if no condition of `exclude` and every condition of `only` holds.
"""

from pixmill.request.sweep.expand import ReadSweep, make_points, read_sweep
from pixmill.request.sweep.points import (
    Axis,
    AxisValue,
    ConditionCount,
    Point,
    RowCondition,
    SweepPoints,
    axis_column,
)

__all__ = [
    "Axis",
    "AxisValue",
    "ConditionCount",
    "Point",
    "ReadSweep",
    "RowCondition",
    "SweepPoints",
    "axis_column",
    "make_points",
    "read_sweep",
]
