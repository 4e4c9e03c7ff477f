"""How two sides asked: keys of the two configs, or the parameters of their requests.

The requests count where one side kept no config.
"""

import json
from collections import Counter, defaultdict
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
    for name, value in sweep.items():
        if name == "groups":
            leaves |= _flatten_groups(value or [])
        elif value:
            # Conditions are one answer, as values of an axis are.
            leaves[f"sweep.{name}"] = value
    return leaves


def _flatten_groups(groups: Any) -> dict[str, Any]:
    """Return the axes of a sweep by kind of group and name, as `sweep.grid.scale`, each with all of its values."""
    # A config may have been edited by hand since it was published, so that anything can be in it.
    if not isinstance(groups, list | tuple):
        return {"sweep.groups": groups}
    leaves: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for at, group in enumerate(groups):
        if not isinstance(group, Mapping):
            leaves |= flatten({f"sweep.groups.{at}": group})
            continue
        for kind, axes in group.items():
            counts[kind] += 1
            place = f"sweep.{kind}"
            # Which of several grids an axis is in changes no point. Of the other kinds it does: axes are in
            # step with those of their group, and `n` and `seed` are about it.
            if kind != "grid" and counts[kind] > 1:
                place += f".{counts[kind]}"
            if not isinstance(axes, Mapping):
                leaves[place] = axes
                continue
            # The values of an axis are one answer.
            leaves |= {f"{place}.{name}": values for name, values in axes.items()}
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
