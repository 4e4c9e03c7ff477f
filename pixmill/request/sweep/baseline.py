"""The plain request that points differ from: which axes there can be, where they are by default, what fits in them."""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pixmill.request.canonical_json import JsonValue, canonical_json, canonical_value
from pixmill.request.model import Request, flatten
from pixmill.request.registry import (
    OPERATIONS,
    RESERVED_FIELDS,
    did_you_mean,
    resolve_parameters,
    unknown_field,
    with_field,
)
from pixmill.request.sweep.points import AxisKind

_RESERVED = {
    "seed": "is no axis: seed.replicates asks for more images of every point, seed.policy says how seeds are chosen",
    "prompt": "is no axis: put a variable such as {style} into request.prompt and sweep that",
}


@dataclass(frozen=True)
class BaselineRequest:
    """What a config sends without its sweep.

    `params` are resolved. `defaults` maps each request field by dotted path, and `req_key`, to the value it has in
    them; None is not sent. `variables` are the placeholders of the prompt template, which have no default.
    """

    request: Request
    params: Mapping[str, JsonValue]
    defaults: Mapping[str, JsonValue]
    variables: frozenset[str]

    def kind_of(self, path: str) -> AxisKind:
        """Return what the axis `path` sets; a field goes before a variable of its name. ValueError if there is none."""
        if path == "req_key":
            return "req_key"
        if path != "seed" and path not in self.defaults and path in self.variables:
            return "variable"
        problem = self._problem(path)
        if problem:
            raise ValueError(problem)
        return "field"

    def default_text(self, path: str) -> str | None:
        """Return the canonical JSON of what the plain request has at `path`; None where there is no default."""
        return canonical_json(self.defaults[path]) if path in self.defaults else None

    def typed(self, path: str, kind: AxisKind, value: Any) -> JsonValue:
        """Return `value` as it is sent when the axis `path` holds it. ValueError where it can't be."""
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(  # noqa: TRY004 – a mistake in a config
                "must be a single text, number or truth value (dates in quotes)"
            )
        if kind == "field":
            value = self._typed_field(path, value)
        elif kind == "req_key":
            value = self._checked_req_key(value)
        elif value is None:
            raise ValueError("a variable of the prompt needs a text; write '' for none")
        if isinstance(value, str):
            value.encode()  # half a surrogate pair can't be sent
        return canonical_value(value)

    def _problem(self, path: str) -> str | None:
        head = path.partition(".")[0]
        if head in RESERVED_FIELDS:
            return _RESERVED.get(head, "is no axis: the row sets it")
        if path in self.defaults:
            return None
        problem = unknown_field(self.request.req_key, self.params, path)
        if self.request.req_key not in OPERATIONS:
            return problem or _malformed(self.params, path)
        if problem and not problem.startswith("unknown field"):
            return problem
        known = [*self.defaults, *sorted(self.variables)]
        return (
            "is neither a request field nor a variable of request.prompt"
            + did_you_mean(path, known)
        )

    def _typed_field(self, path: str, value: Any) -> JsonValue:
        try:
            resolved = resolve_parameters(
                self.request.req_key, with_field(self.params, path, value)
            )
        except ValidationError as error:
            raise ValueError(_wording(error)) from None
        return _value_at(resolved, path)

    def _checked_req_key(self, value: Any) -> JsonValue:
        try:
            return Request.model_validate({"req_key": value}).req_key
        except ValidationError as error:
            raise ValueError(_wording(error)) from None


def plain_request(request: Request) -> BaselineRequest:
    """Return what `request` sends by itself; raises `pydantic.ValidationError` where its params are wrong."""
    params = resolve_parameters(request.req_key, request.params)
    fields = {
        path: value
        for path, value in _fields(request).items()
        if not isinstance(value, Mapping | list)
    }
    return BaselineRequest(
        request,
        params,
        {"req_key": request.req_key, **fields},
        frozenset(_placeholders(request)),
    )


def _value_at(container: JsonValue, path: str) -> JsonValue:
    """Return what stands at the dotted `path`, None where there is nothing."""
    for part in path.split("."):
        if container is None:
            return None
        container = (
            container[int(part)] if isinstance(container, list) else container.get(part)
        )
    return container


def _fields(request: Request) -> dict[str, JsonValue]:
    """Return every field by dotted path, those that are not sent as None."""
    operation = OPERATIONS.get(request.req_key)
    if operation is None:
        return flatten(request.params)
    return flatten(
        operation.parameters.model_validate(request.params).model_dump(mode="json")
    )


def _placeholders(request: Request) -> Iterator[str]:
    try:
        yield from (
            name
            for _, name, _, _ in string.Formatter().parse(request.prompt or "")
            if name
        )
    except ValueError:  # a broken template is reported with the request
        return


def _malformed(params: Mapping[str, Any], path: str) -> str | None:
    """Say why an operation that nobody knows can't have the field `path`, or return None."""
    if not all(path.split(".")):
        return "is not a dotted path"
    if any(known.startswith(path + ".") for known in flatten(params)):
        return "is not a single value; name one of its fields"
    if any(part.isdecimal() and part != str(int(part)) for part in path.split(".")):
        return "write positions in a list as 0, 1, 2"
    return None


def _wording(error: ValidationError) -> str:
    message = str(
        error.errors(include_url=False, include_input=False)[0]["msg"]
    ).removeprefix("Value error, ")
    return message[0].lower() + message[1:]
