"""Files that are whole or not there: written aside, synced, put in place by one rename."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from pixmill.errors import UserError

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems say that can't sync a folder (FUSE, some container mounts): their names are as safe as they get."""

_PART = ".part"


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; put it in `target`'s place if all went well, else remove it.

    Whoever removes it leaves `target` as it was.
    The path is always the same, so that what a killed process left there is overwritten and does not pile up.
    """
    path = target.with_name(f".{target.name}.tmp")
    path.unlink(
        missing_ok=True
    )  # a link that was planted there would lead the writing elsewhere
    try:
        yield path
        if path.exists():
            sync(path)
            path.replace(target)
            sync(target.parent)
    finally:
        path.unlink(missing_ok=True)


def put(target: Path, data: bytes) -> None:
    """Write `data` to the file `target`."""
    with aside(target) as path:
        path.write_bytes(data)


@contextmanager
def part(folder: Path) -> Iterator[tuple[BufferedRandom, Path]]:
    """Yield a new file in `folder`, to be written and moved to its place, and its path; else it is removed.

    It is locked as long as it is open, so that `clear_parts` knows it from what a killed process left.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=_PART)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with suppress(OSError):  # where there are no locks, nothing is cleared
                fcntl.flock(file, fcntl.LOCK_SH)
            with suppress(
                PermissionError, NotImplementedError
            ):  # exFAT and FUSE have their own
                os.fchmod(descriptor, 0o644)
            yield file, Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()


def clear_parts(folder: Path) -> None:
    """Remove the parts of files that killed processes left in `folder`."""
    for path in folder.glob(f".*{_PART}"):
        with suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Make `folder` and write to a file in it that has no name. Raises UserError where that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"pixmill")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{folder} can't be written: {error.strerror or error}",
            hint="nothing was paid; free the disk or change the permissions, or let `store` name another folder",
        ) from None
