"""The simulator as a process: how it starts, who it belongs to, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from pixmill.errors import PixmillError, UserError
from pixmill.simulator import Settings, run_simulator, serve, settings_from_environment
from tests.fork_server import QUICK_COMMAND, fork_process
from tests.pixmill.simulator.conftest import (
    ACTION,
    BEARER,
    ROOT,
    Running,
    Start,
)
from tests.real_command import wait_until

Asked = Callable[..., dict[str, Any]]

EMBED_AND_WAIT = """
import sys
from pathlib import Path
from pixmill.simulator import run_simulator
with run_simulator(Path(sys.argv[1]), latency=0) as simulator:
    print(simulator.base_url, flush=True)
    sys.stdin.read()
"""
IGNORE_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


def is_up(url: str) -> bool:
    try:
        requests.get(url, timeout=5)
    except requests.ConnectionError:
        return False
    return True


def test_whoever_starts_it_sees_the_keys_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made up for this process, they open nothing else: masked, nobody could call it."""
    monkeypatch.delenv("PIXMILL_API_KEY", raising=False)
    with fork_process(
        QUICK_COMMAND, "simulate", "--port", "0", environment=dict(os.environ)
    ) as process:
        shown: list[str] = []
        for line in process.stderr:
            shown.append(line.strip())
            if "simulator at" in line:
                break
        process.terminate()
    keys = dict(line.removeprefix("export ").split("=", 1) for line in shown[:-1])
    assert len(keys["PIXMILL_API_KEY"]) > 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_silently(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pixmill.simulator"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        said = process.communicate(timeout=20)

    assert (process.returncode, said) == (0, ("", ""))


def test_a_call_in_flight_is_finished_before_it_ends(
    start: Start, asked: Asked
) -> None:
    simulator = start(latency=1)
    body = json.dumps(asked()).encode()
    with socket.create_connection(
        ("127.0.0.1", urlsplit(simulator.url).port)
    ) as connection:
        connection.sendall(
            b"POST /volcv/v1?Action=CVProcess&Version=2022-08-31 HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer "
            + BEARER.encode()
            + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        # The answer to a later call shows that the first one has arrived.
        assert simulator.call(b"{}").json()["code"] == 50215
        simulator.process.terminate()
        answer = connection.makefile("rb").readline()

    assert answer.startswith(b"HTTP/1.1 200")
    assert simulator.process.wait(10) == 0
    assert [line["code"] for line in simulator.lines()] == [50215, 10000]


def test_a_client_that_hangs_up_has_been_charged(start: Start, asked: Asked) -> None:
    simulator = start(latency=0.5)
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{simulator.url}/volcv/v1",
            params=ACTION,
            json=asked(),
            headers={"Authorization": f"Bearer {BEARER}"},
            timeout=0.2,
        )
    assert (
        simulator.call(b"{}").json()["code"] == 50215
    )  # so the call before has arrived
    simulator.process.terminate()
    simulator.process.wait(10)

    assert [line["charged"] for line in simulator.lines()] == [False, True]


def test_it_listens_on_loopback_only(simulator: Running) -> None:
    port = urlsplit(simulator.url).port
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("/proc is not on this system")
    sockets = [
        line.split()[1]
        for line in listening.read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]

    assert [address for address in sockets if address.endswith(f":{port:04X}")] == [
        f"0100007F:{port:04X}"
    ]


def test_a_port_that_is_taken_is_a_clear_error(simulator: Running) -> None:
    port = urlsplit(simulator.url).port
    assert port
    keys = {"bearer_key": "a", "access_key": "b", "secret_key": "c"}

    with pytest.raises(UserError, match=rf"port {port} .* can't be used") as caught:
        serve(Settings(**keys), port=port, on_ready=lambda _: None)

    assert "--port 0" in caught.value.hint


def test_a_bill_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    settings = Settings(bearer_key="a", access_key="b", secret_key="c", bill=tmp_path)

    with pytest.raises(UserError, match=r"the bill .* can't be written"):
        serve(settings, port=0, on_ready=lambda _: None)


@pytest.mark.parametrize(
    "limit", [{"qps": 0}, {"concurrency": 0}, {"qps": -1.0}, {"latency": -0.1}]
)
def test_a_limit_that_no_server_can_have_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(limit))):
        Settings(bearer_key="a", access_key="b", secret_key="c", **limit)


