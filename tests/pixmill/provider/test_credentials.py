"""Where keys are found, what is said when they are not, and that they stay out of sight."""

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.console import Console
from rich.traceback import Traceback

from pixmill.config.model import Provider
from pixmill.errors import ConfigError
from pixmill.provider.credentials import (
    Secret,
    VolcKeys,
    bearer_key,
    simulator_key,
    volc_keys,
)

CANARY = "sk-canary-0123456789abcdef"
VARIABLES = (
    "PIXMILL_API_KEY",
    "MY_KEY",
    "VOLC_ACCESSKEY",
    "VOLC_SECRETKEY",
    "VOLC_SESSION_TOKEN",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an environment without keys."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def gateway(**settings: str) -> Provider:
    return Provider.model_validate(
        {"kind": "gateway", "base_url": "https://gateway.example.com", **settings}
    )


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def shown(error: pytest.ExceptionInfo[ConfigError]) -> str:
    """Everything of an error that could reach a terminal or a log."""
    return f"{error.value.hint} {''.join(traceback.format_exception(error.value))}"


def revealed(keys: VolcKeys) -> tuple[str | None, ...]:
    return tuple(key.reveal() if key else None for key in keys)


def test_a_secret_shows_only_where_it_is_revealed() -> None:
    secret = Secret(CANARY)
    percent = "%s" % secret  # noqa: UP031
    shown = {repr(secret), str(secret), f"{secret}", f"{secret!r}", percent}
    assert shown == {"***"}
    assert CANARY not in repr({"key": (secret, VolcKeys(secret, secret))})
    assert secret.reveal() == CANARY


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_refuses_to_be_pickled(protocol: int) -> None:
    for holder in (Secret(CANARY), VolcKeys(Secret("a"), Secret("b"))):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(holder, protocol)
    for copied in (copy.copy, copy.deepcopy, vars, json.dumps):
        with pytest.raises(TypeError) as error:
            copied(Secret(CANARY))
        assert CANARY not in str(error.value)


@dataclass
class Holder:
    """What somebody may put a secret into."""

    key: Secret


def test_no_printer_of_objects_and_no_serializer_gets_at_a_secret() -> None:
    holder = Holder(Secret(CANARY))
    for printed in (
        repr(holder),
        pprint.pformat(holder),
        str(vars(holder)),
        f"{holder.key:}",
        f"{holder.key!a}",
    ):
        assert CANARY not in printed
        assert "***" in printed
    model: TypeAdapter[Any] = TypeAdapter(Any)
    for serialize in (asdict, json.dumps, pickle.dumps, model.dump_json):
        with pytest.raises(Exception) as error:
            serialize(holder)
        assert CANARY not in shown_with_locals(error.value)


def test_a_traceback_with_locals_shows_no_secret(home: Path) -> None:
    """4.2: of what is around where keys are found and put into requests."""

    def fail(key: Secret, keys: VolcKeys) -> None:
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError) as error:
        fail(Secret(CANARY), VolcKeys(Secret(CANARY), Secret(CANARY)))
    assert "***" in shown_with_locals(error.value)
    assert CANARY not in shown_with_locals(error.value)


def shown_with_locals(error: BaseException) -> str:
    """A traceback as rich and the standard library print it where somebody turned the printing of locals on."""
    rich = io.StringIO()
    console = Console(file=rich, width=200)
    console.print(
        Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True
        )
    )
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    return rich.getvalue() + "".join(plain.format())


def test_secrets_are_equal_where_their_texts_are() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert len({Secret(CANARY), Secret(CANARY), Secret("other")}) == 2
    assert Secret(CANARY) != Secret(CANARY[:-1])
    assert Secret(CANARY) != CANARY


def test_the_bearer_key_is_in_the_variable_that_the_config_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIXMILL_API_KEY", "default-key")
    monkeypatch.setenv("MY_KEY", CANARY)
    assert bearer_key(gateway()).reveal() == "default-key"
    assert bearer_key(gateway(api_key_env="MY_KEY")).reveal() == CANARY


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_key_is_named_with_the_way_to_set_it(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="MY_KEY is not set") as error:
        bearer_key(gateway(api_key_env="MY_KEY"))
    assert "export MY_KEY=" in error.value.hint
    assert "provider.api_key_file" in error.value.hint


