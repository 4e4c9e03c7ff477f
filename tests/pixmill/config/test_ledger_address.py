"""Where a ledger may be, and that no password is ever written down with it."""

import sys

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError, UserError
from pixmill.ledger import open_ledger
from tests.conftest import Project
from tests.real_command import Command

CANARY = "canary-0815"
URL = "postgresql+psycopg://pixmill@db.example.com/pixmill"
WITH_PASSWORD = [
    f"postgresql+psycopg://pixmill:{CANARY}@db.example.com/pixmill",
    f"postgresql+psycopg://:{CANARY}@/pixmill",
    f"{URL}?password={CANARY}",
    f"{URL}?sslmode=require&sslpassword={CANARY}",
    f"postgresql://pixmill:{CANARY}@db.example.com/pixmill",
]


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_in_an_address_is_refused_and_not_repeated(
    project: Project, url: str
) -> None:
    project.write_rows(project.rows(1))
    with pytest.raises(
        ConfigError, match="ledger: must not contain a password: set PGPASSWORD"
    ) as refused:
        load_config(project.write_config(ledger=url))
    assert CANARY not in str(refused.value)
    with pytest.raises(UserError, match="must not contain a password") as refused_too:
        open_ledger(url, read_only=True)
    assert CANARY not in str(refused_too.value)


def test_the_command_line_repeats_no_password_either(pixmill: Command) -> None:
    refused = pixmill("ledger", "stats", WITH_PASSWORD[0])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "PGPASSWORD" in refused.stderr
    assert CANARY not in refused.stderr


@pytest.mark.parametrize(
    "url",
    [
        "mysql://db/x",
        "postgresql://db/x",
        "postgresql+asyncpg://db/x",
        "sqlite:///x.db",
        "ledger.db",
        "postgresql+psycopg:x",
    ],
)
def test_no_other_database_is_taken(project: Project, url: str) -> None:
    project.write_rows(project.rows(1))
    with pytest.raises(
        ConfigError,
        match=r"ledger: must be a database URL such as postgresql\+psycopg://",
    ):
        load_config(project.write_config(ledger=url))


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql+psycopg://postgres@/postgres?host=/run/pg",
        "postgresql+psycopg://db:6432/x?sslmode=require",
    ],
)
def test_a_real_provider_s_runs_use_it_and_simulated_ones_their_own_file(
    project: Project, url: str
) -> None:
    project.write_rows(project.rows(1))
    config = project.write_config(ledger=url)
    real = ("provider.kind=gateway", "provider.base_url=https://gateway.example.com")
    assert load_config(config, real).ledger_address == url
    assert (
        load_config(config).ledger_address
        == project.folder / "out" / "simulated" / "ledger.db"
    )
    assert (
        load_config(config, (*real, "ledger=null")).ledger_address
        == project.folder / "out" / "ledger.db"
    )


def test_without_its_driver_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError) as refused:
        open_ledger(URL)
    assert "pixmill[postgres]" in refused.value.hint
