"""Images: output images fetched from their URLs, proved complete and stored by hash; input files checked.

All of it comes from outside. A URL out of an answer may lead into a private network; a body may be cut, endless
or a decompression bomb. Nothing is stored that was not decoded to its last pixel.
"""

import os
import random
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from pixmill.addresses import AddressRefused, LookUp, check_public, url_problem
from pixmill.addresses import look_up as system_look_up
from pixmill.errors import PixmillError, TransportError
from pixmill.transport import Reply, Transport

MAX_BYTES = 30_000_000
MAX_PIXELS = 50_000_000
LARGE_PIXELS = 8_000_000
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
ATTEMPTS = 3
PAUSE_SECONDS = 0.5
REDIRECTS = 3

# Published for a sibling operation; those of the controlnet operation are not.
INPUT_BYTES = 4_700_000
INPUT_SIDE = 4096
INPUT_RATIO = 3

_PNG_END = b"IEND\xaeB`\x82"
_large_image = threading.Lock()


class ImageError(PixmillError):
    """An image could not be fetched, or the bytes are not a complete image that we take."""


class ImageGone(ImageError):
    """The URL no longer gives its image (403, 404 or 410): it has expired, or never had one."""


class _FinalError(ImageError):
    """Another attempt would end in the same way."""


class Shape(NamedTuple):
    """What the content of an image says about it; `format` is JPEG, PNG or WEBP."""

    width: int
    height: int
    format: str


class ImageFile(NamedTuple):
    """An image in the store; `file_name` is relative to the store, `bytes` its size."""

    file_name: str
    sha256: str
    width: int
    height: int
    format: str
    bytes: int


class _Picture(bytes):
    """The bytes of a complete image, with the shape that was seen while it was decoded."""

    shape: Shape


