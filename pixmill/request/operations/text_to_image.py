"""Pictures made from a prompt alone."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from pixmill.request.operations.operation import (
    NO_RETRY,
    Delivered,
    Fraction,
    Labelled,
    Operation,
    PromptField,
    SeedNumber,
    SizeRule,
)

Side: TypeAlias = Annotated[int, Field(ge=1)]
SmallSide: TypeAlias = Annotated[int, Field(ge=256, le=768)]
LargeSide: TypeAlias = Annotated[int, Field(ge=512, le=2048)]
Scale: TypeAlias = Annotated[float, Field(ge=1, le=10)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=50)]

JIMENG_3_SIZE = SizeRule(least_area=512 * 512, most_area=2048 * 2048, max_ratio=3)


class Jimeng3TextToImage(Labelled):
    """`jimeng_t2i_v31` and `jimeng_t2i_v30`."""

    together = ("width", "height")

    use_pre_llm: bool = True
    """Whether the provider expands the prompt first; to be turned off for long prompts."""

    width: Side = 1328
    """Width × height is 512² to 2048², with sides of at most 1:3."""

    height: Side = 1328

    def find_conflict(self) -> str | None:
        """Say what is wrong with the size."""
        return JIMENG_3_SIZE.find_conflict(self.width, self.height)


class Jimeng21TextToImage(Labelled):
    """`jimeng_high_aes_general_v21_L`."""

    width: SmallSide = 512
    height: SmallSide = 512

    use_pre_llm: bool = True
    """Whether the provider expands the prompt first."""

    use_sr: bool = True
    """Whether both sides are doubled."""


class General30TextToImage(Delivered):
    """`high_aes_general_v30l_zt2i`."""

    use_pre_llm: bool | None = None
    """Whether the provider expands the prompt first, which is advised for short ones."""

    scale: Scale = 2.5
    """How closely the picture follows the prompt."""

    width: LargeSide = 1328
    height: LargeSide = 1328


class General20TextToImage(Delivered):
    """`high_aes_general_v20_L`."""

    model_version: Literal["general_v2.0_L"] = "general_v2.0_L"

    # Optional on the page and required by the provider's own client, so that it is always sent.
    req_schedule_conf: Literal["general_v20_9B_pe", "general_v20_9B_rephraser"] = (
        "general_v20_9B_pe"
    )
    """How the prompt is prepared."""

    scale: Scale = 3.5
    """How closely the picture follows the prompt."""

    ddim_steps: Steps = 16
    """How often the picture is refined."""

    width: SmallSide = 512
    height: SmallSide = 512

    use_sr: bool | None = None
    """Whether both sides are doubled."""

    use_pre_llm: bool | None = None
    """Whether the provider expands the prompt first."""


class General21TextToImage(Delivered):
    """`high_aes_general_v21_L`."""

    model_version: Literal["general_v2.1_L"] = "general_v2.1_L"
    req_schedule_conf: Literal["general_v20_9B_pe"] = "general_v20_9B_pe"

    use_pre_llm: bool = True
    """Whether the provider expands the prompt first."""

    llm_seed: SeedNumber | None = None
    """The seed of that."""

    scale: Scale = 3.5
    """How closely the picture follows the prompt."""

    ddim_steps: Steps = 25
    """How often the picture is refined."""

    width: SmallSide = 512
    height: SmallSide = 512

    use_sr: bool = True
    """Whether both sides are doubled; the other fields of `sr` are about that."""

    sr_seed: SeedNumber | None = None
    sr_strength: Fraction = 0.4
    sr_scale: Annotated[float, Field(ge=1, le=30)] = 3.5
    sr_steps: Steps = 20

    is_only_sr: bool = False
    """Whether nothing but the enlargement is done."""


OPERATIONS = (
    Operation(
        req_key="jimeng_t2i_v31",
        title="text to image 3.1",
        parameters=Jimeng3TextToImage,
        modes=("async",),
        prompt=PromptField(limit=800, advised=120),
        codes=NO_RETRY,
        source="a copy of the official page 85621/1756900",
    ),
    Operation(
        req_key="jimeng_t2i_v30",
        title="text to image 3.0",
        parameters=Jimeng3TextToImage,
        modes=("async",),
        prompt=PromptField(limit=800, advised=120),
        # Not said on what could be read of its page: taken over from 3.1.
        codes=NO_RETRY,
        source="client programs that cite the official page 85621/1616429; the same table as 3.1",
    ),
    Operation(
        req_key="high_aes_general_v30l_zt2i",
        title="general text to image 3.0",
        parameters=General30TextToImage,
        modes=("sync", "async"),
        source="eight client programs and a gateway's page; the official page 85128/1526761 "
        "could not be read",
    ),
    Operation(
        req_key="jimeng_high_aes_general_v21_L",
        title="text to image 2.1; its answer tells the seed",
        parameters=Jimeng21TextToImage,
        source="a copy of the official page 85621/1537648",
    ),
    Operation(
        req_key="high_aes_general_v21_L",
        title="general text to image 2.1",
        parameters=General21TextToImage,
        modes=("sync", "async"),
        source="three client programs; ranges are those of 2.0 Pro where they state none",
    ),
    Operation(
        req_key="high_aes_general_v20_L",
        title="general text to image 2.0 Pro",
        parameters=General20TextToImage,
        modes=("sync", "async"),
        source="the official pages 6791/1339374 and 6791/1359424, and the provider's own client",
    ),
)
