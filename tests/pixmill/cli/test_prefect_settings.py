"""What Prefect reads from environment and files: an API named there is used, all else is kept off a run's own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pixmill.cli.embedded_prefect import EmbeddedServer
from pixmill.cli.prefect_settings import (
    check_proxies,
    client_settings,
    configured_api,
    keep_loopback_off_proxies,
    server_environment,
)
from pixmill.errors import ConfigError
from tests.conftest import Bill, Project
from tests.real_command import Command, run_arguments, wait_for_result

A, B = "http://127.0.0.1:4201/api", "http://127.0.0.1:4202/api"
PROFILES = f'active = "a"\n[profiles.a]\nPREFECT_API_URL = "{A}"\n[profiles.b]\nPREFECT_API_URL = "{B}"\n[profiles.c]\n'
Case = tuple[dict[str, str], dict[str, str], str | None]
NAMED: dict[str, Case] = {
    "nothing": ({}, {}, None),
    "environment": ({"PREFECT_API_URL": A}, {".env": f"PREFECT_API_URL={B}"}, A),
    "lower case": ({"prefect_api_url": A}, {}, A),
    "empty in the environment": ({"PREFECT_API_URL": ""}, {"home/profiles.toml": PROFILES}, None),
    ".env": ({}, {".env": f"PREFECT_API_URL='{A}' # ours", "prefect.toml": f'[api]\nurl="{B}"'}, A),
    "export in .env": ({}, {".env": f"# a\nexport PREFECT_API_URL={A}\n"}, A),
    "prefect.toml": ({}, {"prefect.toml": f'[api]\nurl = "{A}"'}, A),
    "prefect.toml before pyproject.toml": (
        {}, {"prefect.toml": f'[api]\nurl="{A}"', "pyproject.toml": f'[tool.prefect.api]\nurl="{B}"'}, A),
    "pyproject.toml": ({}, {"pyproject.toml": f'[tool.prefect.api]\nurl = "{A}"'}, A),
    "another pyproject.toml": ({}, {"pyproject.toml": '[tool.prefect]\n[project]\nname = "x"'}, None),
    "profile": ({}, {"home/profiles.toml": PROFILES}, A),
    "profile by name": ({"PREFECT_PROFILE": "b"}, {"home/profiles.toml": PROFILES}, B),
    "profile without an API": ({"PREFECT_PROFILE": "c"}, {"home/profiles.toml": PROFILES}, None),
    "profiles elsewhere": ({"PREFECT_PROFILES_PATH": "mine.toml"}, {"mine.toml": PROFILES}, A),
    "profiles elsewhere by .env": ({}, {".env": "PREFECT_PROFILES_PATH=mine.toml", "mine.toml": PROFILES}, A),
    "profiles elsewhere by prefect.toml": (
        {}, {"prefect.toml": 'profiles_path = "mine.toml"', "mine.toml": PROFILES}, A),
    "pyproject.toml before profile": (
        {}, {"pyproject.toml": f'[tool.prefect.api]\nurl = "{B}"', "home/profiles.toml": PROFILES}, B),
}  # fmt: skip

_ASK_PREFECT = """
import json, os, sys
cases = json.load(sys.stdin)
from prefect.settings.models.root import Settings
for folder, environment in cases:
    os.chdir(folder)
    names = [name for name in os.environ if name.upper().startswith("PREFECT_")]
    for name in names:
        del os.environ[name]
    os.environ.update(environment)
    print(json.dumps(Settings().api.url or None))
