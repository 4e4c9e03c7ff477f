"""How two sides asked: keys of the two configs, or the parameters of their requests.

The requests count where one side kept no config.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
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
        before = _flatten_config(a.config)
        after = _flatten_config(b.config)
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


def _flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a config by dotted path; of its sweep, each axis with all of its values."""
    leaves = flatten({key: value for key, value in config.items() if key != "sweep"})
    sweep = config.get("sweep")
    if not isinstance(sweep, Mapping):
        return leaves
    for group in sweep.get("groups") or ():
        for kind, axes in group.items():
            # Which group an axis is in says less than its name, and its values are one answer.
            named = axes if isinstance(axes, Mapping) else {kind: axes}
            leaves |= {f"sweep.{path}": values for path, values in named.items()}
    for name in ("exclude", "only"):
        if sweep.get(name):
            leaves[f"sweep.{name}"] = sweep[name]
    return leaves


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


def value_text(value: Any) -> str:
    """Return a value of a parameter for people: a list by its parts, a labelled value by both."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, Mapping) and value.keys() == {"label", "value"}:
        return f"{value['label']} ({value_text(value['value'])})"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
