"""Bare words of a config that YAML takes for something else: which of them are mistakes.

`on` is true where a field is a truth value, and a mistake where a text may have been meant: a prompt that says "light
true" is paid for like any other. Numbers as nobody writes them (16:9, 010) and dates are mistakes everywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from pixmill.config.problems import ConfigProblem
from pixmill.config.yaml_reader import Word
from pixmill.request.model import Request
from pixmill.request.registry import requested_operation, resolve_parameters, with_field
from pixmill.request.sweep.baseline import baseline_of


def find_word_problems(
    words: Iterable[Word], sections: Mapping[str, Any]
) -> Iterator[ConfigProblem]:
    """Yield a problem for each of `words` that may mean a text; `sections` are those of the config that are right."""
    request = sections.get("request")
    for word in words:
        if word.is_key or word.kind == "surprise" or not _is_meant(word, request):
            yield ConfigProblem(".".join(word.place), _describe(word))


def _describe(word: Word) -> str:
    message = f"YAML reads a bare {word.text} as {word.reading}; write '{word.text}' in quotes"
    value = word.reading.removeprefix("the number ")
    if word.is_key or value == "a date":
        return message
    return f"{message}, or {value}"


def _is_meant(word: Word, request: Request | None) -> bool:
    """Whether what YAML made of a word can only be what was meant."""
    if word.place[0] == "sweep":
        # Of `sweep.AXIS`, of `sweep.groups.0.grid.AXIS` or of `sweep.groups.0.list.0.AXIS`.
        _, *below = word.place
        if below[:1] == ["groups"]:
            below = below[4:] if below[2:3] == ["list"] else below[3:]
        axis = below[0] if below else ""
        if word.place[-1] == "label" or _is_text(request, axis):
            return False
        return word.kind == "number" or _is_truth_value(request, axis)
    if word.place[:2] == ("request", "params"):
        return word.kind == "number" or _is_truth_value(
            request, ".".join(word.place[2:])
        )
    # `charged: yes` of a rule about a code is meant as YAML reads it.
    is_charged = word.place[:2] == ("retry", "codes") and word.place[-1] == "charged"
    return word.kind == "number" or is_charged


def _is_text(request: Request | None, axis: str) -> bool:
    """Whether the values of an axis are texts whatever they are: it is a variable of the prompt, or a `req_key`."""
    if request is None:
        return False
    try:
        return baseline_of(request).kind_of(axis) != "field"
    except (ValidationError, ValueError):
        return False


def _is_truth_value(request: Request | None, path: str) -> bool:
    """Whether the request field at the dotted `path` is true or false and nothing else.

    Without a request that is right nobody can tell, and what is wrong with it is said first.
    """
    if request is None:
        return True
    operation = requested_operation(request)
    if operation.parameters is None or not path:
        return False
    try:
        defaults = resolve_parameters(operation, {})
        tried = resolve_parameters(operation, with_field(defaults, path, True))
    except (ValidationError, KeyError):
        return False
    found: Any = tried
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found.get(part)
    return found is True