@pytest.mark.parametrize(
    "content", [CANARY, f"{CANARY}\n", f"\n  {CANARY} \r\n", f"\ufeff{CANARY}\n"]
)
def test_a_key_file_is_one_line_and_goes_before_the_variable(
    content: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PIXMILL_API_KEY", "of-another-gateway")
    write(home / "key", content)
    assert bearer_key(gateway(api_key_file=str(home / "key"))).reveal() == CANARY
    assert bearer_key(gateway(api_key_file="~/key")).reveal() == CANARY
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (f"{CANARY}\nsecond\n", "more than one line"),
        (f"Bearer {CANARY}", "whitespace"),
        (f"{CANARY}é", "outside ASCII"),
        (CANARY.encode() + b"\xff\xfe", "outside ASCII"),
    ],
)
def test_a_bad_key_file_is_named_without_its_content(
    content: str | bytes, problem: str, home: Path
) -> None:
    write(home / "key", content)
    with pytest.raises(ConfigError, match=problem) as error:
        bearer_key(gateway(api_key_file=str(home / "key")))
    assert str(home / "key") in str(error.value)
    assert error.value.hint
    assert CANARY not in shown(error)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_key_file_that_cannot_be_read_is_named(name: str, home: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read") as error:
        bearer_key(gateway(api_key_file=str(home / name)))
    assert str(home / name) in str(error.value)


def test_a_key_file_that_everybody_can_read_is_used_with_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Container runtimes mount secrets that way, so it is no error."""
    path = write(home / "key", CANARY, 0o644)
    with caplog.at_level(logging.WARNING):
        assert bearer_key(gateway(api_key_file=str(path))).reveal() == CANARY
    assert f"chmod 600 {path}" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "bad",
    ["{}\r\nX-Evil: 1", "{}\n", "\t{}", "Bearer {}", "{}\u00a0", "{}键", "{}\x7f"],
)
@pytest.mark.parametrize("variable", [name for name in VARIABLES if name != "MY_KEY"])
def test_a_key_that_could_break_a_header_is_refused_unseen(
    bad: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLC_ACCESSKEY", "AK")
    monkeypatch.setenv("VOLC_SECRETKEY", "SK")
    monkeypatch.setenv(variable, bad.format(CANARY))
    with pytest.raises(ConfigError, match=variable) as error:
        bearer_key(gateway()) if variable == "PIXMILL_API_KEY" else volc_keys()
    assert CANARY not in shown(error)


def test_a_simulator_of_its_own_takes_a_made_up_key_where_none_is_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulator_key(Provider()).reveal() == "simulated"
    monkeypatch.setenv("PIXMILL_API_KEY", "from-the-variable")
    assert simulator_key(Provider()).reveal() == "from-the-variable"
    write(home / "key", "from-the-file")
    assert simulator_key(Provider(api_key_file="~/key")).reveal() == "from-the-file"


def test_volcengine_keys_come_from_the_environment_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        home / ".volc/credentials",
        "[default]\naccess_key_id = file\nsecret_access_key = file\n",
    )
    monkeypatch.setenv("VOLC_ACCESSKEY", "AK")
    monkeypatch.setenv("VOLC_SECRETKEY", "SK==")
    assert revealed(volc_keys()) == ("AK", "SK==", None)
    monkeypatch.setenv("VOLC_SESSION_TOKEN", "STS2")
    assert revealed(volc_keys()) == ("AK", "SK==", "STS2")


def test_volcengine_keys_then_come_from_the_files_of_the_sdk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token belongs to the pair beside it: one from the environment joins no keys of a file."""
    monkeypatch.setenv("VOLC_SESSION_TOKEN", "STS2")
    write(home / ".volc/config", json.dumps({"ak": "AK-json", "sk": "SK-json"}))
    assert revealed(volc_keys()) == ("AK-json", "SK-json", None)
    write(
        home / ".volc/credentials",
        "[default]\naccess_key_id = AK-ini\nsecret_access_key = SK%ini==\n",
    )
    assert revealed(volc_keys()) == ("AK-ini", "SK%ini==", None)


def test_the_sdk_itself_finds_the_same_keys(home: Path) -> None:
    from volcengine.visual.VisualService import VisualService

    write(
        home / ".volc/credentials",
        "[default]\naccess_key_id = AK-ini\nsecret_access_key = SK-ini==\n",
    )
    found = VisualService().service_info.credentials
    assert (found.ak, found.sk, None) == revealed(volc_keys())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".volc/credentials", f"access_key_id = {CANARY}"),
        (".volc/credentials", f"[default]\n{CANARY}\n"),
        (
            ".volc/credentials",
            f"[other]\naccess_key_id = {CANARY}\nsecret_access_key = {CANARY}\n",
        ),
        (
            ".volc/credentials",
            f"[default]\naccess_key_id = {CANARY}\nsecret_access_key =\n",
        ),
        (".volc/credentials", b"\x00\xff" + CANARY.encode()),
        (".volc/config", f'{{"ak": "{CANARY}", "sk": '),
        (".volc/config", f'["{CANARY}"]'),
        (".volc/config", f'{{"ak": "{CANARY}", "sk": 5}}'),
        (".volc/config", f'{{"ak": "{CANARY}"}}'),
        (".volc/config", "[" * 100_000),
    ],
)
def test_a_key_file_of_the_sdk_without_keys_is_named_without_its_content(
    name: str, content: str | bytes, home: Path
) -> None:
    write(home / name, content)
    with pytest.raises(ConfigError, match=f"~/{name} contains no keys") as error:
        volc_keys()
    assert "it needs" in error.value.hint
    assert CANARY not in shown(error)


@pytest.mark.parametrize(
    ("there", "missing"),
    [("VOLC_ACCESSKEY", "VOLC_SECRETKEY"), ("VOLC_SECRETKEY", "VOLC_ACCESSKEY")],
)
def test_half_a_pair_is_an_error_rather_than_another_account(
    there: str, missing: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".volc/config", json.dumps({"ak": "AK-json", "sk": "SK-json"}))
    monkeypatch.setenv(there, CANARY)
    with pytest.raises(
        ConfigError, match=f"{there} is set, but {missing} is not"
    ) as error:
        volc_keys()
    assert CANARY not in shown(error)


def test_no_keys_at_all_lists_every_place_that_was_tried() -> None:
    with pytest.raises(ConfigError) as error:
        volc_keys()
    for place in (
        "VOLC_ACCESSKEY",
        "VOLC_SECRETKEY",
        "~/.volc/credentials",
        "~/.volc/config",
    ):
        assert place in str(error.value)
    assert "VOLC_SESSION_TOKEN" in error.value.hint
