"""The base of the config's sections and of operations' parameters: a truth value is not a number.

pydantic takes `true` for 1: `qps: true` would be a limit of one call a second, and `width: true` a picture of one
pixel, paid for.
"""

from collections.abc import Iterator
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError


class TypedModel(BaseModel):
    """A pydantic model whose fields of numbers don't take `true` and `false`."""

    @field_validator("*", mode="before")
    @classmethod
    def refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """Return `value`, or raise the error of a text in the place of a number."""
        if not isinstance(value, bool) or info.field_name is None:
            return value
        kinds = set(_kinds(cls.model_fields[info.field_name].annotation))
        if bool in kinds or kinds.isdisjoint((int, float, Decimal)):
            return value
        raise PydanticKnownError("int_type" if int in kinds else "float_type")


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that a field may have, those of a union by themselves."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _kinds(member)
    else:
        yield annotation
