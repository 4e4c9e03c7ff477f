"""Looks up operations, and checks and completes the parameters of requests by their schemas.

An operation is one `req_key`. Its parameters are a pydantic model, so that a config, a mapped column and a
sweep axis are typed and checked by the same schema. Those that pixmill knows are in
`pixmill.request.operations` (CONTRIBUTING.md shows how to add one). A `req_key` that is not registered passes
its parameters unchecked.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import ValidationError

from pixmill.request.canonical_json import JsonValue
from pixmill.request.model import Request, flatten
from pixmill.request.operations import OPERATIONS
from pixmill.request.operations.custom import installed_operation, load_operations
from pixmill.request.operations.operation import (
    USUAL_INPUT_IMAGES,
    Mode,
    Operation,
    Parameters,
)


def operation_of(
    req_key: str,
    operation_file: str | None = None,
) -> Operation:
    """Return the operation `req_key`; one that nobody registered takes whatever it is given.

    That of the config's own file goes before that of pixmill, and that before an installed one:
    a package that was installed for something else must not change what is sent. Raises
    ConfigError where the file, or what is installed, can't be used.
    """
    own = load_operations(operation_file) if operation_file else {}
    known = own.get(req_key) or OPERATIONS.get(req_key) or installed_operation(req_key)
    if known is not None:
        return known
    return Operation(
        req_key=req_key,
        title="not known to pixmill",
        parameters=None,
        # Called as the others of its API are, unless the config says otherwise.
        modes=("sync", "async"),
        # Any number of images, within the limits that nearly all operations have.
        images=replace(USUAL_INPUT_IMAGES, least=0, most=None),
    )


def requested_operation(request: Request) -> Operation:
    """Return the operation that `request` is for."""
    return operation_of(request.req_key, request.operation_file)


def requested_mode(request: Request) -> Mode:
    """Return how the operation of `request` is called."""
    if request.mode == "auto":
        return requested_operation(request).modes[0]
    return request.mode


def reserved_fields(operation: Operation) -> frozenset[str]:
    """Return the fields that rows and other sections set, never `request.params`."""
    fields = {"req_key", "prompt", "seed", "binary_data_base64"}
    fields.add(operation.images.url_field)
    if operation.prompt:
        fields.add(operation.prompt.name)
    return frozenset(fields)


class FieldProblem(NamedTuple):
    """Why a dotted path can't be set to a value."""

    reason: str
    """In words, to follow the path."""

    is_unknown: bool = False
    """Whether the operation has no such field, so that the path may name something else."""


def resolve_parameters(
    operation: Operation,
    params: Mapping[str, Any],
) -> dict[str, JsonValue]:
    """Return `params` checked, typed and with the operation's defaults, as plain JSON values.

    Those of an operation that nobody registered come back as they are. Raises `pydantic.ValidationError` with
    one entry for each mistake.
    """
    if operation.parameters is None:
        return dict(params)
    typed = operation.parameters.model_validate(dict(params))
    return typed.model_dump(mode="json", exclude_none=True)


def keyed_parameters(
    operation: Operation,
    params: Mapping[str, JsonValue],
) -> dict[str, JsonValue]:
    """Return those of the resolved `params` that change the image."""
    left_out = operation.not_in_key
    return {name: value for name, value in params.items() if name not in left_out}


def find_conflict(
    operation: Operation,
    params: Mapping[str, Any],
) -> str | None:
    """Say which of the parameters, each right by itself, contradict each other, or return None.

    Such as a width and a height whose product is too large. Raises `pydantic.ValidationError`
    where one of them is wrong.
    """
    if operation.parameters is None or not has_conflicts(operation):
        return None
    return operation.parameters.model_validate(dict(params)).find_conflict()


def has_conflicts(operation: Operation) -> bool:
    """Whether there are parameters that can contradict each other."""
    schema = operation.parameters
    return schema is not None and schema.find_conflict is not Parameters.find_conflict


