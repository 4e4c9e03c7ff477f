"""Files that are whole or not there: written aside, synced, put in place by one rename."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    finally:
        os.close(descriptor)
