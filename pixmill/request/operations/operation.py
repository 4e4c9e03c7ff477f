"""What an operation is: the data by which configs are checked, requests are made and pages are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Mode: TypeAlias = Literal["sync", "async"]
"""How an operation is called: one call that waits for the images, or a submit and then polls."""

ImageForm: TypeAlias = Literal["url", "bytes"]
"""How an input image travels: as a URL that the provider fetches, or as its bytes in Base64."""

MAX_SEED = 2**31 - 1

SeedNumber: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Parameters(BaseModel):
    """What every operation's parameter model shares.

    Unknown fields are mistakes: the provider ignores them, and the picture is paid for.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class LogoInfo(Parameters):
    """The visible watermark."""

    add_logo: bool = False

    position: Annotated[int, Field(ge=0, le=3)] = 0
    """The corner: bottom right, bottom left, top left, top right."""

    language: Annotated[int, Field(ge=0, le=1)] = 0
    """0 is Chinese, 1 English."""

    opacity: Fraction | None = None

    logo_text_content: str = ""
    """The text instead of the usual one."""


@dataclass(frozen=True)
class InputImages:
    """Which input images a request of the operation takes."""

    least: int = 0

    most: int | None = 0
    """None where no limit is known."""

    forms: frozenset[ImageForm] = frozenset({"url", "bytes"})

    mask: int | None = None
    """Which of them, from 0, is a mask over the first."""

    max_bytes: int | None = None
    """Of one image file."""

    max_side: int | None = None
    """In pixels, of either side."""

    max_ratio: float | None = None
    """Of the longer side to the shorter one."""

    url_field: str = "image_urls"
    """The field of the request that holds the URLs."""


@dataclass(frozen=True)
class PromptField:
    """The field of a request that holds the prompt."""

    name: str = "prompt"

    limit: int | None = None
    """Characters, beyond which the provider refuses the request."""

    advised: int | None = None
    """Characters, beyond which the provider says that the picture gets worse."""


@dataclass(frozen=True)
class SeedField:
    """The seed of a request."""

    default: int = -1
    """What the provider takes where none is sent; -1 is any. pixmill always sends one."""


def one_image(_params: Mapping[str, Any], _input_images: int) -> int:
    """Return the most images that an answer has, where it always has one."""
    return 1


@dataclass(frozen=True)
class Operation:
    """One `req_key`: what it takes, how it is called and what it returns."""

    req_key: str

    title: str
    """What it does, in a few words."""

    parameters: type[Parameters] | None
    """Their names, types, ranges and defaults. None: nobody knows them, and they pass unchecked."""

    modes: tuple[Mode, ...] = ("sync",)
    """How it can be called; the first is what `request.mode: auto` takes."""

    images: InputImages = InputImages()

    prompt: PromptField | None = PromptField()
    """None where it takes no prompt."""

    seed: SeedField | None = SeedField()
    """None where it takes no seed: its replicates are told apart by their numbers."""

    outputs: Callable[[Mapping[str, Any], int], int] = one_image
    """The most images of one answer, by the parameters and the number of input images."""

    not_in_key: frozenset[str] = frozenset({"return_url"})
    """The parameters that change how an answer is delivered, not the image."""

    delivery: frozenset[str] = frozenset({"return_url", "logo_info", "aigc_meta"})
    """The parameters that an asynchronous operation takes with each poll, not with the submit."""

    codes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What its own page says of error codes: a verdict, and whether the call was charged."""
