"""Helper processes that end with the one that started them, even when it is killed."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_child(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    folder: Path | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start this Python with `arguments` in a session of its own, out of reach of the terminal's
    Ctrl-C.

    `folder` is its working directory, this process's by default; `inherited` are file descriptors
    that it gets. On Linux the kernel ends it when the calling thread ends, so start it from the
    main thread.
    """
    return subprocess.Popen(  # noqa: S603 - arguments are ours
        [sys.executable, *arguments],
        env=dict(environment),
        cwd=folder,
        pass_fds=tuple(inherited),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=die_with_parent if _libc else None,
    )


def import_path() -> str:
    """Return a PYTHONPATH by which a child imports what this process imports, wherever that came
    from.
    """
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def stop_child(process: subprocess.Popen[bytes], seconds: float = 5) -> None:
    """End the child's session and wait for it; after `seconds` it is killed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def die_with_parent() -> None:
    """Have this process ended when its parent ends, where the system knows how: Linux does."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
