"""What the bytes of a picture are, by their content alone: format, size, and whether they are
complete.

Pictures come from outside: they may be cut, mislabelled, or a few bytes that decode to gigabytes.
"""

import threading
import warnings
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pixmill.errors import PixmillError
from pixmill.request.operations.operation import USUAL_INPUT_IMAGES, InputImages

MAX_PIXELS = 8192 * 8192
"""Of any image: operations that enlarge go up to 8K. Decoded, they take 200 MB."""

MAX_BYTES = 150_000_000
"""Of an output: what 8K takes as a PNG, which is twice as much as in a photograph of it; what was
paid for must not be lost."""

LARGE_PIXELS = 8_000_000
"""From here on images are decoded one at a time."""

FORMATS = ("JPEG", "PNG", "WEBP")

# What nearly all operations take; those of a URL are looked at by these.
INPUT_BYTES = 4_700_000
INPUT_SIDE = 4096
INPUT_FORMATS = ("JPEG", "PNG")

_PNG_END = b"IEND\xaeB`\x82"
_large_image = threading.Lock()


class ImageError(PixmillError):
    """An image could not be fetched, or the bytes are not a complete image that we take.

    `problem` says why, in one word for programs: one of `too_large`, `dimensions`, `ratio`,
    `type` and `damaged` for bytes; `ImageFetcher.fetch` has more.
    """

    def __init__(
        self, message: str, *, hint: str = "", problem: str = "damaged"
    ) -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


class ImageInfo(NamedTuple):
    """What the content of an image says about it; `format` is JPEG, PNG or WEBP."""

    width: int
    height: int
    format: str


class Picture(bytes):
    """The bytes of a complete image, with what was seen while it was decoded."""

    info: ImageInfo


def inspect(data: bytes) -> ImageInfo:
    """Decode an image to its last pixel; ImageError if it is cut, damaged, too large or of another
    format.

    At most `MAX_BYTES` and `MAX_PIXELS`; the pixels are counted in the header, before anything is
    decoded.
    """
    if isinstance(data, Picture):
        return data.info
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"the image has {len(data):,} bytes, more than {MAX_BYTES:,}",
            problem="too_large",
        )
    pillow = _pillow()
    try:
        return _decode(pillow, data)
    except ImageError:
        raise
    except pillow.UnidentifiedImageError:
        raise ImageError(
            f"the {len(data):,} bytes are not a JPEG, PNG or WEBP image", problem="type"
        ) from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise ImageError(
            f"the image has more than {MAX_PIXELS:,} pixels", problem="dimensions"
        ) from None
    except Exception as error:
        # Decoders fed with damaged bytes raise whatever they meet.
        raise ImageError(
            f"the image is cut off or damaged ({type(error).__name__})"
        ) from None


def inspect_input(data: bytes) -> ImageInfo:
    """Decode an image as `inspect` does; ImageError also if the provider would not take it as an
    input.
    """
    try:
        info = inspect(data)
    except ImageError as error:
        # By its header: of a WEBP that is cut it is the format that has to change.
        raise ImageError(str(error), problem=_input_damage(data)) from None
    problem = USUAL_INPUT_IMAGES.find_size_problem(info.width, info.height)
    if info.format not in INPUT_FORMATS:
        problem = "type"
    if problem:
        raise ImageError(
            f"{info.format}, {info.width:,} × {info.height:,} pixels", problem=problem
        )
    return info


def local_image_problem(
    path: Path, limits: InputImages = USUAL_INPUT_IMAGES
) -> str | None:
    """The reason code why a local input image can't be sent, None if it can; only its header is
    read.

    One of `image_file_missing` (or unreadable), `image_file_too_large`, `image_file_format`,
    `image_file_dimensions`, `image_file_ratio`.
    """
    try:
        if not path.is_file():
            return "image_file_missing"
        if limits.max_bytes is not None and path.stat().st_size > limits.max_bytes:
            return "image_file_too_large"
        data = path.read_bytes()
    except OSError:
        return "image_file_missing"
    pillow = _pillow()
    try:
        with pillow.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            problem = limits.find_size_problem(*image.size)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return "image_file_dimensions"
    except Exception:
        # As in `inspect`.
        return "image_file_format"
    return f"image_file_{problem}" if problem else None


def picture_damage(data: bytes) -> str:
    """Say how the content of a local input image is damaged, "" where it is whole.

    For bytes in which `local_image_problem` finds nothing. A JPEG is decoded at an eighth of its
    size: all of its bytes are read, in a third of the time.
    """
    pillow = _pillow()
    try:
        with pillow.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            image.draft("L", (1, 1))
            image.load()
            kind = image.format
    except Exception as error:
        # As in `inspect`.
        return str(error) if isinstance(error, OSError) else type(error).__name__
    return "its end is missing" if kind == "PNG" and _PNG_END not in data else ""


def _input_damage(data: bytes) -> str:
    """What is wrong with bytes that `inspect` refused, by their header."""
    pillow = _pillow()
    try:
        with pillow.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            long = max(image.size)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return "dimensions"
    except Exception:
        # As in `inspect`.
        return "type"
    return "dimensions" if long > INPUT_SIDE else "damaged"


@cache
def _pillow() -> ModuleType:
    """Pillow, imported with the first image; its bomb warning is an error from then on, in every
    thread.
    """
    # With its plugin, or the first WEBP would import every one that there is.
    from PIL import Image, WebPImagePlugin  # noqa: F401

    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image


def _decode(pillow: ModuleType, data: bytes) -> ImageInfo:
    with pillow.open(BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"the image has {width} x {height} pixels, more than {MAX_PIXELS:,}",
                problem="dimensions",
            )
        # One at a time: the pool would hold a gigabyte of pixels otherwise.
        with _large_image if width * height > LARGE_PIXELS else nullcontext():
            image.load()
        # MPO is a JPEG with further pictures behind it.
        kind = "JPEG" if image.format == "MPO" else image.format
    # Pillow is content when the pixels are there.
    if kind == "PNG" and _PNG_END not in data:
        raise ImageError("the image is cut off")
    return ImageInfo(width, height, kind)
