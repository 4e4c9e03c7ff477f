"""Images changed as a prompt says: by instruction, under a mask, or around a subject that stays."""

from dataclasses import replace
from typing import Annotated, TypeAlias

from pydantic import Field

from pixmill.request.operations.operation import (
    NO_RETRY,
    USUAL_INPUT_IMAGES,
    Delivered,
    Fraction,
    Labelled,
    Operation,
    PromptField,
    SeedField,
)

Side: TypeAlias = Annotated[int, Field(ge=512, le=2016)]
SmallSide: TypeAlias = Annotated[int, Field(ge=256, le=768)]


class Jimeng3Edit(Labelled):
    """`jimeng_i2i_v30`."""

    together = ("width", "height")

    scale: Fraction = 0.5
    """How much the prompt counts, compared with the input image."""

    # Its page gives 1328 as the default of both, without a word on what then becomes of the
    # input's ratio: what nobody asked for is better not sent.
    width: Side | None = None
    """The result is near it, at a multiple of 16 from 512 to 1536. Sides of about 600 may come out
    black.
    """

    height: Side | None = None


class DreamInpaint(Labelled):
    """`jimeng_image2image_dream_inpaint`."""


class SeedEdit30(Delivered):
    """`seededit_v3.0`: the picture has the ratio of the input, with a short side of 512 to 1536."""

    scale: Fraction = 0.5
    """How much the prompt counts, compared with the input image."""


class SeedEdit20(Delivered):
    """`byteedit_v2.0`."""

    negative_prompt: str = ""
    """What is not to be seen."""

    scale: Fraction = 0.5
    """How much the prompt counts, compared with the input image."""


class KeepSubject(Delivered):
    """`high_aes_ip_v20`."""

    desc_pushback: bool = True
    """Whether a description of the input is added to the prompt."""

    scale: Annotated[float, Field(ge=1, le=10)] = 3.5
    """How closely the picture follows the prompt."""

    ddim_steps: Annotated[int, Field(ge=1, le=200)] = 9
    """How often the picture is refined."""

    width: SmallSide = 512
    height: SmallSide = 512

    cfg_rescale: Fraction = 0.7

    ref_ip_weight: Fraction = 0.7
    """How much of the input's content stays."""

    ref_id_weight: Fraction = 0.36
    """How much of the face stays."""

    use_sr: bool = True
    """Whether both sides are doubled."""


OPERATIONS = (
    Operation(
        req_key="jimeng_i2i_v30",
        title="edit an image by instruction 3.0",
        parameters=Jimeng3Edit,
        modes=("async",),
        images=USUAL_INPUT_IMAGES,
        prompt=PromptField(limit=800),
        codes=NO_RETRY,
        source="a copy of the official page 85621/1747301",
    ),
    Operation(
        req_key="jimeng_image2image_dream_inpaint",
        title="repaint what a mask marks, or erase it (the prompt 删除)",
        parameters=DreamInpaint,
        modes=("async",),
        # The image, and a mask of one channel: 0 stays, 255 is repainted. No ratio is stated.
        images=replace(USUAL_INPUT_IMAGES, least=2, most=2, mask=1, max_ratio=None),
        prompt=PromptField(advised=120),
        seed=SeedField(default=101),
        codes=NO_RETRY,
        source="a copy of the official page 85621/1976207",
    ),
    Operation(
        req_key="seededit_v3.0",
        title="edit an image by instruction, SeedEdit 3.0",
        parameters=SeedEdit30,
        modes=("sync", "async"),
        images=USUAL_INPUT_IMAGES,
        prompt=PromptField(advised=120),
        source="eight client programs, three of them synchronous; the official page "
        "86081/1804561 could not be read",
    ),
    Operation(
        req_key="byteedit_v2.0",
        title="edit an image by instruction, SeedEdit 2.0",
        parameters=SeedEdit20,
        modes=("sync", "async"),
        images=USUAL_INPUT_IMAGES,
        source="the official page 6791/1384311; image limits are those of its siblings",
    ),
    Operation(
        req_key="high_aes_ip_v20",
        title="draw the subject of an image anew",
        parameters=KeepSubject,
        modes=("sync", "async"),
        images=USUAL_INPUT_IMAGES,
        source="the official page 6791/1361423; image limits are those of its siblings",
    ),
)
