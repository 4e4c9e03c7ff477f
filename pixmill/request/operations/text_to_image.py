"""Pictures made from a prompt alone."""

from typing import Annotated, TypeAlias

from pydantic import Field

from pixmill.request.operations.operation import (
    LogoInfo,
    Operation,
    Parameters,
    PromptField,
)

Side: TypeAlias = Annotated[int, Field(ge=1)]


class JimengTextToImage(Parameters):
    """`jimeng_t2i_v31`: a picture made from a prompt.

    From a copy of the official page 85621/1756900.
    """

    use_pre_llm: bool = True
    """Whether the provider expands the prompt first; to be turned off for long prompts."""

    width: Side = 1328
    height: Side = 1328

    return_url: bool = True
    """Whether the answer names the picture's URL; without, it holds the picture."""

    logo_info: LogoInfo = LogoInfo()


OPERATIONS = (
    Operation(
        req_key="jimeng_t2i_v31",
        title="make a picture from a prompt",
        parameters=JimengTextToImage,
        modes=("async",),
        prompt=PromptField(limit=800, advised=120),
    ),
)
