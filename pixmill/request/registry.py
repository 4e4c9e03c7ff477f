"""The registry of operations: which fields a request has, their types, ranges and defaults.

An operation is one `req_key`. Its parameters are a pydantic model, so that a config, a mapped column and a
sweep axis are typed and checked by the same schema. To add one, write its model and register it in `OPERATIONS`
(CONTRIBUTING.md shows how). A `req_key` that is not registered passes its parameters unchecked.

Ranges of `high_aes_scheduler_svr_controlnet_v2.0` come from the gateway's example and from public client
programs, as its official page could not be read: they are the documented ranges of the sibling operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixmill.request.canonical_json import JsonValue

MAX_SEED = 2**31 - 1

SeedNumber: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=50)]
Scale: TypeAlias = Annotated[float, Field(ge=1, le=30)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
ControlType: TypeAlias = Literal["depth", "canny", "pose"]
ControlStrength: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class Parameters(BaseModel):
    """What every operation's parameter model shares.

    Unknown fields are mistakes: the provider ignores them, and the picture is paid for.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class Control(Parameters):
    """One control of an image-to-image request: which input image steers what, and how strongly."""

    type: ControlType
    strength: ControlStrength
    binary_data_index: Annotated[int, Field(ge=0)] = 0
    """Which of the row's input images, from 0."""


class LogoInfo(Parameters):
    """The visible watermark."""

    add_logo: bool = False

    position: Annotated[int, Field(ge=0, le=3)] = 0
    """The corner: bottom right, bottom left, top left, top right."""

    language: Annotated[int, Field(ge=0, le=1)] = 0
    """0 is Chinese, 1 English."""

    opacity: Fraction | None = None

    logo_text_content: str = ""
    """The text instead of the usual one."""


class ControlnetImageToImage(Parameters):
    """`high_aes_scheduler_svr_controlnet_v2.0`: an image redrawn after a prompt.

    Its shape controls the result. A field that is `None` is not sent: the provider's own
    default applies, which is known from client programs only.
    """

    model_version: str = "general_controlnet_v2.0"
    scale: Scale = 3
    """How closely the picture follows the prompt."""

    ddim_steps: Steps = 16
    """How often the picture is refined."""

    use_rephraser: bool = True
    """Whether the provider enriches the prompt; what it made of it comes with the answer."""

    controlnet_args: Annotated[tuple[Control, ...], Field(min_length=1)] = (
        Control(type="depth", strength=0.6),
    )

    return_url: bool = True
    """Whether the answer names the picture's URL; without, it holds the picture."""

    logo_info: LogoInfo = LogoInfo()

    use_sr: bool | None = None
    """Whether the picture is enlarged; the other fields of `sr` are about that."""

    sr_seed: SeedNumber | None = None
    sr_strength: Fraction | None = None
    sr_scale: Scale | None = None
    sr_steps: Steps | None = None


@dataclass(frozen=True)
class Operation:
    """One registered `req_key`."""

    req_key: str

    parameters: type[Parameters]
    """Their names, types, ranges and defaults."""

    not_in_key: frozenset[str] = frozenset({"return_url"})
    """The parameters that change how an answer is delivered, not the image."""


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

_IMAGE_TO_IMAGE = Operation(
    req_key="high_aes_scheduler_svr_controlnet_v2.0",
    parameters=ControlnetImageToImage,
)

OPERATIONS: Mapping[str, Operation] = {_IMAGE_TO_IMAGE.req_key: _IMAGE_TO_IMAGE}
"""All registered operations by `req_key`."""


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
    operation = OPERATIONS.get(req_key)
    if operation is None:
        return dict(params)
    typed = operation.parameters.model_validate(dict(params))
    return typed.model_dump(mode="json", exclude_none=True)


def keyed_parameters(
    req_key: str, params: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return those of the resolved `params` that change the image."""
    operation = OPERATIONS.get(req_key)
    # All operations of this API have `return_url`, also those that nobody registered.
    left_out = operation.not_in_key if operation else Operation.not_in_key
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
        if req_key in OPERATIONS:
            resolve_parameters(req_key, tried)
    except KeyError:
        return FieldProblem(f"{path} leads past the end of a list in request.params")
    except ValidationError as error:
        # The schema is asked by a null: only complaints about the path itself count, as
        # null itself fits few fields.
        kinds = {problem["type"] for problem in error.errors()}
        if "extra_forbidden" in kinds:
            known = OPERATIONS[req_key].parameters.model_fields
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
