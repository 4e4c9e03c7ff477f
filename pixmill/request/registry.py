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
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixmill.request.canonical_json import JsonValue

MAX_SEED = 2**31 - 1


class Parameters(BaseModel):
    """What every operation's parameter model shares: unknown fields are mistakes, values are frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class Control(Parameters):
    """One control of an image-to-image request: which input image steers what, and how strongly."""

    type: Literal["canny", "depth", "pose"]
    strength: Annotated[float, Field(gt=0, le=1)]
    binary_data_index: Annotated[int, Field(ge=0)] = 0


class LogoInfo(Parameters):
    """The visible watermark; `position` counts from the bottom right, `language` 0 is Chinese, 1 English."""

    add_logo: bool = False
    position: Annotated[int, Field(ge=0, le=3)] = 0
    language: Annotated[int, Field(ge=0, le=1)] = 0
    opacity: Annotated[float, Field(ge=0, le=1)] | None = None
    logo_text_content: str = ""


class ControlnetImageToImage(Parameters):
    """`high_aes_scheduler_svr_controlnet_v2.0`: an image redrawn after a prompt, under the control of its shape.

    A field that is `None` is not sent: the provider's own default applies, which is known from client programs only.
    """

    model_version: str = "general_controlnet_v2.0"
    scale: Annotated[float, Field(ge=1, le=30)] = 3
    ddim_steps: Annotated[int, Field(ge=1, le=50)] = 16
    use_rephraser: bool = True
    controlnet_args: Annotated[tuple[Control, ...], Field(min_length=1)] = (
        Control(type="depth", strength=0.6),
    )
    return_url: bool = True
    logo_info: LogoInfo = LogoInfo()
    use_sr: bool | None = None
    sr_seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    sr_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    sr_scale: Annotated[float, Field(ge=1, le=30)] | None = None
    sr_steps: Annotated[int, Field(ge=1, le=50)] | None = None


@dataclass(frozen=True)
class Operation:
    """One registered `req_key`.

    `not_in_key` names the parameters that change how an answer is delivered, not the image.
    """

    req_key: str
    parameters: type[Parameters]
    not_in_key: frozenset[str] = frozenset({"return_url"})


RESERVED_FIELDS = frozenset(
    {"req_key", "prompt", "seed", "image_urls", "binary_data_base64"}
)

OPERATIONS: Mapping[str, Operation] = {
    operation.req_key: operation
    for operation in (
        Operation("high_aes_scheduler_svr_controlnet_v2.0", ControlnetImageToImage),
    )
}


def resolve_parameters(req_key: str, params: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return `params` checked, typed and with the operation's defaults filled in, as plain JSON values.

    An unregistered `req_key` returns them as they are. Raises `pydantic.ValidationError` with one entry a mistake.
    """
    operation = OPERATIONS.get(req_key)
    if operation is None:
        return dict(params)
    return operation.parameters.model_validate(dict(params)).model_dump(
        mode="json", exclude_none=True
    )


def keyed_parameters(
    req_key: str, params: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return those of the resolved `params` that change the image."""
    operation = OPERATIONS.get(req_key)
    left_out = operation.not_in_key if operation else frozenset({"return_url"})
    return {name: value for name, value in params.items() if name not in left_out}


def image_index_problem(params: Mapping[str, Any], images: int) -> str | None:
    """Say which control points past the `images` input images that a request carries, or `None`."""
    for position, control in enumerate(params.get("controlnet_args") or ()):
        index = (
            control.get("binary_data_index", 0) if isinstance(control, Mapping) else 0
        )
        if isinstance(index, int) and index >= images:
            return f"controlnet_args.{position}.binary_data_index is {index}, but a row has {images} input image(s)"
    return None


def with_field(params: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy of `params` in which the dotted `path` (list positions are numbers) holds `value`.

    Raises KeyError where the path leads past the end of a list or into a value that has no fields.
    """
    head, _, rest = path.partition(".")
    return {**params, head: _placed(params.get(head), rest, value) if rest else value}


def _placed(container: Any, path: str, value: object) -> Any:
    head, _, rest = path.partition(".")
    if isinstance(container, Mapping) or container is None:
        return with_field(container or {}, path, value)
    if isinstance(container, Sequence) and not isinstance(container, str):
        if not (head.isdecimal() and int(head) < len(container)):
            raise KeyError(path)
        items = list(container)
        items[int(head)] = _placed(items[int(head)], rest, value) if rest else value
        return items
    raise KeyError(path)


def unknown_field(req_key: str, params: Mapping[str, Any], path: str) -> str | None:
    """Say why the dotted `path` names no scalar field of the operation, or return `None` if it does.

    A path is known when the operation's schema has it, whether `params` sets it or not.
    """
    if path.partition(".")[0] in RESERVED_FIELDS:
        return f"{path} is set by pixmill itself"
    try:
        resolved = resolve_parameters(req_key, params)
        tried = with_field(resolved, path, None)
        if req_key in OPERATIONS:
            resolve_parameters(req_key, tried)
    except KeyError:
        return f"{path} leads past the end of a list in request.params"
    except ValidationError as error:
        kinds = {problem["type"] for problem in error.errors()}
        if "extra_forbidden" in kinds:
            return "unknown field" + did_you_mean(
                path, OPERATIONS[req_key].parameters.model_fields
            )
        if kinds & {"tuple_type", "model_type"}:
            return f"{path} is not a single value; name one of its fields"
    return None


def did_you_mean(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return a suggestion to append to a message about `word`, or nothing where no known word is close."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
