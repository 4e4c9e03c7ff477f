"""How two sides asked: keys of the two configs, or, where one kept no config, the parameters of their requests."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from pixmill.datasets.compare.columns import Jobs
from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.request.model import flatten

MAX_VALUES = 20
IDENTITY = ("input", "request", "sweep", "seed")


class Difference(NamedTuple):
    """A dotted path and its value on each side; the first 20 of its values where the requests of a side differ."""

    path: str
    a: Any
    b: Any


def differences(
    a: ComparedDataset, b: ComparedDataset, jobs_a: Jobs, jobs_b: Jobs
) -> tuple[Difference, ...]:
    """Return what differs, what decides about images first; `None` stands for what a side does not have."""
    before = _requested(jobs_a.parameter_sets)
    after = _requested(jobs_b.parameter_sets)
    if a.config is not None and b.config is not None:
        before = flatten(a.config)
        after = flatten(b.config)
    found = [
        Difference(path, before.get(path), after.get(path))
        for path in {**before, **after}
        if before.get(path) != after.get(path)
    ]
    return tuple(
        sorted(found, key=lambda one: one.path.partition(".")[0] not in IDENTITY)
    )


def _requested(parameter_sets: Iterable[str]) -> dict[str, Any]:
    values: dict[str, set[str]] = defaultdict(set)
    for text in parameter_sets:
        for path, value in flatten(json.loads(text)).items():
            values[f"request.params.{path}"].add(json.dumps(value, allow_nan=False))
    return {path: _one_or_several(found) for path, found in sorted(values.items())}


def _one_or_several(texts: set[str]) -> Any:
    values = sorted((json.loads(text) for text in texts), key=_order)
    return values[0] if len(values) == 1 else values[:MAX_VALUES]


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else 0, str(value))
