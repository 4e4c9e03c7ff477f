"""A config as Python has it: a mapping, sections as keywords, values of any type that means one of YAML's."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

_REPLACED_WHOLE = ("sweep",)
"""Sections that say one thing together: a part of another's would be a sweep that nobody asked for."""


def to_plain(value: Any) -> Any:
    """Return `value` as reading YAML would give it: mappings, lists, texts, numbers and truth values.

    Tuples are lists, paths are texts, and numbers of numpy are those of Python.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, PurePath):
        return str(value)
    # A number that was taken out of an array or a frame; so is an array of them.
    if type(value).__module__ == "numpy":
        return value.tolist()
    return value


def merge_sections(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of `base` with what is `given` put in, key by key; a sweep is replaced."""
    merged = {**base}
    for name, value in given.items():
        known = base.get(name)
        is_whole = name in _REPLACED_WHOLE or not isinstance(value, Mapping)
        merged[name] = value
        if isinstance(known, Mapping) and not is_whole:
            merged[name] = merge_sections(known, value)
    return merged


def is_given(given: Mapping[str, Any], place: Sequence[str]) -> bool:
    """Whether `merge_sections` takes what is at `place` from what is `given`."""
    found: Any = given
    for key in place:
        if not isinstance(found, Mapping) or found is given.get("sweep"):
            return True
        if key not in found:
            return False
        found = found[key]
    return True
