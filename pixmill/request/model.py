"""The sections of a config that say what is asked for: the request, its sweep and its seeds."""

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pixmill.request.operations.custom import check_operation_file
from pixmill.request.typed_model import TypedModel


class Section(TypedModel):
    """What all sections share: unknown keys are mistakes, values are frozen."""

    # A misspelt key that is ignored would be a request that nobody meant, and paid for.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Request(Section):
    """What is asked for each row."""

    operation: Literal["CVProcess"] = "CVProcess"
    """The family of operations; it is part of the job key."""

    mode: Literal["auto", "sync", "async"] = "auto"
    """How the req_key is called; `auto` is what its operation says. It is not in the job key."""

    req_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")] = (
        "high_aes_scheduler_svr_controlnet_v2.0"
    )
    """The model or service that is asked."""

    operation_file: Annotated[str, AfterValidator(check_operation_file)] | None = None
    """A Python file with operations of the user's own."""

    prompt: str | None = None
    """The prompt template; without one the mapped column is the prompt."""

    params: dict[str, Any] = {}
    """The other fields of the request, as the user wrote them."""

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a file that is not named: nearly no config has one."""
        written: dict[str, Any] = write(self)
        if written.get("operation_file") is None:
            written.pop("operation_file", None)
        return written


class Sweep(Section):
    """Parameter axes that multiply the rows."""

    groups: tuple[dict[str, Any], ...] = ()
    """What multiplies; `pixmill.request.sweep` describes them."""

    exclude: tuple[str, ...] = ()
    """Conditions, none of which may hold for a point that stays."""

    only: tuple[str, ...] = ()
    """Conditions, all of which have to hold for a point that stays."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: Any) -> Any:
        """Return `{scale: [2, 3]}` as the one grid that it is short for."""
        if not is_short_form(value):
            return value
        axes = {key: part for key, part in value.items() if key not in cls.model_fields}
        others = {key: part for key, part in value.items() if key in cls.model_fields}
        return {"groups": [{"grid": axes}], **others}


def is_short_form(sweep: Any) -> bool:
    """Whether a sweep names its axes itself, without groups: `{scale: [2, 3]}`."""
    if not isinstance(sweep, Mapping) or "groups" in sweep:
        return False
    return bool(sweep.keys() - Sweep.model_fields.keys())


class Seed(Section):
    """Which seed a job gets; see `pixmill.request.fingerprint`."""

    policy: Literal["per_row", "per_key", "per_job", "fixed", "column"] = "per_row"
    """Whether the points of a row share a seed, all jobs have one, or the table says it.

    `per_key` derives it from the row key, so that an edited prompt keeps it.
    """

    base: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    """What derived seeds are derived from, or the seed of policy `fixed`."""

    replicates: Annotated[int, Field(ge=1)] = 1
    """How many images of each row and point."""


def leave_out_filled(
    leaves: Mapping[str, Any],
    others: Iterable[str],
) -> dict[str, Any]:
    """Return flattened `leaves` without empty lists and mappings of which `others`, paths of another
    value, name a part: that they are no longer empty is said by the part."""
    paths = list(others)
    return {
        path: value
        for path, value in leaves.items()
        if value not in ([], {}, ())
        or not any(other.startswith(f"{path}.") for other in paths)
    }


def placeholders(prompt: str | None) -> list[str]:
    """Return the names in the placeholders of a prompt, in their order.

    Raises ValueError where it is not a template.

        placeholders("{animal} on {ground}")    # ["animal", "ground"]
    """
    # Read to its end, as it complains of a brace only when it comes to it.
    pieces = string.Formatter().parse(prompt or "")
    return [name for _, name, _, _ in pieces if name]


def flatten(
    value: Any,
    prefix: str = "",
) -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted path.

    Empty ones are leaves themselves.

        flatten({"a": {"b": 1}, "c": [2, {}]})    # {"a.b": 1, "c.0": 2, "c.1": {}}
    """
    children: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, list | tuple):
        children = list(enumerate(value))
    if not children:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, child in children:
        path = f"{prefix}.{key}" if prefix else str(key)
        leaves |= flatten(child, path)
    return leaves
