"""A store in a bucket. Files are worked on in a folder of this machine, which may be deleted while
nothing runs.

An image is written here first and then to the bucket, both before the ledger hears that it is
stored; one that the bucket does not take waits in `.waiting/`, which may not be deleted. What is
asked about an image is answered by the bucket, never by the copy.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pixmill.config.bucket_address import BucketAddress, make_cache_folder
from pixmill.errors import StoreError, UserError
from pixmill.storage.atomic_write import clear_parts, publication_lock, sync
from pixmill.storage.base import NotYetStored, Result
from pixmill.storage.image_store import ImageFile, ImageStore
from pixmill.storage.integrity import THREADS, NamedImage, hash_in, hash_of
from pixmill.storage.s3_objects import (
    ABSENT,
    Objects,
    PreconditionFailed,
    Seen,
    StoreRefused,
)

log = logging.getLogger(__name__)

MARK = "pixmill-store"
"""The object that says that a store is here; writing it tells whether conditions are honoured."""

WAITING = ".waiting"
"""The folder of images that the bucket has not taken yet.

Unlike all else here they may be nowhere else.
"""

PUBLICATIONS = 5
"""How often a dataset is written anew because others published at the same time; then it is said.
"""

_MARK_TEXT = (
    b"Images and datasets of pixmill. "
    b"Their record of payments is a ledger in PostgreSQL.\n"
)
_VERSION = re.compile(r"\d{8}T[\d.]+Z\.(?:parquet|json)")
_CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".yaml": "text/plain; charset=utf-8",
}


class BucketStore:
    """The store at `address`; see `Store`."""

    def __init__(self, address: BucketAddress) -> None:
        make_cache_folder()
        self._address = address
        self.folder = address.working_copy
        self._objects = Objects(address)
        self._copies = ImageStore(self.folder)

    def display_name(self, path: Path) -> str:
        """A file is called by its URL."""
        return self._address.at(path.relative_to(self.folder).as_posix()).url

    def check_writable(self) -> None:
        """Write the mark of a store, or find that it is there.

        A server that ignores conditions is refused.
        """
        digest = sha256(_MARK_TEXT).hexdigest()
        try:
            if self._objects.look(MARK) is None:
                self._objects.put(MARK, _MARK_TEXT, digest, ABSENT, "text/plain")
            self._objects.put(
                MARK, b"\n", sha256(b"\n").hexdigest(), ABSENT, "text/plain"
            )
        except PreconditionFailed:
            return
        raise UserError(
            f"the server of {self._address.url} ignores If-None-Match: "
            "two runs could overwrite each other's work",
            hint="use one that honours conditional writes, such as S3 itself or a current MinIO",
        )

    def check_present(self) -> None:
        """A wrong prefix has lost nothing."""
        if self._objects.look(MARK) is None:
            raise UserError(
                f"there is no store at {self._address.url}, so every image would count as missing",
                hint="check the prefix; if the images are gone for good, "
                "`pixmill run` creates a new store",
            )

    # Images

    def save(self, data: bytes) -> ImageFile:
        """Write an image here, then to the bucket.

        What the bucket does not take waits where nobody clears it away.
        """
        image = self._copies.save(data)
        try:
            self._keep(image.file_name, data, image.sha256)
        except StoreError as error:
            _move(self.folder / image.file_name, self._waiting(image.file_name))
            raise NotYetStored(str(error), hint=error.hint, image=image) from error
        return image

    def _waiting(self, name: str) -> Path:
        """Where the image `name` waits for the bucket."""
        return self.folder / WAITING / name.removeprefix("images/")

    def _keep(self, name: str, data: bytes, digest: str) -> None:
        """Write an image, in place of whatever stands under its name and is not what that says."""
        kind = _content_type(name)
        try:
            self._objects.put(name, data, digest, ABSENT, kind)
        except PreconditionFailed:
            # Something else has the name of this content. It is replaced only if it is still that:
            # the right image may have come meanwhile.
            seen = self._objects.look(name)
            condition = seen.unchanged if seen else ABSENT
            self._objects.put(name, data, digest, condition, kind)

    def exists(self, name: str) -> bool:
        """What the ledger names was in the bucket first; `pixmill repair` looks whether it still
        is.
        """
        return True

    def file(self, name: str) -> Path:
        """Bring an image here, unless a sound copy is there."""
        digest = hash_in(name)
        if digest is None:
            # Not a name that a store makes: it may lead out of the folder, so it leads nowhere.
            return self.folder / "images" / "foreign"
        path = self.folder / name
        if _is_sound(path, digest):
            return path
        if self._objects.fetch(name, path, digest) is None:
            path.unlink(missing_ok=True)
            log.info(
                "%s is missing, or its content does not match its name",
                self.display_name(path),
            )
        return path

    def signed_link(self, name: str) -> str | None:
        """Return an address of the bucket that is good for ten minutes."""
        return self._objects.signed_link(name)

    def prefetch(self, names: Iterable[str | None]) -> None:
        """Bring images here, several at a time."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.file, {name for name in names if name}))

    def problem(self, image: NamedImage) -> str | None:
        """Ask the bucket what it has, by the checksum that it keeps."""
        digest = hash_in(image.name)
        if not digest:
            return "foreign_name"
        seen = self._objects.look(image.name)
        if seen is None:
            return "missing"
        if image.size is not None and seen.size != image.size:
            return "wrong_size"
        return None if self._objects.sha256(image.name, seen) == digest else "damaged"

    def restore(self, name: str) -> bool:
        """Write the copy of this machine to the bucket again, or the image that waits for it."""
        path = self.folder / name
        digest = hash_in(name)
        for copy in (path, self._waiting(name)):
            if digest and _is_sound(copy, digest):
                self._keep(name, copy.read_bytes(), digest)
                _move(copy, path)
                self._waiting(name).unlink(missing_ok=True)
                return True
        return False

    def clear_parts(self) -> None:
        """Whatever comes from the bucket is written so as well."""
        self._copies.clear_parts()
        for folder in self.folder.glob("*/"):
            clear_parts(folder)

    def image_sizes(self) -> dict[str, int]:
        """Count what a listing has."""
        sizes = [one.seen.size for one in self._objects.list("images/")]
        return {"images": len(sizes), "images_bytes": sum(sizes)}

    # Datasets

    def pull(
        self, dataset: str, files: Sequence[str], *, history: bool = False
    ) -> None:
        """Bring what is published here, as far as it is not."""
        with publication_lock(self.folder / dataset):
            self._pull(dataset, files)
            if history:
                folder = f"{dataset}/history/"
                # Whoever writes to the bucket chooses names: only those of versions become files here.
                names = {
                    one.name
                    for one in self._objects.list(folder)
                    if _VERSION.fullmatch(one.name.removeprefix(folder))
                }
                for name in names:
                    self._pull_file(name)
                for path in (self.folder / dataset / "history").glob("*"):
                    if path.relative_to(self.folder).as_posix() not in names:
                        path.unlink()

    def publish(
        self, dataset: str, files: Sequence[str], keep: int, write: Callable[[], Result]
    ) -> Result:
        """Write on top of what is published, then put each file in place of the one that was seen
        before.
        """
        try:
            return self._publish(dataset, files, keep, write)
        except StoreRefused as error:
            # That is a user's mistake, which costs nothing; by now it may have been paid for.
            raise StoreError(str(error), hint=error.hint) from None

    def _publish(
        self, dataset: str, files: Sequence[str], keep: int, write: Callable[[], Result]
    ) -> Result:
        for _ in range(PUBLICATIONS):
            seen = self._pull(dataset, files)
            # So that all that is there afterwards is new, and has to be pushed.
            shutil.rmtree(self.folder / dataset / "history", ignore_errors=True)
            result = write()
            try:
                # By name a manifest (.json) comes before its dataset (.parquet), which is no version
                # without it.
                for path in sorted((self.folder / dataset / "history").glob("*")):
                    name = path.relative_to(self.folder).as_posix()
                    self._objects.put(
                        name, path, hash_of(path), ABSENT, _content_type(name)
                    )
                for file in files:
                    # Nothing is there yet where the first dataset of all was refused.
                    if (self.folder / dataset / file).exists():
                        self._push(f"{dataset}/{file}", seen[file])
            except PreconditionFailed:
                log.info(
                    "%s was published by another run meanwhile; it is published again",
                    dataset,
                )
                continue
            self._trim_history(dataset, keep)
            return result
        raise StoreError(
            f"{self._address.at(dataset).url} was published by other runs "
            f"{PUBLICATIONS} times meanwhile",
            hint="run the same command again; what was paid for is in the ledger",
        )

    def push(self, name: str) -> None:
        """Write a file to the bucket, whatever stood there."""
        path = self.folder / name
        self._objects.put(name, path, hash_of(path), {}, _content_type(name))

    def remove(self, name: str) -> None:
        """Remove it from the bucket, and its copy here."""
        self._objects.delete(name)
        (self.folder / name).unlink(missing_ok=True)

    def download(self, name: str) -> bool:
        """Bring a file from the bucket."""
        return self._objects.fetch(name, self.folder / name) is not None

    def _pull(self, dataset: str, files: Sequence[str]) -> dict[str, Seen | None]:
        return {file: self._pull_file(f"{dataset}/{file}") for file in files}

    def _pull_file(self, name: str) -> Seen | None:
        """Make a file what the bucket has and return that."""
        path = self.folder / name
        seen = self._objects.look(name)
        if seen and not (seen.sha256 and _is_sound(path, seen.sha256)):
            seen = self._objects.fetch(name, path)
        if seen is None:
            path.unlink(missing_ok=True)
        return seen

    def _push(self, name: str, seen: Seen | None) -> None:
        """Write a file in place of what was `seen`, unless it is the same."""
        path = self.folder / name
        digest = hash_of(path)
        if seen is None or seen.sha256 != digest:
            condition = seen.unchanged if seen else ABSENT
            self._objects.put(name, path, digest, condition, _content_type(name))

    def _trim_history(self, dataset: str, keep: int) -> None:
        """Forget the oldest versions.

        A policy may well not allow that, and a published dataset is no failure.
        """
        try:
            names = [one.name for one in self._objects.list(f"{dataset}/history/")]
            versions = [name for name in names if name.endswith(".parquet")]
            for name in sorted(versions, reverse=True)[keep:]:
                self._objects.delete(name)
                self._objects.delete(name.removesuffix(".parquet") + ".json")
        except StoreError as error:
            log.warning(
                "earlier versions of %s stay beyond output.keep_versions: %s",
                dataset,
                error,
            )


def _move(file: Path, to: Path) -> None:
    """Move a file, durably. Another thread may have moved it, as equal images are one."""
    if file == to:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        file.replace(to)
    # The folders above may be new as well: up to the store, whose name is older.
    for folder in (to.parent, *to.parents[1:3], file.parent):
        sync(folder)


def _is_sound(path: Path, digest: str) -> bool:
    try:
        return not path.is_symlink() and hash_of(path) == digest
    except OSError:
        return False


def _content_type(name: str) -> str:
    return _CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")
