"""A config as Python has it: a mapping, sections as keywords, values of any type that means one of YAML's."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


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
