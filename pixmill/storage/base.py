"""What a store offers, whatever it is made of."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from pixmill.errors import StoreError
from pixmill.storage.image_store import ImageFile
from pixmill.storage.integrity import NamedImage

Result = TypeVar("Result")


class NotYetStored(StoreError):
    """The store did not take a complete image, which is safe on this machine:

    `restore` tries again.
    """

    def __init__(
        self, message: str, *, hint: str = "", image: ImageFile | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.image = image


class Store(Protocol):
    """Images by their file names, and the files of published datasets; names are relative to the
    store.
    """

    @property
    def folder(self) -> Path:
        """The folder of the files: the store itself, or this machine's copy of it."""

    def display_name(self, path: Path) -> str:
        """Return what to call a file of `folder` to people and programs: its path, or its URL in a
        bucket.
        """

    def check_writable(self) -> None:
        """Raise PixmillError where nothing can be written, before something is paid for that would
        have no place.
        """

    def check_present(self) -> None:
        """Raise UserError where the whole store is away, so that every image would count as
        missing.
        """

    # Images

    def save(self, data: bytes) -> ImageFile:
        """Keep a complete image, durably, before this returns.

        ImageError as in `inspect`; OSError, NotYetStored.
        """

    def exists(self, name: str) -> bool:
        """Say whether an image that was stored can be taken to be there still, without a closer
        look.
        """

    def file(self, name: str) -> Path:
        """Return the file of an image, which is not there where the store has none.

        Raises StoreError.
        """

    def signed_link(self, name: str) -> str | None:
        """Return an address from which a browser can fetch an image for some minutes; None where
        it is a file of this machine.
        """

    def prefetch(self, names: Iterable[str | None]) -> None:
        """Have the files of many images at hand before they are asked for one by one."""

    def problem(self, image: NamedImage) -> str | None:
        """Return which of `PROBLEMS` an image has, `None` where it has none."""

    def restore(self, name: str) -> bool:
        """Put an image that is not there or damaged right from a copy of this machine; say whether
        there was one.
        """

    def clear_parts(self) -> None:
        """Remove halves of files that killed processes left; those of living ones stay."""

    def image_sizes(self) -> dict[str, int]:
        """Return the number of images and their bytes."""

    # Datasets

    def pull(
        self, dataset: str, files: Sequence[str], *, history: bool = False
    ) -> None:
        """Make `files` of a dataset's folder, with `history` also its earlier versions, what is
        published now.
        """

    def publish(
        self, dataset: str, files: Sequence[str], keep: int, write: Callable[[], Result]
    ) -> Result:
        """Let `write` bring a dataset's folder up to date, and publish `files` in their order.

        It is called again where somebody else published meanwhile. `keep` earlier versions are
        kept.
        """

    def push(self, name: str) -> None:
        """Publish a single file as it is."""

    def remove(self, name: str) -> None:
        """Take a single file away that was pushed, if it is there."""

    def download(self, name: str) -> bool:
        """Bring a file that was pushed from another machine; say whether there was one."""
