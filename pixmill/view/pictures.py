"""The pictures of pages: files of the store and input images, small ones made when they are asked for."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pixmill.datasets.report.thumbnails import FOLDER, Thumbnails, shrink_image
from pixmill.storage import Store

_KEPT_SOURCES = 20_000
"""Pictures that can be asked for: those of the pages that were made last."""

_KEPT_THUMBNAILS = 500
"""Of some 15 kB each, in memory: a view writes nothing into a store."""


class PictureSources:
    """The pictures that pages have named, by the digest in their links: no others are served."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, Path | str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, digest: str, source: Path | str) -> None:
        """Remember a local input image by its path, or an image of the store by its name."""
        with self._lock:
            self._sources[digest] = source
            self._sources.move_to_end(digest)
            if len(self._sources) > _KEPT_SOURCES:
                self._sources.popitem(last=False)

    def find(self, digest: str) -> Path | str | None:
        """Return what has that digest; None where no page has named it."""
        with self._lock:
            return self._sources.get(digest)


class PagePlaces(NamedTuple):
    """How a page that is served refers to images: by addresses below its own."""

    inputs: tuple[Path, ...]
    """The folders that local input images are relative to."""

    known: PictureSources

    @property
    def store_link(self) -> str:
        """What the file names of the store's images are appended to."""
        return "store/"

    def input_link(self, file: Path, _version: str) -> str:
        """Return the link to a local input image; `_version` names its present content."""
        self.known.add(_version, file)
        return f"inputs/{_version}"


class LaterThumbnails(Thumbnails):
    """Makes none and says that all are there: the browser asks for those that are in sight."""

    def __init__(
        self,
        store: Store,
        known: PictureSources,
    ) -> None:
        super().__init__(store)
        self._known = known

    def make(
        self, images: Iterable[tuple[Path | str, str]]
    ) -> dict[tuple[Path | str, str], bool]:
        """Say of each that there is one. One that can't be made is not found later."""
        named = dict.fromkeys(images, True)
        for source, digest in named:
            self._known.add(digest, source)
        return named


class ThumbnailCache:
    """Finds thumbnails in the store, or makes them in memory."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        # Two at a time: a page asks for a hundred at once, and a run may be at work beside.
        self._at_work = threading.Semaphore(2)

    def find(
        self,
        store: Store,
        digest: str,
        source: Path | str,
    ) -> bytes | None:
        """Return a thumbnail as WebP; None where the image is gone or damaged.

        `source` is the path of the image, or the name of one in the store.
        """
        try:
            return (store.folder / FOLDER / digest[:2] / f"{digest}.webp").read_bytes()
        except OSError:
            # No report was made of it yet.
            pass
        with self._lock:
            if digest in self._made:
                self._made.move_to_end(digest)
                return self._made[digest]
        with self._at_work:
            file = store.file(source) if isinstance(source, str) else source
            small = shrink_image(file)
        if small is None:
            return None
        written = BytesIO()
        small.save(written, "WEBP", quality=75, method=2)
        made = written.getvalue()
        with self._lock:
            self._made[digest] = made
            if len(self._made) > _KEPT_THUMBNAILS:
                self._made.popitem(last=False)
        return made
