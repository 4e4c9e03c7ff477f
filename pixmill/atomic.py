"""Files that are whole or not there: written aside, synced, put in place by one rename."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixmill.errors import UserError

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems say that can't sync a folder (FUSE, some container mounts): their names are as safe as they get."""


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; put it in `target`'s place if all went well, else remove it.

    Whoever removes it leaves `target` as it was.
    The path is always the same, so that what a killed process left there is overwritten and does not pile up.
    """
    path = target.with_name(f".{target.name}.tmp")
    path.unlink(missing_ok=True)  # a link that was planted there would lead the writing elsewhere
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
