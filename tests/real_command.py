"""The real command line in processes of its own, for the tests that kill, interrupt and watch it."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pixmill.cli.embedded_prefect import EmbeddedServer
from pixmill.config.loading import load_config
from pixmill.planning.planner import make_plan
from tests.fork_server import QUICK_COMMAND, ROOT, ForkedProcess, fork_process

Process = subprocess.Popen[str] | ForkedProcess

PATIENCE = 90.0
"""Seconds after which a test gives up waiting: many times what anything here takes."""


class CommandResult(NamedTuple):
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """What `--json` printed; shows what went wrong where it printed nothing."""
        assert self.stdout, self.stderr
        return json.loads(self.stdout)  # type: ignore[no-any-return]


class Command:
    """Starts `pixmill`; all Prefect state goes to `home`, so that nobody's own server or profile is used.

    A run starts its embedded Prefect server, as it does for everybody, or uses the one at `api`, which saves seconds.
    A `forked` command is forked from a process that has imported pixmill, and Prefect where there is an `api`, which
    saves seconds more.
    """

    def __init__(
        self, home: Path, api: str | None = None, *, forked: bool = False
    ) -> None:
        self._home, self._api, self._is_forked = home, api, forked

    def environment(self) -> dict[str, str]:
        named = {"PREFECT_API_URL": self._api} if self._api else {}
        return {**os.environ, **named, **prefect_state(self._home)}

    def __call__(self, *arguments: str) -> CommandResult:
        """Run one command to its end."""
        with self.started(*arguments) as process:
            return wait_for_result(process)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Process]:
        """Start a command in a process group of its own, as a terminal does; it is killed when the body ends."""
        start = self._forked if self._is_forked else self._fresh
        with start(*arguments) as process:
            yield process

    def _forked(self, *arguments: str) -> AbstractContextManager[Process]:
        environment = self.environment()
        prefect = (
            {name: environment[name] for name in ("PREFECT_API_URL", "PREFECT_HOME")}
            if self._api
            else {}
        )
        return fork_process(
            QUICK_COMMAND, *arguments, environment=environment, prefect=prefect
        )

    @contextmanager
    def _fresh(self, *arguments: str) -> Iterator[Process]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pixmill", *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream
                stream.close()


def prefect_state(home: Path) -> dict[str, str]:
    """The environment by which all Prefect state is kept in `home`."""
    return {"PREFECT_HOME": str(home / "client"), "XDG_STATE_HOME": str(home / "state")}


@contextmanager
def shared_server(home: Path) -> Iterator[str]:
    """Run one Prefect server for several runs; yields the URL of its API."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in prefect_state(home).items():
            patch.setenv(name, value)
        server = EmbeddedServer()
    try:
        server.use()
        yield os.environ.pop("PREFECT_API_URL")
    finally:
        server.close()


def run_arguments(config: str, *options: str) -> tuple[str, ...]:
    """The arguments of a run without a terminal that may pay and prints its report."""
    return ("run", config, "--yes", "--new-store", "--json", *options)


def wait_for_result(process: Process) -> CommandResult:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return CommandResult(process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds, and fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


def kill_9(process: Process) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)


def children(pid: int) -> dict[int, str]:
    """The direct children of a process that are alive now, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _parent(entry) == pid:
            found[int(entry.name)] = _command_line(entry)
    return found


def tree(pid: int) -> dict[int, str]:
    """A process and all below it, with their command lines."""
    found = {pid: ""}
    for child, command in children(pid).items():
        found |= {**tree(child), child: command}
    return found


def is_alive(pid: int, command: str) -> bool:
    """Whether the process that had this command line when it was seen is still there."""
    return _command_line(Path(f"/proc/{pid}")) == command


def _parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _command_line(entry: Path) -> str:
    """Empty for a process that is gone or a zombie."""
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def job_keys_by_bill_key(config: str) -> dict[str, str]:
    """The job key of each request of the whole table, by the key that the simulator's bill has for it."""
    jobs = make_plan(load_config(config), None).pending_jobs()
    return {_bill_key(job.payload()): job.key for job in jobs}


def _bill_key(body: bytes) -> str:
    asked = {
        name: value for name, value in json.loads(body).items() if name != "return_url"
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def ledger_rows(
    store: Path, columns: str = "job_key, request_id", state: str = "succeeded"
) -> dict[str, Any]:
    """Two columns of the jobs in `state`, read from a copy: looking must not repair what a crash left."""
    copy = store.parent / "looked-at"
    copy.mkdir(exist_ok=True)
    for name in ("ledger.db", "ledger.db-wal"):
        (copy / name).unlink(missing_ok=True)
        if (store / name).exists():
            shutil.copyfile(store / name, copy / name)
    with closing(sqlite3.connect(copy / "ledger.db")) as ledger:
        return dict(
            ledger.execute(f"SELECT {columns} FROM jobs WHERE state = ?", (state,))
        )
