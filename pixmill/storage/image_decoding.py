"""What the bytes of a picture are, by their content alone: format, size, and whether they are complete.

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

MAX_BYTES = 30_000_000
MAX_PIXELS = 50_000_000
LARGE_PIXELS = 8_000_000
FORMATS = ("JPEG", "PNG", "WEBP")

# Published for a sibling operation; those of the controlnet operation are not.
INPUT_BYTES = 4_700_000
INPUT_SIDE = 4096
INPUT_RATIO = 3
INPUT_FORMATS = ("JPEG", "PNG")

_PNG_END = b"IEND\xaeB`\x82"
_large_image = threading.Lock()


class ImageError(PixmillError):
    """An image could not be fetched, or the bytes are not a complete image that we take."""


class ImageInfo(NamedTuple):
    """What the content of an image says about it; `format` is JPEG, PNG or WEBP."""

    width: int
    height: int
    format: str


class Picture(bytes):
    """The bytes of a complete image, with the shape that was seen while it was decoded."""

    shape: ImageInfo


def inspect(data: bytes) -> ImageInfo:
    """Decode an image to its last pixel; ImageError if it is cut, damaged, too large or of another format.

    At most 30 MB and 50 million pixels; the pixels are counted in the header, before anything is decoded.
    """
    if isinstance(data, Picture):
        return data.shape
    if len(data) > MAX_BYTES:
        raise ImageError(f"the image has {len(data):,} bytes, more than {MAX_BYTES:,}")
    pillow = _pillow()
    try:
        return _decoded(pillow, data)
    except ImageError:
        raise
    except pillow.UnidentifiedImageError:
        raise ImageError(
            f"the {len(data):,} bytes are no JPEG, PNG or WEBP image"
        ) from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise ImageError(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except (
        Exception
    ) as error:  # decoders fed with damaged bytes raise whatever they meet
        raise ImageError(
            f"the image is cut off or damaged ({type(error).__name__})"
        ) from None


def local_image_problem(path: Path) -> str | None:
    """The reason code why a local input image can't be sent, None if it can; only its header is read.

    One of `image_file_missing` (or unreadable), `image_file_too_large`, `image_file_format`,
    `image_file_dimensions`, `image_file_ratio`.
    """
    try:
        if not path.is_file():
            return "image_file_missing"
        if path.stat().st_size > INPUT_BYTES:
            return "image_file_too_large"
        data = path.read_bytes()
    except OSError:
        return "image_file_missing"
    pillow = _pillow()
    try:
        with pillow.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            short, long = sorted(image.size)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return "image_file_dimensions"
    except Exception:  # as in inspect
        return "image_file_format"
    if long > INPUT_SIDE:
        return "image_file_dimensions"
    return "image_file_ratio" if long > INPUT_RATIO * short else None


def picture_damage(data: bytes) -> str:
    """Say how the content of a local input image is damaged, "" where it is whole.

    For bytes in which `local_image_problem` finds nothing. A JPEG is decoded at an eighth of its size: all of its
    bytes are read, in a third of the time.
    """
    pillow = _pillow()
    try:
        with pillow.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            image.draft("L", (1, 1))
            image.load()
            kind = image.format
    except Exception as error:  # as in inspect
        return str(error) if isinstance(error, OSError) else type(error).__name__
    return "its end is missing" if kind == "PNG" and _PNG_END not in data else ""


@cache
def _pillow() -> ModuleType:
    """Pillow, imported with the first image; its bomb warning is an error from then on, in every thread."""
    from PIL import Image, WebPImagePlugin  # noqa: F401 - or the first WEBP would import every plugin

    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image


def _decoded(pillow: ModuleType, data: bytes) -> ImageInfo:
    with pillow.open(BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"the image has {width} x {height} pixels, more than {MAX_PIXELS:,}"
            )
        # One at a time: the pool would hold a gigabyte of pixels otherwise.
        with _large_image if width * height > LARGE_PIXELS else nullcontext():
            image.load()
        kind = (
            "JPEG" if image.format == "MPO" else image.format
        )  # a JPEG with further pictures behind it
    if (
        kind == "PNG" and _PNG_END not in data
    ):  # Pillow is content when the pixels are there
        raise ImageError("the image is cut off")
    return ImageInfo(width, height, kind)
