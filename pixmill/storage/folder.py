"""A store that is a folder: what is written there is published."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pixmill.errors import UserError
from pixmill.local_paths import folder_problem
from pixmill.storage.atomic_write import check_writable
from pixmill.storage.base import Result
from pixmill.storage.image_store import ImageFile, ImageStore
from pixmill.storage.integrity import NamedImage, file_problem


class FolderStore:
    """The store in `folder`; see `Store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image_folder = folder / "images"
        self._images = ImageStore(folder)

    def display_name(self, path: Path) -> str:
        """A file is called by its path."""
        return str(path)

    def check_writable(self) -> None:
        """Write to the folder, where the ledger need not be, and to that of the images."""
        check_writable(self.folder)
        if problem := folder_problem(self._image_folder):
            raise UserError(
                f"{self._image_folder} {problem}, so no image could be stored",
                hint="nothing was paid; move it elsewhere, then run the same command again",
            )
        # Where it is not there it is made with the first image: `check_present` asks for it.
        if self._image_folder.is_dir():
            check_writable(self._image_folder)

    def check_present(self) -> None:
        """A disk that is not mounted has lost nothing."""
        if not self._image_folder.is_dir():
            raise UserError(
                f"{self._image_folder} is not there, "
                "so every image of the store would count as missing",
                hint="mount or restore it; if the images are gone for good, "
                "make an empty folder there",
            )

    def save(self, data: bytes) -> ImageFile:
        """Write an image."""
        return self._images.save(data)

    def exists(self, name: str) -> bool:
        """Say whether there is such a file."""
        return (self.folder / name).is_file()

    def file(self, name: str) -> Path:
        """Return the path of an image."""
        return self.folder / name

    def signed_link(self, name: str) -> str | None:
        """It is a file of this machine."""
        return None

    def prefetch(self, names: Iterable[str | None]) -> None:
        """Nothing to do: the files are here."""

    def problem(self, image: NamedImage) -> str | None:
        """Hash the file."""
        return file_problem(self.folder, image)

    def restore(self, name: str) -> bool:
        """There is no other copy."""
        return False

    def clear_parts(self) -> None:
        """Only images are written so."""
        self._images.clear_parts()

    def image_sizes(self) -> dict[str, int]:
        """Count the files."""
        images = [entry.stat().st_size for entry in _files(self._image_folder)]
        return {"images": len(images), "images_bytes": sum(images)}

    def pull(
        self, dataset: str, files: Sequence[str], *, history: bool = False
    ) -> None:
        """Nothing to do: what is published is here."""

    def publish(
        self, dataset: str, files: Sequence[str], keep: int, write: Callable[[], Result]
    ) -> Result:
        """What `write` puts in place is published."""
        return write()

    def push(self, name: str) -> None:
        """Nothing to do: the file is where it belongs."""

    def remove(self, name: str) -> None:
        """Remove the file."""
        (self.folder / name).unlink(missing_ok=True)

    def download(self, name: str) -> bool:
        """What is not here is nowhere."""
        return False


def _files(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        # Names with a dot are parts of images that are being written.
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    # Links are not followed: one that leads upwards would have no end.
    inner = [
        file
        for entry in shown
        if entry.is_dir(follow_symlinks=False)
        for file in _files(Path(entry.path))
    ]
    return [entry for entry in shown if entry.is_file(follow_symlinks=False)] + inner
