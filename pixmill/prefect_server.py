"""An embedded Prefect server for machines that have none: started while the plan is made, stopped after the run.

Prefect's own ephemeral server shares the terminal's process group, so a Ctrl-C kills it under a run that drains. This
one has a session of its own, a free port on loopback, no telemetry and no UI, and keeps its history in a folder of the
user, not in the store. Nothing here imports Prefect: its settings are environment variables.
"""

import fcntl
import os
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import requests

from pixmill.child_process import start_child, stop_child
from pixmill.errors import PixmillError

START_SECONDS = 120

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
_BARE_SERVER = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
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


def configure_prefect(*, embedded: bool = False) -> None:
    """Set the environment in which a command imports Prefect: no telemetry, and on the terminal only our own words.

    With an `embedded` server its client gives up after seconds: one that died does not come back.
    """
    silent = (
        "PREFECT_LOGGING_LEVEL",
        "PREFECT_LOGGING_ROOT_LEVEL",
        "PREFECT_LOGGING_INTERNAL_LEVEL",
    )
    brief = {"PREFECT_CLIENT_MAX_RETRIES": "2"} if embedded else {}
    for name, value in {**_QUIET, **dict.fromkeys(silent, "CRITICAL"), **brief}.items():
        os.environ.setdefault(name, value)


def _keep_loopback_off_proxies() -> None:
    """Let no proxy of the environment stand between Prefect's client and a server on this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


def api_is_configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment or the active Prefect profile names an API."""
    if environment.get("PREFECT_API_URL"):
        return True
    home = Path(environment.get("PREFECT_HOME") or Path.home() / ".prefect")
    try:
        profiles = tomllib.loads(
            Path(environment.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").read_text()
        )
    except (OSError, tomllib.TOMLDecodeError):
        return False
    active = environment.get("PREFECT_PROFILE") or profiles.get("active")
    return bool(profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL"))


_KEYS = (
    "PIXMILL_API_KEY",
    "PIXMILL_SIMULATOR_KEY",
    "VOLC_ACCESSKEY",
    "VOLC_SECRETKEY",
    "VOLC_SESSION_TOKEN",
)
"""What the server of a run has no business to know."""


class EmbeddedServer:
    """A Prefect API server of this process. Start it early with the constructor, then `use` it, then `close` it."""

    def __init__(self) -> None:
        _keep_loopback_off_proxies()
        self._open = ExitStack()
        home = self._claim_home()
        self._url = f"http://127.0.0.1:{_free_port()}/api"
        self._log = home / "server.log"
        environment = {**os.environ, **_QUIET, **_BARE_SERVER, "PREFECT_HOME": str(home)}
        for name in ("PREFECT_API_URL", *_KEYS):
            environment.pop(name, None)
        port = self._url.split(":")[2].removesuffix("/api")
        with self._log.open("wb") as output:
            self._process = start_child(
                ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port],
                environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._open.callback(stop_child, self._process)

    def use(self) -> None:
        """Wait until the server answers and make it the API of this process."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PixmillError(
                    f"the embedded Prefect server did not start; its log is {self._log}",
                    hint="or set PREFECT_API_URL to a server of your own",
                )
            time.sleep(0.1)
        os.environ["PREFECT_API_URL"] = self._url

    def close(self) -> None:
        """Stop the server."""
        self._open.close()
        if os.environ.get("PREFECT_API_URL") == self._url:
            del os.environ["PREFECT_API_URL"]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self._url}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def _claim_home(self) -> Path:
        """Return this user's server folder, or a temporary one while another run uses it: SQLite takes one server."""
        state = (
            Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
            / "pixmill"
            / "prefect"
        )
        try:
            state.mkdir(parents=True, exist_ok=True)
            lock = self._open.enter_context((state / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Path(
                self._open.enter_context(tempfile.TemporaryDirectory(prefix="pixmill-prefect-"))
            )
        return state


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