"""


def lay_out(folder: Path, case: Case) -> dict[str, str]:
    """Write the files of a case; return its environment."""
    environment, files, _ = case
    (folder / "home").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return {"PREFECT_HOME": str(folder / "home"), **environment}


@pytest.mark.parametrize("name", NAMED)
def test_an_api_is_found_wherever_prefect_looks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = lay_out(tmp_path / "case", NAMED[name])
    monkeypatch.chdir(tmp_path / "case")
    assert configured_api(environment) == NAMED[name][2]


@pytest.mark.slow
def test_prefect_itself_finds_the_same(tmp_path: Path) -> None:
    cases = [
        (str(tmp_path / str(at)), lay_out(tmp_path / str(at), case))
        for at, case in enumerate(NAMED.values())
    ]
    answer = subprocess.run(
        [sys.executable, "-P", "-c", _ASK_PREFECT],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    assert found == [wanted for _, _, wanted in NAMED.values()]


@pytest.mark.parametrize(
    "name", ["prefect.toml", "pyproject.toml", "home/profiles.toml"]
)
def test_a_file_that_prefect_can_not_read_is_said(name: str, tmp_path: Path) -> None:
    environment = lay_out(tmp_path / "case", ({}, {name: "[api\n"}, None))
    with pytest.raises(ConfigError, match="can't be read, in which Prefect looks"):
        configured_api(environment, tmp_path / "case")


PROXIES = [
    "socks5://127.0.0.1:7890", "socks5h://proxy:1", "socks4://proxy:1", "http://proxy:8080", "proxy:8080",
    "https://user:pass@proxy:8080", "http://proxy:port", "quic://proxy", "http://", "://", "", " ", "http://[::1",
]  # fmt: skip
UNPROXIED = [
    "",
    "localhost",
    "[::1]",
    "::1",
    "*.example.com,.example.org",
    "10.0.0.0/8",
    "a b",
    "http://x",
    "fe80::/10",
]


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "https_proxy", "All_Proxy"])  # fmt: skip
@pytest.mark.parametrize("proxy", PROXIES)
def test_no_proxy_of_the_environment_comes_between_prefect_and_loopback(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    is_direct()


@pytest.mark.parametrize("hosts", UNPROXIED)
def test_no_list_of_hosts_without_a_proxy_is_too_odd_for_prefect(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", hosts)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:8080")
    is_direct()
    assert os.environ["HTTPS_PROXY"] == "http://proxy:8080"  # a bucket may need it


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://proxy:1080"),
        ("https_proxy", "socks4://proxy:1080"),
        ("HTTP_PROXY", "http://proxy:port"),
        ("NO_PROXY", "http://[::1"),
    ],
)
def test_a_proxy_that_prefect_can_not_use_is_named_before_its_api_is_asked(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:8080")
    check_proxies()
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        check_proxies()
    assert str(caught.value) == f"Prefect's client can't use the proxy in {variable}"
    assert value not in (caught.value.hint or "")


def is_direct() -> None:
    """An HTTP client as Prefect makes it talks to loopback itself."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    with pytest.MonkeyPatch.context() as patch:
        for name in [*names, "NO_PROXY", "no_proxy"]:
            patch.setenv(name, os.environ.get(name, ""))
        keep_loopback_off_proxies()
        with httpx.Client() as client:
            for host in ("127.0.0.1", "localhost"):
                url = httpx.URL(f"http://{host}:4200/api")
                assert client._transport_for_url(url) is client._transport
        kept = {
            name: os.environ[name]
            for name in os.environ
            if name.lower().endswith("_proxy")
        }
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(kept)


SECRETS = {
    "PIXMILL_API_KEY": "s1", "MY_OWN_GATEWAY_KEY": "s2", "PGPASSWORD": "s3", "AWS_ACCESS_KEY_ID": "s4",
    "AWS_SECRET_ACCESS_KEY": "s5", "VOLC_SECRETKEY": "s6", "PREFECT_API_KEY": "s7", "HF_TOKEN": "s8",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u:s9@db/x", "https_proxy": "http://u:s10@proxy",
}  # fmt: skip


def test_the_server_of_a_run_inherits_no_key_and_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    inherited = server_environment(tmp_path, {"OWN": "1"})
    assert not inherited.keys() & SECRETS.keys()
    assert inherited["PATH"] == os.environ["PATH"]
    assert inherited["OWN"] == "1"
    of_client = client_settings(tmp_path, A)
    assert of_client["PREFECT_API_URL"] == A
    assert not set(of_client.values()) & set(SECRETS.values())


@pytest.mark.slow
def test_nobody_else_can_answer_for_the_server_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is taken from the first moment on, and its own environment is what it was given."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("MY_OWN_GATEWAY_KEY", "canary-0123456789")
    monkeypatch.setenv("PREFECT_PROFILE", "mine")
    server = EmbeddedServer()
    try:
        port = int(server._url.split(":")[2].removesuffix("/api"))
        with (
            pytest.raises(OSError, match="in use"),
            socket.create_server(("127.0.0.1", port)),
        ):
            pass
        handed = Path(f"/proc/{server._process.pid}/environ").read_bytes()
        assert b"canary" not in handed
        assert b"PREFECT_PROFILE=" not in handed
        server.use()
        assert os.environ["PREFECT_API_URL"] == server._url
        assert "PREFECT_PROFILE" not in os.environ
    finally:
        server.close()
    assert os.environ["PREFECT_PROFILE"] == "mine"
    assert "PREFECT_API_URL" not in os.environ


