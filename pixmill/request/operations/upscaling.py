"""Images enlarged: neither a prompt nor a seed."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from pixmill.request.operations.operation import (
    USUAL_INPUT_IMAGES,
    Labelled,
    Operation,
    Parameters,
)


class SuperResolution(Parameters):
    """`lens_nnsr2_pic_common`."""

    model_quality: Literal["HQ", "MQ", "LQ"] = "MQ"
    """The quality of the input; MQ is advised."""

    result_format: Annotated[int, Field(ge=0, le=1)] = 0
    """0 is PNG, 1 JPEG."""

    jpg_quality: Annotated[int, Field(ge=0, le=100)] = 95

    return_url: bool = True
    """Whether the answer names the picture's URL; without, it holds the picture."""


class Upscale(Labelled):
    """`jimeng_i2i_seed3_tilesr_cvtob`."""

    resolution: Literal["4k", "8k"] = "4k"

    scale: Annotated[int, Field(ge=0, le=100)] = 50
    """How much detail is added."""


OPERATIONS = (
    Operation(
        req_key="lens_nnsr2_pic_common",
        title="double both sides of an image",
        parameters=SuperResolution,
        images=replace(
            USUAL_INPUT_IMAGES,
            max_bytes=5_000_000,
            min_side=256,
            max_side=1024,
            max_ratio=None,
        ),
        prompt=None,
        seed=None,
        source="the official page 6793/1354024",
    ),
    Operation(
        req_key="jimeng_i2i_seed3_tilesr_cvtob",
        title="enlarge an image to 4K or 8K",
        parameters=Upscale,
        modes=("async",),
        images=USUAL_INPUT_IMAGES,
        prompt=None,
        seed=None,
        source="six client programs; the official page 85621/2164806 could not be read",
    ),
)
