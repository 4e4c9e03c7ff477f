"""The sections of a config that say what is asked for: the request, its sweep and its seeds."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """What all sections share: unknown keys are mistakes, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Request(Section):
    """What is asked for each row."""

    operation: Literal["CVProcess"] = "CVProcess"
    req_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")] = (
        "high_aes_scheduler_svr_controlnet_v2.0"
    )
    prompt: str | None = None
    params: dict[str, Any] = {}


class Sweep(Section):
    """Parameter axes that multiply the rows."""

    groups: tuple[dict[str, Any], ...] = ()
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class Seed(Section):
    """Which seed a job gets; see `pixmill.request.fingerprint`."""

    policy: Literal["per_row", "per_job", "fixed", "column"] = "per_row"
    base: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    replicates: Annotated[int, Field(ge=1)] = 1


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted path, for comparing two configs."""
    if isinstance(value, Mapping) and value:
        children: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple) and value:
        children = list(enumerate(value))
    else:
        return {prefix: value}
    joined = [
        (f"{prefix}.{key}" if prefix else str(key), child) for key, child in children
    ]
    return {
        path: leaf
        for key, child in joined
        for path, leaf in flatten(child, key).items()
    }
