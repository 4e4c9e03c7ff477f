"""An embedded Prefect server for machines that have none: started while the plan is
made, stopped after the run.

Prefect's own ephemeral server shares the terminal's process group, so a Ctrl-C kills it
under a run that drains. This one has a session of its own, a free port on loopback, no
telemetry and no UI, and keeps its history in a folder of the user, not in the store.
Nothing here imports Prefect: its settings are environment variables.
"""

import fcntl
import os
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path

import requests

from pixmill.cli.console import echo
from pixmill.cli.own_packages import prefer_own_packages
from pixmill.cli.pandas_block import allow_pandas
from pixmill.cli.prefect_settings import (
    check_proxies,
    check_settings,
    client_settings,
    configure_prefect,
    configured_api,
    is_on_this_machine,
    keep_loopback_off_proxies,
    server_environment,
)
from pixmill.errors import PixmillError
from pixmill.subprocesses import import_path, start_child, stop_child

START_SECONDS = 120

_BARE_SERVER = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT__SERVER_FINAL": "1",
    **{
        f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
        for service in (
            "SCHEDULER",
            "LATE_RUNS",
            "FOREMAN",
            "PAUSE_EXPIRATIONS",
            "CANCELLATION_CLEANUP",
            "TRIGGERS",
        )
    },
}
# Its imports make a million objects that stay: looking for cycles among them over and over took an
# eighth of its start.
_START = "import gc; gc.set_threshold(100_000, 50, 50); import uvicorn; uvicorn.main()"
_PROGRAM = ("-P", "-c", _START, "prefect.server.api.server:create_app", "--factory")
"""What `prefect server start` runs, which takes a port but no socket."""


class EmbeddedServer:
    """A Prefect API server of this process. Start it early with the constructor, then
    `use` it, then `close` it. What imports Prefect may do so between `configure` and `wait`.

    It gets a socket that listens already, so that whoever answers there is this server,
    and no other process can take the port in between.
    """

    def __init__(self) -> None:
        keep_loopback_off_proxies()
        self._open = ExitStack()
        self._before: dict[str, str] | None = None
        self._home = self._claim_home()
        self._log = self._home / "server.log"
        settings = {**_BARE_SERVER, "PYTHONPATH": import_path()}
        environment = server_environment(self._home, settings)
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            self._log.open("wb") as output,
        ):
            # Connections inherit it. The server itself can't tell what kind of socket it
            # was given, and without it each small answer waits for 40 ms.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            number = listener.fileno()
            self._process = start_child(
                [*_PROGRAM, "--log-level", "warning", "--fd", str(number)],
                environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                folder=self._home,
                inherited=(number,),
            )
        self._open.callback(stop_child, self._process)

    def use(self) -> None:
        """Make the server the API of this process, and wait until it answers."""
        self.configure()
        self.wait()

    def configure(self) -> None:
        """Make the server the API of this process, and its settings the only ones."""
        self._before = _replace_settings(client_settings(self._home, self._url))

    def wait(self) -> None:
        """Wait until the server answers. Raises PixmillError where it does not start."""
        deadline = time.monotonic() + START_SECONDS
        with requests.Session() as session:
            # No proxy and no .netrc of the user is about a server on loopback.
            session.trust_env = False
            while True:
                # It does not listen yet, or is too busy to answer.
                with suppress(requests.RequestException):
                    if session.get(f"{self._url}/health", timeout=2).ok:
                        return
                # One that has ended says why in its log; there is no use in waiting.
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise PixmillError(
                        f"the embedded Prefect server did not start; its log is {self._log}",
                        hint="or set PREFECT_API_URL to a server of your own",
                    )
                time.sleep(0.1)

    def close(self) -> None:
        """Stop the server, and leave the settings of this process as they were."""
        self._open.close()
        if self._before is not None:
            _replace_settings(self._before)
            self._before = None

    def _claim_home(self) -> Path:
        """Return this user's server folder, or a temporary one while another run uses
        it: SQLite takes one server.
        """
        try:
            named = Path(os.environ.get("XDG_STATE_HOME", ""))
            # A relative one is not valid, says the XDG Base Directory Specification.
            if not named.is_absolute():
                named = Path.home() / ".local" / "state"
            state = named / "pixmill" / "prefect"
            state.mkdir(parents=True, exist_ok=True)
            lock = self._open.enter_context((state / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, RuntimeError):
            # Another run holds the lock, the disk is read-only, or there is no home.
            return Path(
                self._open.enter_context(
                    tempfile.TemporaryDirectory(prefix="pixmill-prefect-")
                )
            )
        return state


def _replace_settings(settings: dict[str, str]) -> dict[str, str]:
    """Put `settings` in place of all PREFECT_ variables of this process; return those."""
    before = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.upper().startswith("PREFECT_")
    }
    os.environ.update(settings)
    return before


class PrefectServer:
    """The embedded Prefect server of this command, where nothing that Prefect reads
    names another.
    """

    def __init__(self, stack: ExitStack, *, early: bool) -> None:
        self._stack = stack
        self._embedded = None
        if early:
            self._embedded = self._start()

    def _start(self) -> EmbeddedServer | None:
        if url := configured_api():
            if is_on_this_machine(url):
                keep_loopback_off_proxies()
            return None
        server = EmbeddedServer()
        self._stack.callback(server.close)
        return server

    def use(self) -> None:
        """Point this process's Prefect to a server that answers."""
        embedded = self._embedded or self._start()
        configure_prefect(embedded=embedded is not None)
        if embedded:
            echo(
                "starting a Prefect server for this run (PREFECT_API_URL names one of your own) …"
            )
            embedded.configure()
        # What Prefect or a user's own tasks import is none of this command's business.
        allow_pandas()
        check_settings()
        check_proxies()
        if embedded:
            # While the server starts on another processor, which takes longer.
            prefer_own_packages()
            import_module("flows.generate")
            embedded.wait()
