"""What an operation is: the data by which configs are checked, requests are made and pages are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field

from pixmill.request.typed_model import TypedModel

Mode: TypeAlias = Literal["sync", "async"]
"""How an operation is called: one call that waits for the images, or a submit and then polls."""

ImageForm: TypeAlias = Literal["url", "bytes"]
"""How an input image travels: as a URL that the provider fetches, or as its bytes in Base64."""

Charged: TypeAlias = Literal["yes", "no", "unknown"]
"""Whether a call was charged."""

CodePolicies: TypeAlias = Mapping[str, tuple[str, Charged]]
"""Error codes to a verdict of `pixmill.provider.error_codes` and whether the call was charged."""

MAX_SEED = 2**31 - 1

SeedNumber: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Parameters(TypedModel):
    """What every operation's parameter model shares.

    Unknown fields are mistakes: the provider ignores them, and the picture is paid for. A
    field that is `None` is not sent: the provider's own default applies.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    together: ClassVar[tuple[str, ...]] = ()
    """Fields that a request sets all or none of."""

    def find_conflict(self) -> str | None:
        """Say which fields contradict each other, each of which is right by itself."""
        return None


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


class AigcMeta(Parameters):
    """The invisible label that says that the picture is generated, and by whom."""

    producer_id: str
    content_producer: Annotated[str, Field(max_length=256)] | None = None
    content_propagator: Annotated[str, Field(max_length=256)] | None = None
    propagate_id: Annotated[str, Field(max_length=256)] | None = None


class Delivered(Parameters):
    """How the pictures are delivered."""

    return_url: bool = True
    """Whether the answer names the picture's URL; without, it holds the picture."""

    logo_info: LogoInfo | None = None
    """The visible watermark."""


class Labelled(Delivered):
    """As `Delivered`, with the label that newer operations put into the file."""

    aigc_meta: AigcMeta | None = None
    """The invisible label of generated pictures."""


@dataclass(frozen=True)
class SizeRule:
    """Which width and height a picture may have together."""

    least_area: int
    """In pixels."""

    most_area: int

    max_ratio: float
    """Of the longer side to the shorter one."""

    def find_conflict(
        self,
        width: int,
        height: int,
    ) -> str | None:
        """Say what is wrong with a size, or return None."""
        if not self.least_area <= width * height <= self.most_area:
            return (
                f"width × height is {width * height:,} ({width} × {height}) and must be "
                f"{self.least_area:,} to {self.most_area:,}"
            )
        long = max(width, height)
        short = min(width, height)
        if long > self.max_ratio * short:
            return (
                f"{width} × {height} is {long / short:.3g} times as long as it is short, "
                f"and may be at most {self.max_ratio:g} times"
            )
        return None


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

    min_side: int | None = None
    """In pixels, of either side."""

    max_side: int | None = None

    max_ratio: float | None = None
    """Of the longer side to the shorter one."""

    url_field: str = "image_urls"
    """The field of the request that holds the URLs."""

    is_list: bool = True
    """Whether that field is a list; else it is the URL of the one image."""

    def find_size_problem(
        self,
        width: int,
        height: int,
    ) -> str | None:
        """Return which limit an image of so many pixels breaks: `dimensions`, `ratio` or none."""
        short = min(width, height)
        long = max(width, height)
        if self.max_side is not None and long > self.max_side:
            return "dimensions"
        if self.min_side is not None and short < self.min_side:
            return "dimensions"
        if self.max_ratio is not None and long > self.max_ratio * short:
            return "ratio"
        return None

    def describe_limits(self) -> str:
        """Say the limits in words: `at most 4.7 MB, 4096 pixels a side, a ratio of 3`."""
        limits = []
        if self.max_bytes is not None:
            limits.append(f"{self.max_bytes / 1e6:g} MB")
        if self.min_side is not None:
            limits.append(f"{self.min_side} to {self.max_side} pixels a side")
        elif self.max_side is not None:
            limits.append(f"{self.max_side} pixels a side")
        if self.max_ratio is not None:
            limits.append(f"a ratio of {self.max_ratio:g}")
        return "at most " + ", ".join(limits) if limits else "no limit is known"


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


def one_image(
    _params: Mapping[str, Any],
    _input_images: int,
) -> int:
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

    codes: CodePolicies = field(default_factory=dict)
    """What its own page says of error codes, where that differs from all others."""

    source: str = ""
    """Where its fields are documented, and how sure that is."""


USUAL_INPUT_IMAGES = InputImages(
    least=1,
    most=1,
    max_bytes=4_700_000,
    max_side=4096,
    max_ratio=3,
)
"""One JPEG or PNG as nearly all operations that edit take it."""

NO_RETRY: CodePolicies = {
    "50500": ("failed", "unknown"),
    "50501": ("failed", "unknown"),
}
"""Pages of several operations say that an internal error is not to be sent again."""
