"""Images as files of a folder, named by the hash of their content: equal images are one file."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pixmill.storage.atomic_write import clear_parts, new_part, put_in_place, sync
from pixmill.storage.image_decoding import inspect
from pixmill.storage.integrity import NamedImage, file_problem

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


class ImageFile(NamedTuple):
    """An image in the store."""

    file_name: str
    """Its path relative to the store, with slashes."""

    sha256: str
    """Of its content, in hex."""

    width: int
    height: int

    format: str
    """JPEG, PNG or WEBP."""

    bytes: int
    """Its size."""


class ImageStore:
    """Images by content under the folder `store`; no name depends on text from outside."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def save(self, data: bytes) -> ImageFile:
        """Store a complete image, durably, before this returns.

        Raises ImageError as `inspect` does, and OSError.
        """
        info = inspect(data)
        digest = sha256(data).hexdigest()
        file_name = f"images/{digest[:2]}/{digest}.{SUFFIXES[info.format]}"
        path = self._store / file_name
        # The right name alone may be that of a damaged file.
        if file_problem(self._store, NamedImage(file_name, len(data))):
            try:
                _write(path, data)
            except FileNotFoundError:
                # Another process cleared the part away in the moment before it was locked.
                _write(path, data)
        return ImageFile(file_name, digest, *info, len(data))

    def clear_parts(self) -> None:
        """Remove halves of images that killed processes left."""
        images = self._store / "images"
        for folder in (images, *images.glob("*/")):
            clear_parts(folder)


def _write(path: Path, data: bytes) -> None:
    """Put `data` at `path` durably; a reader, or a crash, sees all of it or nothing."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Up to the store: a synced file in a folder whose name is lost is lost with it.
        sync(path.parents[1])
        sync(path.parents[2])
    with new_part(path.parent) as (file, part):
        file.write(data)
        file.flush()
        put_in_place(part, path)
