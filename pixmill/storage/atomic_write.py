"""Files and folders that are whole or not there: written aside, synced, put in place by one rename.

Two ways to write aside, with a trade-off each. `atomic_write` and `atomic_folder` use one name that
follows from the target: what a killed process left is overwritten by the next and does not pile up,
but writers of one target have to take turns (see `publication_lock`). `new_part` gives a name that
nobody else has, for folders into which many threads and processes write at once; `clear_parts`
removes what killed ones left.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from pixmill.errors import UserError

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems say that can't sync a folder (FUSE, some container mounts): their names are as
safe as they get.
"""

_PART = ".part"


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; it becomes `target` if all went well, else it is removed.

    Whoever removes it in the body leaves `target` as it was.
    """
    path = _beside(target)
    # A link that was planted there would lead the writing elsewhere.
    path.unlink(missing_ok=True)
    try:
        yield path
        if path.exists():
            put_in_place(path, target)
    finally:
        path.unlink(missing_ok=True)


def write_file(target: Path, data: bytes) -> None:
    """Write `data` to the file `target`, whole and durably."""
    with atomic_write(target) as path:
        path.write_bytes(data)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it becomes `out` if all went well, else it is removed.

    What exists is never touched, save an empty folder. Raises UserError where `out` is taken or
    another process is filling it.
    """
    if not out.name or out.name == "..":
        raise UserError(f"{out} can't be replaced", hint="name a new folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} exists and is not a folder", hint="name a new folder")
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"{out} exists and is not empty",
            hint="name a new folder, or remove this one first",
        )
    folder = _beside(out)
    with _claim_folder(folder):
        try:
            yield folder
            # Takes the place of an empty folder, and of nothing else.
            put_in_place(folder, out)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def new_part(folder: Path) -> Iterator[tuple[BufferedRandom, Path]]:
    """Yield a new file in `folder`, to be written and put in its place, and its path; else it is
    removed.

    It is locked as long as it is open, so that `clear_parts` can tell it from what a killed process
    left.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=_PART)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            # Where there are no locks, nothing is cleared.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_SH)
            # exFAT and FUSE have permissions of their own.
            with suppress(PermissionError, NotImplementedError):
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


def put_in_place(path: Path, target: Path) -> None:
    """Rename `path` to `target` so that even after a power loss one of both versions is there, and
    whole.
    """
    sync(path)
    path.replace(target)
    # The new name is in the folder's own data, which the system writes whenever it likes.
    sync(target.parent)


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


@contextmanager
def publication_lock(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Let nobody else publish in `folder` meanwhile; of two that want to, the second waits for the
    first.

    A `shared` lock is for whoever reads several files that belong together: others may read, and
    where nothing was ever published no lock file is made.
    """
    path = folder / ".lock"
    with ExitStack() as held:
        if not shared:
            folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(held.enter_context(path.open("w")), fcntl.LOCK_EX)
        elif path.exists():
            fcntl.flock(held.enter_context(path.open()), fcntl.LOCK_SH)
        yield


def check_writable(folder: Path) -> None:
    """Make `folder` and write to a file in it that has no name.

    Raises UserError where that can't be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"pixmill")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{folder} can't be written: {error.strerror or error}",
            hint="nothing was paid; free disk space, change the permissions, "
            "or set `store` to another folder",
        ) from None


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.tmp")


@contextmanager
def _claim_folder(folder: Path) -> Iterator[None]:
    """Make `folder` empty and keep others from filling it; a claim ends with its process."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not claim(folder, descriptor):
            raise UserError(
                f"another export is filling {folder}",
                hint="wait for it, or name another folder",
            )
        for left in folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
        yield
    finally:
        os.close(descriptor)


def claim(path: Path, descriptor: int) -> bool:
    """Lock the file or folder at `path`, open under `descriptor`; false where another process has
    the lock, or has just put it in place or taken it away.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False