def inspect(data: bytes) -> Shape:
    """Decode an image to its last pixel; ImageError if it is cut, damaged, too large or of another format.

    At most 30 MB and 50 million pixels; the pixels are counted in the header, before anything is decoded.
    """
    if isinstance(data, _Picture):
        return data.shape
    if len(data) > MAX_BYTES:
        raise ImageError(f"the image has {len(data):,} bytes, more than {MAX_BYTES:,}")
    pillow = _pillow()
    try:
        return _decoded(pillow, data)
    except ImageError:
        raise
    except pillow.UnidentifiedImageError:
        raise ImageError(f"the {len(data):,} bytes are no JPEG, PNG or WEBP image") from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise ImageError(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # decoders fed with damaged bytes raise whatever they meet
        raise ImageError(f"the image is cut off or damaged ({type(error).__name__})") from None


def url_expiry(url: str) -> datetime | None:
    """When a signed URL of the provider dies (`x-expires`, in seconds since 1970), if it says so."""
    try:
        return datetime.fromtimestamp(int(parse_qs(urlsplit(url).query)["x-expires"][0]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None


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
        with pillow.open(BytesIO(data), formats=["JPEG", "PNG"]) as image:
            short, long = sorted(image.size)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return "image_file_dimensions"
    except Exception:  # as in inspect
        return "image_file_format"
    if long > INPUT_SIDE:
        return "image_file_dimensions"
    return "image_file_ratio" if long > INPUT_RATIO * short else None


class ImageStore:
    """Images by content under `store`: equal bytes are one file, and a name never depends on outside text."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def save(self, data: bytes) -> ImageFile:
        """Store a complete image, durably, before this returns. ImageError as in `inspect`; OSError."""
        shape = inspect(data)
        digest = sha256(data).hexdigest()
        file_name = f"images/{digest[:2]}/{digest}.{SUFFIXES[shape.format]}"
        path = self._store / file_name
        if not _holds(path, data):
            _write(path, data)
        return ImageFile(file_name, digest, *shape, len(data))

    def exists(self, file_name: str) -> bool:
        """Whether the store has this image; says nothing about its content."""
        return (self._store / file_name).is_file()


class ImageFetcher:
    """Fetches images for up to `connections` threads, from the public internet or from `allow_hosts`.

    Elsewhere only https to ports 80 and 443 of public addresses is fetched, at every redirect as well; hosts in
    `allow_hosts` are exempt, whatever their port. `deadline` (seconds) holds for one attempt of three.
    """

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str],
        connections: int = 8,
        deadline: float = 60,
        look_up: LookUp = system_look_up,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._allowed = {host.lower().strip("[]") for host in allow_hosts}
        self._deadline = deadline
        self._sleep, self._jitter = sleep, jitter
        self._public = Transport(connections=connections, check_address=check_public, look_up=look_up)
        self._trusted = Transport(connections=connections, look_up=look_up)

    def fetch(self, url: str) -> bytes:
        """Return the bytes of a complete image. ImageGone at once for a dead URL, ImageError otherwise.

        Network failures, 429, 5xx and bodies that are no complete image get three attempts.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(url)
            except (ImageGone, _FinalError):
                raise
            except (TransportError, ImageError) as error:
                problem = f"{error} ({ATTEMPTS} attempts)"
            if attempt < ATTEMPTS:
                self._sleep(self._jitter() * PAUSE_SECONDS * 2**attempt)
        raise ImageError(problem)

    def close(self) -> None:
        """Close the connections."""
        self._public.close()
        self._trusted.close()

    def _attempt(self, url: str) -> bytes:
        ends = time.monotonic() + self._deadline
        for _ in range(1 + REDIRECTS):
            reply = self._get(url, ends - time.monotonic())
            if "location" not in reply.headers or reply.status not in (301, 302, 303, 307, 308):
                return _picture(url, reply)
            url = urljoin(url, reply.headers["location"])
        raise _FinalError(f"{_host(url)}: more than {REDIRECTS} redirects")

    def _get(self, url: str, seconds: float) -> Reply:
        request = _request(url)
        # Judged as it will be sent: no other parser comes between this check and the connection.
        trusted = _host(request.url) in self._allowed
        problem = None if trusted else _problem(request.url or "")
        if problem:
            raise _FinalError(f"{_host(url)}: {problem}")
        transport = self._trusted if trusted else self._public
        try:
            return transport.send(request, deadline=seconds, max_bytes=MAX_BYTES)
        except AddressRefused as error:
            raise _FinalError(f"{_host(url)}: {error}") from None


@cache
def _pillow() -> ModuleType:
    """Pillow, imported with the first image; its bomb warning is an error from then on, in every thread."""
    from PIL import Image, WebPImagePlugin  # noqa: F401 - or the first WEBP would import every plugin

    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image


def _decoded(pillow: ModuleType, data: bytes) -> Shape:
    with pillow.open(BytesIO(data), formats=list(SUFFIXES)) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"the image has {width} x {height} pixels, more than {MAX_PIXELS:,}")
        # One at a time: the pool would hold a gigabyte of pixels otherwise.
        with _large_image if width * height > LARGE_PIXELS else nullcontext():
            image.load()
        kind = "JPEG" if image.format == "MPO" else image.format  # a JPEG with further pictures behind it
    if kind == "PNG" and _PNG_END not in data:  # Pillow is content when the pixels are there
        raise ImageError("the image is cut off")
    return Shape(width, height, kind)


def _holds(path: Path, data: bytes) -> bool:
    try:
        same_size = not path.is_symlink() and path.stat().st_size == len(data)
        return same_size and path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Put `data` at `path` durably; a reader, or a crash, sees all of it or nothing."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(path.parents[1])
        _sync(path.parents[2])
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make the names in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _request(url: str) -> requests.PreparedRequest:
    headers = {"User-Agent": "pixmill", "Accept": "image/*", "Accept-Encoding": "identity"}
    try:
        request = requests.Request("GET", url, headers=headers).prepare()
    except ValueError:  # requests and urllib3 derive from it
        raise _FinalError(f"{_host(url)}: its URL can't be read") from None
    if url.isascii():
        request.url = url  # a signature covers the URL as it was written, before requests quotes it anew
    return request


def _problem(url: str) -> str | None:
    """Why a URL of a host that isn't allowed by name is not fetched."""
    reason = url_problem(url)
    if reason:
        return f"its URL is not fetched ({reason})"
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "only https is fetched"
    return None if parts.port in (None, 80, 443) else f"port {parts.port} is not fetched"


def _picture(url: str, reply: Reply) -> _Picture:
    if reply.status in (403, 404, 410):
        raise ImageGone(f"{_host(url)}: its answer is {reply.status}")
    if reply.status != 200:
        passing = reply.status == 429 or reply.status >= 500
        raise (ImageError if passing else _FinalError)(f"{_host(url)}: its answer is {reply.status}")
    picture = _Picture(reply.body)
    try:
        picture.shape = inspect(reply.body)
    except ImageError as error:
        raise ImageError(f"{_host(url)}: {error}") from None
    return picture


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or "no host"
    except ValueError:
        return "no host"
