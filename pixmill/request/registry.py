"""Looks up operations, and checks and completes the parameters of requests by their schemas.

An operation is one `req_key`. Its parameters are a pydantic model, so that a config, a mapped column and a
sweep axis are typed and checked by the same schema. Those that pixmill knows are in
`pixmill.request.operations` (CONTRIBUTING.md shows how to add one). A `req_key` that is not registered passes
its parameters unchecked.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from pixmill.request.canonical_json import JsonValue
from pixmill.request.operations import OPERATIONS
from pixmill.request.operations.operation import InputImages, Mode, Operation

RESERVED_FIELDS = frozenset(
    {
        "req_key",
        "prompt",
        "seed",
        "image_urls",
        "binary_data_base64",
    }
)
"""Fields of a request that rows and config sections set, never `request.params`."""


def operation_of(req_key: str) -> Operation:
    """Return the operation `req_key`; one that nobody registered takes whatever it is given."""
    known = OPERATIONS.get(req_key)
    if known is not None:
        return known
    return Operation(
        req_key=req_key,
        title="not known to pixmill",
        parameters=None,
        # Called as the others of its API are, unless the config says otherwise.
        modes=("sync", "async"),
        images=InputImages(most=None),
    )


def mode_of(req_key: str, mode: Literal["auto", "sync", "async"]) -> Mode:
    """Return how `req_key` is called where the config says `mode`."""
    return operation_of(req_key).modes[0] if mode == "auto" else mode


class FieldProblem(NamedTuple):
    """Why a dotted path can't be set to a value."""

    reason: str
    """In words, to follow the path."""

    is_unknown: bool = False
    """Whether the operation has no such field, so that the path may name something else."""


def resolve_parameters(
    req_key: str,
    params: Mapping[str, Any],
) -> dict[str, JsonValue]:
    """Return `params` checked, typed and with the operation's defaults, as plain JSON values.

    An unregistered `req_key` returns them as they are. Raises `pydantic.ValidationError` with
    one entry for each mistake.
    """
    schema = operation_of(req_key).parameters
    if schema is None:
        return dict(params)
    typed = schema.model_validate(dict(params))
    return typed.model_dump(mode="json", exclude_none=True)


def keyed_parameters(
    req_key: str, params: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return those of the resolved `params` that change the image."""
    left_out = operation_of(req_key).not_in_key
    return {name: value for name, value in params.items() if name not in left_out}


def image_index_problem(
    params: Mapping[str, Any],
    images: int,
) -> str | None:
    """Say which control points past the `images` input images of a request, or return None."""
    for position, control in enumerate(params.get("controlnet_args") or ()):
        if not isinstance(control, Mapping):
            # Of an operation that is not registered, whose parameters can be anything.
            continue
        index = control.get("binary_data_index", 0)
        if isinstance(index, int) and index >= images:
            path = f"controlnet_args.{position}.binary_data_index"
            return f"{path} is {index}, but a row has {images} input image(s)"
    return None


def with_field(
    params: Mapping[str, Any],
    path: str,
    value: object,
) -> dict[str, Any]:
    """Return a copy of `params` in which the dotted `path` holds `value`.

    Positions in lists are numbers. Raises KeyError where the path leads past the end of a
    list or into a value that has no fields.

        with_field({"a": [{"b": 1}]}, "a.0.b", 2)    # {"a": [{"b": 2}]}
    """
    head, _, rest = path.partition(".")
    if rest:
        value = _place(params.get(head), rest, value)
    return {**params, head: value}


def _place(
    container: Any,
    path: str,
    value: object,
) -> Any:
    """Return a copy of `container`, of whatever kind, with `value` at `path`."""
    if isinstance(container, Mapping) or container is None:
        return with_field(container or {}, path, value)
    if isinstance(container, str) or not isinstance(container, Sequence):
        raise KeyError(path)
    head, _, rest = path.partition(".")
    if not (head.isdecimal() and int(head) < len(container)):
        raise KeyError(path)
    at = int(head)
    items = list(container)
    items[at] = _place(items[at], rest, value) if rest else value
    return items


def find_field_problem(
    req_key: str,
    params: Mapping[str, Any],
    path: str,
) -> FieldProblem | None:
    """Say why the dotted `path` is not a scalar field of the operation, or return None.

    A path is known when the operation's schema has it, whether `params` sets it or not.
    """
    if path.partition(".")[0] in RESERVED_FIELDS:
        return FieldProblem(f"{path} is set by pixmill itself")
    try:
        resolved = resolve_parameters(req_key, params)
        tried = with_field(resolved, path, None)
        resolve_parameters(req_key, tried)
    except KeyError:
        return FieldProblem(f"{path} leads past the end of a list in request.params")
    except ValidationError as error:
        # The schema is asked by a null: only complaints about the path itself count, as
        # null itself fits few fields.
        kinds = {problem["type"] for problem in error.errors()}
        if "extra_forbidden" in kinds:
            schema = operation_of(req_key).parameters
            known = schema.model_fields if schema else {}
            reason = "unknown field" + did_you_mean(path, known)
            return FieldProblem(reason, is_unknown=True)
        if kinds & {"tuple_type", "model_type"}:
            return FieldProblem(f"{path} is not a single value; name one of its fields")
    return None


def did_you_mean(
    word: str,
    known: Mapping[str, Any] | Sequence[str],
) -> str:
    """Return a suggestion to append to a message about `word`.

    `; did you mean `scale`?`, or nothing where no known word is close.
    """
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
