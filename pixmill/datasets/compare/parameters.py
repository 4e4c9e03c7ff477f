"""How two sides asked: keys of the two configs, or the parameters of their requests.

The requests count where one side kept no config.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from pixmill.datasets.compare.columns import Jobs
from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.request.model import flatten, leave_out_filled

MAX_VALUES = 20
"""Values of one parameter that are listed: a mapped column could have one for each row."""

IDENTITY = ("input", "request", "sweep", "seed")
"""Sections of a config that decide about images."""


class Difference(NamedTuple):
    """Something that the two sides asked for differently."""

    path: str
    """A dotted path."""

    a: Any
    """Its value on side A, None where that has none; a list where its requests differ."""

    b: Any


def differences(
    a: ComparedDataset,
    b: ComparedDataset,
    jobs_a: Jobs,
    jobs_b: Jobs,
) -> tuple[Difference, ...]:
    """Return what differs, what decides about images first."""
    if a.config is not None and b.config is not None:
        before = flatten(a.config)
        after = flatten(b.config)
    else:
        before = _requested_values(jobs_a.parameter_sets)
        after = _requested_values(jobs_b.parameter_sets)
    old = leave_out_filled(before, after)
    new = leave_out_filled(after, before)
    images: list[Difference] = []
    others: list[Difference] = []
    for path in {**old, **new}:
        difference = Difference(path, old.get(path), new.get(path))
        if difference.a == difference.b:
            continue
        section = path.partition(".")[0]
        if section in IDENTITY:
            images.append(difference)
        else:
            others.append(difference)
    return (*images, *others)


def _requested_values(parameter_sets: Iterable[str]) -> dict[str, Any]:
    """Return the value of each parameter by dotted path, a list where there are several."""
    texts: dict[str, set[str]] = defaultdict(set)
    for parameters in parameter_sets:
        for path, value in flatten(json.loads(parameters)).items():
            # As text: empty lists and mappings are values too, and can't be in a set.
            texts[f"request.params.{path}"].add(json.dumps(value, allow_nan=False))
    values: dict[str, Any] = {}
    for path in sorted(texts):
        read = [json.loads(text) for text in texts[path]]
        numbers = [value for value in read if isinstance(value, int | float)]
        others = [value for value in read if not isinstance(value, int | float)]
        found = [*sorted(numbers), *sorted(others, key=str)]
        values[path] = found[0] if len(found) == 1 else found[:MAX_VALUES]
    return values
