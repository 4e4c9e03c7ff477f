"""One Prefect server for all test processes of a session: who needs it first starts it, who is last leaves it to end.

A keeper process owns the server. Each test process holds a shared lock from its first use to its end, however that is;
the keeper waits for an exclusive one.
"""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fork_server import ROOT
from tests.real_command import shared_server, wait_until


@contextmanager
def common_server(folder: Path) -> Iterator[str]:
    """Yield the URL of the server's API; `folder` is the same for all processes of the session."""
    folder.mkdir(exist_ok=True)
    keeper = None
    with (folder / "users").open("w") as users:
        with (folder / "door").open("w") as door:
            fcntl.flock(
                door, fcntl.LOCK_EX
            )  # one at a time finds out whether there is a server
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _url(folder).exists():
                keeper = _start_keeper(folder)
        yield _url(folder).read_text()
    if keeper:
        keeper.wait()


def _url(folder: Path) -> Path:
    return folder / "url"


def _start_keeper(folder: Path) -> subprocess.Popen[bytes]:
    log = folder / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.prefect_api", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    wait_until(
        lambda: _url(folder).exists() or keeper.poll() is not None,
        "the Prefect server of the session",
    )
    assert keeper.poll() is None, log.read_text()
    return keeper


def keep(folder: Path) -> None:
    """Run the server until nobody uses it."""
    with shared_server(folder) as url, (folder / "users").open("w") as users:
        aside = folder / "url.tmp"
        aside.write_text(url)
        aside.rename(_url(folder))
        fcntl.flock(users, fcntl.LOCK_EX)
        _url(folder).unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