def test_keys_come_from_the_environment_and_are_made_up_where_unset() -> None:
    given = settings_from_environment(
        environment={
            "PIXMILL_API_KEY": "mine",
            "VOLC_ACCESSKEY": "",
            "VOLC_SESSION_TOKEN": "STS==",
        }
    )
    again = settings_from_environment(environment={})

    assert (given.bearer_key, given.session_token) == ("mine", "STS==")
    assert given.access_key != again.access_key
    assert given.made_up == (
        f"VOLC_ACCESSKEY={given.access_key}",
        f"VOLC_SECRETKEY={given.secret_key}",
    )
    assert len(again.made_up) == 3


def test_settings_show_no_secret() -> None:
    settings = settings_from_environment(
        environment={"PIXMILL_API_KEY": "canary-1", "VOLC_SESSION_TOKEN": "canary-2"}
    )

    assert "canary" not in repr(settings)
    assert settings.secret_key not in repr(settings)


def test_an_embedded_simulator_answers_to_its_own_key(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXMILL_API_KEY", "the-real-one")
    bill = tmp_path / "store" / "bill.jsonl"
    with run_simulator(bill, latency=0) as simulator:
        calls = [
            requests.post(
                f"{simulator.base_url}/volcv/v1",
                params=ACTION,
                json=asked(),
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
            ).status_code
            for key in (simulator.bearer_key, "the-real-one")
        ]

    assert calls == [200, 401]
    assert simulator.bearer_key not in repr(simulator)
    assert len(bill.read_text().splitlines()) == 1
    assert not is_up(simulator.base_url)


def test_an_embedded_simulator_gets_no_secret_on_its_command_line(
    tmp_path: Path,
) -> None:
    with run_simulator(tmp_path / "bill.jsonl", latency=0) as simulator:
        if not Path("/proc").exists():
            pytest.skip("/proc is not on this system")
        commands = [
            path.read_bytes()
            for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
            .read_text()
            .split()
            if (path := Path(f"/proc/{pid}/cmdline")).exists()
        ]

    assert any(b"pixmill.simulator" in command for command in commands)
    assert not any(simulator.bearer_key.encode() in command for command in commands)


def test_an_embedded_simulator_finds_its_old_port_again(tmp_path: Path) -> None:
    """So that an image which could not be fetched in one run can be in the next."""
    bill = tmp_path / "bill.jsonl"
    with (
        run_simulator(bill, latency=0) as first,
        run_simulator(bill, latency=0) as beside,
    ):
        pass
    with run_simulator(bill, latency=0) as second:
        pass

    assert first.base_url == second.base_url != beside.base_url


def test_an_embedded_simulator_ignores_the_files_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "socket.py").write_text(
        "raise RuntimeError('imported from the working directory')"
    )
    monkeypatch.chdir(tmp_path)

    with run_simulator(Path("bill.jsonl"), latency=0) as simulator:
        assert is_up(simulator.base_url)
    assert (tmp_path / "bill.jsonl").exists()


def test_an_embedded_simulator_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(
            PixmillError, match=r"did not start: the bill .* can't be written"
        ),
        run_simulator(tmp_path),
    ):
        pass


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has a parent-death signal"
)
def test_an_embedded_simulator_dies_with_its_parent(tmp_path: Path) -> None:
    """A1: the parent is killed with no chance to clean up."""
    with subprocess.Popen(
        [sys.executable, "-c", EMBED_AND_WAIT, str(tmp_path / "bill.jsonl")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        assert is_up(url)
        parent.kill()
        wait_until(lambda: not is_up(url), "the end of the simulator")


def test_ctrl_c_in_the_terminal_does_not_reach_an_embedded_simulator(
    tmp_path: Path,
) -> None:
    """Its owner still wants the answers of the calls in flight."""
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{IGNORE_CTRL_C}{EMBED_AND_WAIT}",
            str(tmp_path / "bill.jsonl"),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        os.killpg(parent.pid, signal.SIGINT)
        assert is_up(url)
        assert parent.stdin
        parent.stdin.close()
        assert parent.wait(20) == 0
    wait_until(lambda: not is_up(url), "the end of the simulator")


def test_starting_imports_neither_pandas_nor_pyarrow_nor_sqlalchemy() -> None:
    heavy = {"pandas", "pyarrow", "sqlalchemy", "prefect", "pydantic", "numpy", "PIL"}
    code = (
        "import sys, uvicorn, httptools, pixmill.simulator.app, pixmill.simulator.__main__\n"
        f"print(*({heavy!r} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split() == []
