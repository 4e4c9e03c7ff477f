"""Images redrawn after a prompt under the control of their own shape.

Ranges of `high_aes_scheduler_svr_controlnet_v2.0` come from the gateway's example and from public client
programs, as its official page could not be read: they are the documented ranges of the sibling operations.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from pixmill.request.operations.operation import (
    USUAL_INPUT_IMAGES,
    Fraction,
    LogoInfo,
    Operation,
    Parameters,
    SeedNumber,
)

Steps: TypeAlias = Annotated[int, Field(ge=1, le=50)]
Scale: TypeAlias = Annotated[float, Field(ge=1, le=30)]
ControlType: TypeAlias = Literal["depth", "canny", "pose"]
ControlStrength: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class Control(Parameters):
    """One control of an image-to-image request: which input image steers what, and how strongly."""

    type: ControlType
    strength: ControlStrength
    binary_data_index: Annotated[int, Field(ge=0)] = 0
    """Which of the row's input images, from 0."""


class ControlnetImageToImage(Parameters):
    """`high_aes_scheduler_svr_controlnet_v2.0`: an image redrawn after a prompt.

    Its shape controls the result.
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
    """What of the input images is kept: each control has a `type`, a `strength` and an image."""

    return_url: bool = True
    """Whether the answer names the picture's URL; without, it holds the picture."""

    logo_info: LogoInfo = LogoInfo()
    """The visible watermark."""

    use_sr: bool | None = None
    """Whether the picture is enlarged; the other fields of `sr` are about that."""

    sr_seed: SeedNumber | None = None
    sr_strength: Fraction | None = None
    sr_scale: Scale | None = None
    sr_steps: Steps | None = None


def count_images(
    params: Mapping[str, Any],
    _input_images: int,
) -> int:
    """Return the most images of an answer: with `canny` the contour may come as well."""
    controls = params.get("controlnet_args") or ()
    return 2 if any(control.get("type") == "canny" for control in controls) else 1


OPERATIONS = (
    Operation(
        req_key="high_aes_scheduler_svr_controlnet_v2.0",
        title="redraw an image after a prompt, keeping its shape",
        parameters=ControlnetImageToImage,
        # The pages of the product that it belongs to allow both for all of its keys.
        modes=("sync", "async"),
        # Each control names the image that it uses, so that there may be several.
        images=replace(USUAL_INPUT_IMAGES, most=None),
        outputs=count_images,
        source="a gateway's example and client programs; the official page 6791/1424608 could "
        "not be read, so ranges and image limits are those of its siblings",
    ),
)
