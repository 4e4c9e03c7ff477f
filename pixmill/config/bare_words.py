"""Bare words of a config become what their field means by them.

`on` is true where the operation's field is a truth value, and the text "on" in a prompt: "light true" would be paid for
like any other. `1_000` is a number in a field of numbers, and a text among texts.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pixmill.config.yaml_reader import BareWord
from pixmill.request.model import Request
from pixmill.request.registry import requested_operation, resolve_parameters, with_field
from pixmill.request.sweep.baseline import baseline_of

Place = tuple[str, ...]
"""Keys and list positions that lead to a value."""


def read_words(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config with a plain value in place of each `BareWord`."""
    try:
        request = TypeAdapter(Request).validate_python(raw.get("request") or {})
    except ValidationError:
        # Its own mistakes are reported; what its fields are nobody can tell.
        request = None
    return {str(key): _read(value, (str(key),), request) for key, value in raw.items()}


def _read(value: Any, place: Place, request: Request | None) -> Any:
    """Return what `value`, which is at `place`, means."""
    if isinstance(value, BareWord):
        return value.reading if _is_meant(value, place, request) else str(value)
    if isinstance(value, dict):
        return {
            str(key) if isinstance(key, BareWord) else key: _read(
                item, (*place, str(key)), request
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _read(item, (*place, str(at)), request) for at, item in enumerate(value)
        ]
    return value


def _is_meant(word: BareWord, place: Place, request: Request | None) -> bool:
    """Whether a word means what YAML 1.1 makes of it, rather than its own text."""
    if place[0] == "sweep":
        # Of `sweep.AXIS`, of `sweep.groups.0.grid.AXIS` or of `sweep.groups.0.list.0.AXIS`.
        _, *below = place
        if below[:1] == ["groups"]:
            below = below[4:] if below[2:3] == ["list"] else below[3:]
        axis = below[0] if below else ""
        if place[-1] == "label" or _is_text(request, axis):
            return False
        return word.is_number or _fits(request, axis, word)
    if place[:2] == ("request", "params"):
        return _fits(request, ".".join(place[2:]), word)
    # All other numbers are read from their text as well, except for these spellings.
    return word.is_number and word.lstrip("-+")[:2] in ("0x", "0b")


def _is_text(request: Request | None, axis: str) -> bool:
    """Whether the values of an axis are texts whatever they are: it is a variable of the prompt, or a `req_key`."""
    if request is None:
        return False
    try:
        return baseline_of(request).kind_of(axis) != "field"
    except (ValidationError, ValueError):
        return False


def _fits(request: Request | None, path: str, word: BareWord) -> bool:
    """Whether the request field at the dotted `path` takes the word's reading as it is."""
    if request is None or not path:
        return False
    operation = requested_operation(request)
    if operation.parameters is None:
        # Nobody knows its fields: numbers are numbers, and `on` may be anything.
        return word.is_number
    try:
        tried = with_field(request.params, path, word.reading)
        found: Any = resolve_parameters(operation, tried)
    except (ValidationError, KeyError):
        return False
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found.get(part)
    # 1 is equal to true, and "1" to neither.
    is_truth = isinstance(found, bool)
    return bool(found == word.reading) and is_truth is not word.is_number
