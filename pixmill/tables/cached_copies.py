"""The copies of tables in buckets: a few versions of each are kept on this machine.

A process that reads copies holds a lock with others until it ends, as a run reads its version to the end. Old copies
are removed by one that is alone with them.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pixmill.config.bucket_address import cache_folder

KEPT_VERSIONS = 3
"""Versions of one table that are kept, those that were read last."""

UNREAD_SECONDS = 30 * 24 * 3600
"""After how long a version that nobody reads is removed, however many there are."""

_VERSION = re.compile("[0-9a-f]{16}")
_locks: dict[Path, IO[bytes]] = {}
_read: set[Path] = set()


@contextmanager
def use_copies() -> Iterator[set[Path]]:
    """Let the body bring copies here, and add the folders of those that it will read to a set.

    No process removes them before this one has ended. What nobody needs any more is removed now.
    """
    root = cache_folder() / "tables"
    root.mkdir(parents=True, exist_ok=True)
    if root not in _locks:
        _locks[root] = (root / ".lock").open("ab")
    lock = _locks[root]
    # Where the file system has no locks, nothing is removed.
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)
    yield _read
    for folder in _read:
        # By its age others see that it is in use.
        with suppress(OSError):
            os.utime(folder)
    # Only a process that is alone with the copies gets this lock.
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Goes what this process does not read and what is not among the newest versions, or old.
        oldest = time.time() - UNREAD_SECONDS
        versions_of: dict[Path, list[Path]] = {}
        for folder in root.rglob("*"):
            # The folder of a version holds one file, called as the folder above is.
            table = folder.parent
            if _VERSION.fullmatch(folder.name) and (folder / table.name).is_file():
                versions_of.setdefault(table, []).append(folder)
        for versions in versions_of.values():
            newest_first = sorted(versions, key=_read_at, reverse=True)
            for at, outdated in enumerate(newest_first):
                if outdated not in _read and (
                    at >= KEPT_VERSIONS or _read_at(outdated) < oldest
                ):
                    shutil.rmtree(outdated)
        for left in root.rglob(".*.part"):  # nobody writes one now
            left.unlink()
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)


def _read_at(folder: Path) -> float:
    return folder.stat().st_mtime
