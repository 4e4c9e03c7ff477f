"""Pictures made from a prompt and up to a dozen references, one or a group of them at a time."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from pixmill.request.operations.operation import (
    NO_RETRY,
    InputImages,
    Labelled,
    Operation,
    PromptField,
    SizeRule,
)

MOST_IMAGES = 15
"""Input images and output images of one call together."""

Area: TypeAlias = Annotated[int, Field(ge=1024 * 1024, le=4096 * 4096)]
Side: TypeAlias = Annotated[int, Field(ge=1)]


class Seedream(Labelled):
    """What both versions take. Neither documents a seed."""

    together = ("width", "height")

    force_single: bool = True
    """Whether there is one picture, whatever the prompt asks for. Where it is false the model
    decides how many it makes, and each is paid for; the provider's own default is false.
    """

    size: Area = 2048 * 2048
    """The area in pixels where no width and height are set; the model chooses the ratio."""

    width: Side | None = None
    """Width × height is 1024² to 4096²."""

    height: Side | None = None

    min_ratio: Annotated[float, Field(ge=1 / 16, lt=16)] | None = None
    """The least width ÷ height; the provider's default is 1/3."""

    max_ratio: Annotated[float, Field(ge=1 / 16, le=16)] | None = None
    """The largest width ÷ height; the provider's default is 3."""

    def find_conflict(self) -> str | None:
        """Say what is wrong with the size."""
        least = 1 / 3 if self.min_ratio is None else self.min_ratio
        most = 3 if self.max_ratio is None else self.max_ratio
        if least > most:
            return f"min_ratio is {least:g} and larger than max_ratio, {most:g}"
        if self.width is None or self.height is None:
            return None
        ratio = self.width / self.height
        if not least <= ratio <= most:
            return (
                f"{self.width} ÷ {self.height} is {ratio:.3g}, and must be from min_ratio to "
                f"max_ratio, {least:.3g} to {most:.3g}"
            )
        rule = SizeRule(1024 * 1024, 4096 * 4096, max_ratio=16)
        return rule.find_conflict(self.width, self.height)


class Seedream40(Seedream):
    """`jimeng_t2i_v40`."""

    scale: Annotated[float, Field(ge=0, le=1, multiple_of=0.01)] = 0.5
    """How much the prompt counts, compared with the input images."""

    max_ratio: Annotated[float, Field(ge=1 / 16, lt=16)] | None = None
    """The largest width ÷ height; the provider's default is 3."""


class Seedream46(Seedream):
    """`jimeng_seedream46_cvtob`."""

    scale: Annotated[int, Field(ge=1, le=100)] = 50
    """How much the prompt counts, compared with the input images."""

    max_ratio: Annotated[float, Field(gt=1 / 16, le=16)] | None = None
    """The largest width ÷ height; the provider's default is 3."""


def count_images(
    params: Mapping[str, Any],
    input_images: int,
) -> int:
    """Return the most images of an answer: the prompt decides, unless it is to be a single one."""
    return 1 if params.get("force_single") else MOST_IMAGES - input_images


OPERATIONS = (
    Operation(
        req_key="jimeng_t2i_v40",
        title="text, or images and an instruction, to one or several images 4.0",
        parameters=Seedream40,
        modes=("async",),
        images=InputImages(
            most=10,
            # The page documents no Base64.
            forms=frozenset({"url"}),
            max_bytes=15_000_000,
            max_side=4096,
            max_ratio=3,
        ),
        prompt=PromptField(limit=800),
        seed=None,
        outputs=count_images,
        codes=NO_RETRY,
        source="a copy of the official page 85621/1817045",
    ),
    Operation(
        req_key="jimeng_seedream46_cvtob",
        title="text, or images and an instruction, to one or several images 4.6",
        parameters=Seedream46,
        modes=("async",),
        images=InputImages(
            most=14,
            forms=frozenset({"url"}),
            max_bytes=15_000_000,
            max_side=4096,
        ),
        prompt=PromptField(limit=800),
        seed=None,
        outputs=count_images,
        codes=NO_RETRY,
        source="a copy of the official page 85621/2275082",
    ),
)
