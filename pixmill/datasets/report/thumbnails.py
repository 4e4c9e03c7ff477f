"""Small versions of images as WebP, made once and shared by all reports of a store.

A thumbnail is named by what it shows, so it never has to be made again; a damaged image simply has none.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image, ImageOps

from pixmill.storage import Store
from pixmill.storage.image_decoding import FORMATS, MAX_PIXELS

FOLDER = "thumbs"
SIDE = 320
"""Pixels of the longer side: sharp at the size of a card, also on a screen of twice the density."""

_QUALITY = 75

# Of WebP's 0 to 6: above it, a thumbnail takes half as long again and loses a twentieth of its
# size.
_EFFORT = 2

# More would slow the calls of a run whose images are made small at its end.
_THREADS = min(4, os.cpu_count() or 1)


class Thumbnails:
    """Makes thumbnails below `<store>/thumbs` with a few threads, and none once it `is_hurried`."""

    def __init__(
        self, store: Store, is_hurried: Callable[[], bool] = lambda: False
    ) -> None:
        self._store = store
        self._is_hurried = is_hurried
        self._pool = ThreadPoolExecutor(_THREADS, "thumbnails")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def make(
        self, images: Iterable[tuple[Path | str, str]]
    ) -> dict[tuple[Path | str, str], bool]:
        """Make the thumbnail of each (file, name) that has none; return which have one now.

        A file is a path, or the name of an image of the store. Raises OSError where a thumbnail
        can't be written.
        """
        distinct = list(dict.fromkeys(images))
        made = self._pool.map(lambda image: self._make_one(*image), distinct)
        return dict(zip(distinct, made, strict=True))

    def _make_one(self, source: Path | str, name: str) -> bool:
        shared = f"{FOLDER}/{name[:2]}/{name}.webp"
        target = self._store.folder / shared
        # Thumbnails aren't synced: one that a power loss emptied is made again.
        with suppress(OSError):
            if target.stat().st_size > 0:
                return True
        if self._is_hurried():
            return False
        if self._store.download(shared):
            return True
        file = self._store.file(source) if isinstance(source, str) else source
        small = shrink_image(file)
        if small is None:
            return False
        _save(small, target)
        try:
            self._store.push(shared)
        except BaseException:
            # Or nobody would push it again.
            target.unlink(missing_ok=True)
            raise
        return True


def version_of(file: Path) -> str | None:
    """Return a name for the present content of a file without reading it.

    None where there is no such file.
    """
    try:
        stat = file.stat()
    except (OSError, ValueError):
        # ValueError where the name can't be one, such as with a null character in it.
        return None
    version = f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return sha256(version.encode()).hexdigest()


def shrink_image(source: Path, side: int = SIDE) -> Image.Image | None:
    """Return a small, upright version of an image file, RGB or RGBA, of at most `side` pixels.

    None where it is damaged or too large.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.thumbnail((side, side), reducing_gap=2.0)
            upright = ImageOps.exif_transpose(image)
            # WebP knows these two; palettes and CMYK it doesn't.
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except Exception:
        # Decoders fed with damaged bytes raise whatever they meet.
        return None


def _save(image: Image.Image, target: Path) -> None:
    """Write aside under a name of its own and rename.

    Two reports of one store may want the same thumbnail.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.stem}.{os.getpid()}.{threading.get_ident()}")
    try:
        image.save(aside, "WEBP", quality=_QUALITY, method=_EFFORT)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