def field_types(operation: Operation) -> dict[str, Any]:
    """Return the type of each single value that changes the image, by dotted path.

    Of a list of objects, the fields of its first one. None where nobody knows the fields.

        field_types(operation_of("jimeng_t2i_v40"))["scale"]    # Annotated[float, Ge(0), …]
    """
    if operation.parameters is None:
        return {}
    left_out = operation.delivery | operation.not_in_key
    found = _single_values(operation.parameters, "")
    return {
        path: value for path, value in found if path.partition(".")[0] not in left_out
    }


def _single_values(
    schema: type[Parameters],
    prefix: str,
) -> Iterator[tuple[str, Any]]:
    for name, field in schema.model_fields.items():
        path = f"{prefix}{name}"
        # `None` is a field that is not sent, which no axis has to name.
        kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
        is_optional = NoneType in get_args(field.annotation)
        kind = kinds[0] if is_optional else field.annotation
        if get_origin(kind) is tuple:
            yield from _single_values(get_args(kind)[0], f"{path}.0.")
        elif isinstance(kind, type) and issubclass(kind, Parameters):
            yield from _single_values(kind, f"{path}.")
        elif get_origin(kind) is not Literal or len(get_args(kind)) > 1:
            yield path, Annotated[kind, *field.metadata] if field.metadata else kind


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


def value_at(
    container: Any,
    path: str,
) -> Any:
    """Return what nested mappings and lists hold at the dotted `path`, None where there is nothing.

    Positions in lists are numbers.

        value_at({"a": [{"b": 1}]}, "a.0.b")    # 1
    """
    for part in path.split("."):
        if isinstance(container, list):
            at = int(part) if part.isdecimal() else len(container)
            container = container[at] if at < len(container) else None
        elif isinstance(container, Mapping):
            container = container.get(part)
        else:
            return None
    return container


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
    operation: Operation,
    params: Mapping[str, Any],
    path: str,
) -> FieldProblem | None:
    """Say why the dotted `path` is not a scalar field of the operation, or return None.

    A path is known when the operation's schema has it, whether `params` sets it or not.
    """
    if path.partition(".")[0] in reserved_fields(operation):
        return FieldProblem(f"{path} is set by pixmill itself")
    try:
        resolved = resolve_parameters(operation, params)
        tried = with_field(resolved, path, None)
        resolve_parameters(operation, tried)
    except KeyError:
        return FieldProblem(f"{path} leads past the end of a list in request.params")
    except ValidationError as error:
        # The schema is asked by a null: only complaints about the path itself count, as
        # null itself fits few fields.
        kinds = {problem["type"] for problem in error.errors()}
        if "extra_forbidden" in kinds:
            reason = "unknown field" + suggest_field(path, field_paths(operation))
            return FieldProblem(reason, is_unknown=True)
        if kinds & {"tuple_type", "model_type"}:
            return FieldProblem(f"{path} is not a single value; name one of its fields")
    return None


def field_paths(operation: Operation) -> list[str]:
    """Return the dotted paths of the fields of an operation, those that it does not send by itself too."""
    schema = operation.parameters
    if schema is None:
        return []
    paths = [*schema.model_fields]
    # One that can't do without a certain field has no defaults to look into.
    with suppress(ValidationError):
        paths += flatten(schema.model_validate({}).model_dump(mode="json"))
    return list(dict.fromkeys(paths))


def suggest_field(
    path: str,
    known: Sequence[str],
) -> str:
    """Return a suggestion of a field as `did_you_mean` does.

    One that ends in `path` goes first: `controlnet_args.0.strength` for `strength`,
    `ddim_steps` for `steps`.
    """
    for mark in "._":
        for field in known:
            if field.endswith(f"{mark}{path}"):
                return f"; did you mean `{field}`?"
    return did_you_mean(path, known)


def did_you_mean(
    word: str,
    known: Mapping[str, Any] | Sequence[str],
) -> str:
    """Return a suggestion to append to a message about `word`.

    `; did you mean `scale`?`, or nothing where no known word is close.
    """
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