HOSTILE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "proxies and certificates": (
        {"ALL_PROXY": "socks5://127.0.0.1:7890", "http_proxy": "http://127.0.0.1:9",
         "HTTPS_PROXY": "socks5h://a:1", "NO_PROXY": "[::1],x",
         "SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere", "REQUESTS_CA_BUNDLE": "/nowhere",
         "CURL_CA_BUNDLE": "/nowhere", "OTEL_PROPAGATORS": "b3", "UVICORN_PORT": "1", "XDG_STATE_HOME": "~/state"}, {}),
    "another server's settings": (
        {"PREFECT_API_KEY": "x", "PREFECT_API_AUTH_STRING": "u:p", "PREFECT_SERVER_API_AUTH_STRING": "u:p",
         "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u@127.0.0.1:9/x",
         "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/x.db",
         "PREFECT_SERVER_API_BASE_PATH": "/x", "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
         "PREFECT_API_SSL_CERT_FILE": "/nowhere", "PREFECT_LOGGING_SETTINGS_PATH": "/nowhere",
         "PREFECT_DEBUG_MODE": "1", "PREFECT_PROFILE": "x", "PREFECT_MESSAGING_BROKER": "nowhere",
         "PREFECT_CLIENT_METRICS_ENABLED": "maybe", "PREFECT_TEST_MODE": "1", "PREFECT_FLOWS_DEFAULT_RETRIES": "3",
         "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "s3/x"},
        {"prefect.py": "raise SystemExit('not this one')", "typing.py": "raise SystemExit('not this one')"}),
    "files of the folder": (
        {}, {".env": "PREFECT_API_AUTH_STRING=u:p\nPREFECT_API_SSL_CERT_FILE=/nowhere",
             "prefect.toml": "[client]\ncustom_headers = {a = 'b'}\n[server.api]\nauth_string = 'u:p'\n",
             "pyproject.toml": "[tool.prefect.flows]\ndefault_retries = 3\n"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_succeeds_in_whatever_environment(
    name: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, files = HOSTILE[name]
    project.write_rows(project.rows(3))
    config = project.write_config()
    here = tmp_path / "here"
    here.mkdir()
    for file, text in files.items():
        (here / file).write_text(text)
    command = Command(tmp_path / "prefect")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pixmill", *run_arguments(config)],
        cwd=here,
        env={**command.environment(), **environment, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = wait_for_result(process)
    assert found.exit_code == 0, found.stderr
    assert found.report["succeeded"] == 3
    assert Bill(project.folder / "out" / "simulated" / "bill.jsonl").charged == 3
    assert not (here / "~").exists()


@pytest.mark.slow
def test_an_api_that_the_folder_names_is_used(
    project: Project,
    tmp_path: Path,
    prefect_api: str,
) -> None:
    project.write_rows(project.rows(2))
    config = project.write_config()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "prefect.toml").write_text(f'[api]\nurl = "{prefect_api}"\n')
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pixmill", *run_arguments(config)],
        cwd=tmp_path / "here",
        env={
            **Command(tmp_path / "prefect").environment(),
            "ALL_PROXY": "socks5://127.0.0.1:7890",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = wait_for_result(process)
    assert found.exit_code == 0, found.stderr
    assert "starting a Prefect server" not in found.stderr
    assert not (
        tmp_path / "prefect" / "state"
    ).exists()  # where a server of its own would be


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PREFECT_LOGGING_LEVEL", "loud", "PREFECT_LOGGING_LEVEL: Input should be"),
        ("PREFECT_CLIENT_MAX_RETRIES", "x1", "PREFECT_CLIENT_MAX_RETRIES: Input"),
    ],
)
@pytest.mark.slow
def test_a_setting_of_prefect_that_is_not_valid_is_named_before_anything_is_sent(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    """C2: in a sentence and with exit 2, not with a traceback of Prefect's own."""
    project.write_rows(project.rows(1))
    config = project.write_config()
    monkeypatch.setenv(name, value)
    result = Command(tmp_path / "prefect")(*run_arguments(config))
    assert result.exit_code == 2, result
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert Bill(project.folder / "out" / "simulated" / "bill.jsonl").lines() == []


def test_pandas_can_be_imported_again_once_a_flow_may_start() -> None:
    """A run's Prefect, its plugins and a user's tasks are not this command's business."""
    code = """if True:
        import sys
        from pixmill.cli.pandas_block import allow_pandas, block_pandas
        block_pandas()
        try:
            import pandas
        except ModuleNotFoundError:
            allow_pandas()
        import pyarrow
        pyarrow.array([0])
        assert "pandas" not in sys.modules, "pyarrow imported it, which takes a second"
        import pandas
        print(pandas.DataFrame({"a": [1]}).shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(1, 1)"
