"""The request that points differ from: which axes there can be, their defaults, what fits in them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pixmill.request.canonical_json import JsonValue, canonical_json, canonical_value
from pixmill.request.model import Request, flatten, placeholders
from pixmill.request.operations.operation import Operation
from pixmill.request.registry import (
    find_field_problem,
    requested_operation,
    reserved_fields,
    resolve_parameters,
    suggest_field,
    value_at,
    with_field,
)
from pixmill.request.sweep.points import AxisKind
from pixmill.validation_messages import describe_first_problem

_RESERVED = {
    "seed": "can't be swept: seed.replicates asks for more images of every point, "
    "seed.policy says how seeds are chosen",
    "prompt": "can't be swept: put a variable such as {style} into request.prompt "
    "and sweep that",
}


@dataclass(frozen=True)
class BaselineRequest:
    """What a config sends without its sweep."""

    request: Request

    operations: tuple[Operation, ...]
    """Those that points can be of: that of the request first, then what an axis names."""

    params: Mapping[str, JsonValue]
    """The parameters with the operation's defaults, typed."""

    defaults: Mapping[str, JsonValue]
    """Each request field by dotted path, and `req_key`, with its value; None is not sent."""

    variables: frozenset[str]
    """The placeholders of the prompt template, which have no default."""

    def kind_of(self, path: str) -> AxisKind:
        """Return what the axis `path` sets; ValueError where it can't be one.

        A field goes before a variable of its name.
        """
        if path == "req_key":
            return "req_key"
        is_field = path == "seed" or path in self.defaults
        if not is_field and path in self.variables:
            return "variable"
        problem = self._find_problem(path)
        if problem:
            raise ValueError(problem)
        return "field"

    def default_text(self, path: str) -> str | None:
        """Return the canonical JSON of the default at `path`; None where there is none."""
        return canonical_json(self.defaults[path]) if path in self.defaults else None

    def type_value(
        self,
        path: str,
        kind: AxisKind,
        value: Any,
    ) -> JsonValue:
        """Return `value` as it is sent when the axis `path` holds it.

        Raises ValueError where it can't be.

            type_value("scale", "field", "3")    # 3
        """
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(  # noqa: TRY004 – a mistake in a config
                "must be a single text, number, true or false (dates in quotes)"
            )
        try:
            if kind == "field":
                value = self._type_field(path, value)
            elif kind == "req_key":
                value = Request.model_validate({"req_key": value}).req_key
            elif value is None:
                raise ValueError(
                    "a variable of the prompt must be text; write '' for none"
                )
        except ValidationError as error:
            raise ValueError(describe_first_problem(error)[1]) from None
        if isinstance(value, str):
            # Half a surrogate pair, which YAML can spell, can't be sent.
            value.encode()
        return canonical_value(value)

    def _type_field(
        self,
        path: str,
        value: Any,
    ) -> JsonValue:
        """Return `value` typed by the first operation whose field takes it.

        Points are checked by their own operation once they are made. Raises ValidationError.
        """
        problems: list[ValidationError] = []
        for operation in self.operations:
            try:
                params = self.params
                if operation is not self.operations[0]:
                    params = resolve_parameters(operation, self.request.params)
                tried = with_field(params, path, value)
                resolved = resolve_parameters(operation, tried)
            except ValidationError as error:
                problems.append(error)
            else:
                typed: JsonValue = value_at(resolved, path)
                return typed
        # What is said of the value goes before what is said of the field.
        about_value = [
            error
            for error in problems
            if all(mistake["type"] != "extra_forbidden" for mistake in error.errors())
        ]
        raise (about_value or problems)[0]

    def _find_problem(self, path: str) -> str | None:
        """Say why `path` is not a field that can be swept, or return None."""
        head = path.partition(".")[0]
        if any(head in reserved_fields(operation) for operation in self.operations):
            return _RESERVED.get(head, "can't be swept: the row sets it")
        if path in self.defaults:
            return None
        own, *others = self.operations
        for operation in others:
            if find_field_problem(operation, self.request.params, path) is None:
                return None
        problem = find_field_problem(own, self.params, path)
        if problem and (own.parameters is None or not problem.is_unknown):
            return problem.reason
        if own.parameters is not None:
            known = [*self.defaults, *sorted(self.variables)]
            return (
                "is neither a request field nor a variable of request.prompt"
                + suggest_field(path, known)
            )
        # Without a schema, any field may be meant that can be set.
        parts = path.split(".")
        if not all(parts):
            return "is not a dotted path"
        if any(name.startswith(path + ".") for name in flatten(self.params)):
            return "is not a single value; name one of its fields"
        # 00 and 0 would be two axes that set the same.
        if any(part.isdecimal() and part != str(int(part)) for part in parts):
            return "write positions in a list as 0, 1, 2"
        return None


def baseline_of(
    request: Request,
    req_keys: Iterable[str] = (),
) -> BaselineRequest:
    """Return what `request` sends by itself; `req_keys` are those that an axis names.

    Raises `pydantic.ValidationError` where its params are wrong.
    """
    own = requested_operation(request)
    others = (
        requested_operation(request.model_copy(update={"req_key": req_key}))
        for req_key in dict.fromkeys(req_keys)
        if req_key != request.req_key
    )
    params = resolve_parameters(own, request.params)
    schema = own.parameters
    if schema is None:
        fields = flatten(request.params)
    else:
        # Unlike `params` with the fields that are not sent: they can be swept too.
        typed = schema.model_validate(request.params)
        fields = flatten(typed.model_dump(mode="json"))
    defaults: dict[str, JsonValue] = {"req_key": request.req_key}
    for path, value in fields.items():
        # Empty mappings and lists are leaves, but not single values.
        if not isinstance(value, Mapping | list):
            defaults[path] = value
    operations = (own, *others)
    variables: list[str] = []
    # A broken template is reported with the request.
    with suppress(ValueError):
        variables = placeholders(request.prompt)
    return BaselineRequest(
        request,
        operations,
        params,
        defaults,
        frozenset(variables),
    )
