"""Folders that are whole or not there: filled aside, put in place by one rename."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixmill.errors import UserError


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it becomes `out` if all went well, else it is removed.

    What exists is never touched, save an empty folder. What a killed process left aside is cleared by the next.
    Raises UserError where `out` is taken or another process is filling it.
    """
    _check_free(out)
    folder = out.with_name(f".{out.name}.tmp")
    with _claimed(folder):
        try:
            yield folder
            folder.rename(
                out
            )  # takes the place of an empty folder, and of nothing else
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _check_free(out: Path) -> None:
    if not out.name or out.name == "..":
        raise UserError(f"{out} can't be replaced", hint="name a new folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} exists and is no folder", hint="name a new folder")
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"{out} exists and is not empty",
            hint="name a new folder, or remove this one first",
        )


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Make `folder` empty and keep other processes from filling it; a claim ends with its process."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not _claim(folder, descriptor):
            raise UserError(
                f"another export is filling {folder}",
                hint="wait for it, or name another folder",
            )
        for left in folder.iterdir():
            shutil.rmtree(
                left
            ) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield
    finally:
        os.close(descriptor)


def _claim(folder: Path, descriptor: int) -> bool:
    """Lock the folder that is open; false where another process has the lock or has just put the folder in place."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), folder.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False
