"""Keys and signatures that are looked for wherever a run puts anything: none is found (4.2)."""

import base64
import gzip
import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Project, run_config
from tests.faulty_server import Behaviour, FaultyServer, Peer, message
from tests.pixmill.provider.answer_bodies import error, gateway_error, success
from tests.pixmill.run_checks import configure_run
from tests.real_command import Command, run_arguments
from tests.security.secret_search import files, forms, found

BEARER = "sk/canary+Bearer0123456789abcdef=="
ACCESS = "AKLTcanaryAccess0123456789"
SECRET = "SKcanarySecret+0123456789/ABCDEF=="
TOKEN = "STS2canaryToken/0123456789+ABCDEFGH=="
SIGNATURE = "canarySignature0123456789%2Babc%3D"
KEYS = {
    "Bearer key": BEARER,
    "access key": ACCESS,
    "secret key": SECRET,
    "session token": TOKEN,
}


def head(request: bytes) -> str:
    """The request's head on one line, as debugging gateways quote it."""
    return request.partition(b"\r\n\r\n")[0].decode().replace("\r\n", " ")


def said(peer: Peer, body: object, status: int, **headers: str) -> object:
    """Answer in JSON as PHP writes it; the names of `headers` with underscores for dashes."""
    text = body if isinstance(body, str) else json.dumps(body).replace("/", "\\/")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return peer.send(message(text.encode(), status, named))


def picture(peer: Peer, path: str, quoted: str = "a cat") -> object:
    url = f"http://127.0.0.1:{peer.socket.getsockname()[1]}{path}?x-expires=4000000000&x-signature={SIGNATURE}"
    return said(peer, success(image_urls=[url], rephraser_result=quoted), 200)


def turned_away(peer: Peer) -> object:
    quoted = head(peer.request)
    return said(
        peer,
        gateway_error("SignatureDoesNotMatch", 100010, f"you sent {quoted}"),
        401,
        X_Echo=quoted,
    )


ECHOES: list[Behaviour] = [
    lambda peer: said(peer, error(50413, f"refused: {head(peer.request)}"), 400),
    lambda peer: said(peer, error(50215, f"{BEARER} is {base64.b64encode(f'u:{BEARER}'.encode()).decode()}"), 400),
    lambda peer: said(peer, {"error": {"message": f"upstream {BEARER}", "param": {"key": BEARER}}}, 500),
    lambda peer: said(peer, f"<html><title>502</title>{head(peer.request)}", 502, Location=BEARER),
    lambda peer: said(peer, f'{{"code": 10000, "message": "{head(peer.request)}', 200),
    lambda peer: said(peer, {**error(50429, "slow down"), "request_id": BEARER}, 429, Retry_After=BEARER),
    lambda peer: said(peer, error(59999, f"unknown to {BEARER}\n\x1b[2Kwarning: fake"), 400, Content_Type=BEARER),
    lambda peer: picture(peer, "/gone.jpg", f"a cat {BEARER}"),
    lambda peer: picture(peer, "/moved.jpg"),
]  # fmt: skip


class Echoing(FaultyServer):
    """Quotes what it is sent: a different way for each call, at last by refusing the key. Its images are not there."""

    def __init__(self, echoes: list[Behaviour]) -> None:
        super().__init__(self._respond)
        self._echoes = iter([*echoes, *[turned_away] * 1000])

    def _respond(self, peer: Peer) -> object:
        if peer.request.startswith(b"POST"):
            return next(self._echoes)(peer)
        if b"/moved.jpg" in peer.request:
            return peer.send(
                message(b"", 302, {"Location": f"/gone.jpg?x-signature={SIGNATURE}"})
            )
        return peer.send(message(f"expired: {head(peer.request)}".encode(), 403))


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys in the environment, which a Prefect server that a run starts inherits."""
    names = (
        "PIXMILL_API_KEY",
        "VOLC_ACCESSKEY",
        "VOLC_SECRETKEY",
        "VOLC_SESSION_TOKEN",
    )
    for name, value in zip(names, KEYS.values(), strict=True):
        monkeypatch.setenv(name, value)


def configured(project: Project, url: str, kind: str) -> str:
    """A config whose calls meet each echo once and then a refusal of the key."""
    return configure_run(
        project,
        url,
        len(ECHOES) + 2,
        provider={"kind": kind, "base_url": url},
        limits={"concurrency": 1},
        retry={"max_attempts": 1},
        output={"images": "download", "allow_hosts": ["127.0.0.1"]},
    )


@pytest.mark.slow
def test_no_sink_holds_a_key_or_shows_a_signature(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.2, E11: a gateway that quotes the key in all it says, a run that fails in many ways, Prefect at DEBUG."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    with Echoing(ECHOES) as server:
        ended = Command(project.folder / "prefect")(
            *run_arguments(configured(project, server.url, "gateway"))
        )
    assert ended.report["exit_code"] == 6, ended.stderr
    assert any(BEARER.encode() in request for request in server.requests)
    left = files(project.folder)
    assert {
        f"out/{name}"
        for name in ("ledger.db", "pets/dataset.parquet", "pets/report/index.html")
    } <= {*left}
    prefect = {name: content for name, content in left.items() if "prefect/" in name}
    assert b"DEBUG" in ended.stderr.encode()
    assert any(b"SignatureDoesNotMatch" in content for content in prefect.values()), (
        "Prefect has heard of the run"
    )
    assert SIGNATURE.encode() in left["what out/ledger.db holds"], (
        "a signed URL is data"
    )
    shown = {
        "stdout": ended.stdout.encode(),
        "stderr": ended.stderr.encode(),
        **prefect,
    }
    assert found({**shown, **left}, KEYS) == []
    assert found(shown, {"signature": SIGNATURE}) == []


def test_a_signed_run_leaves_no_key_anywhere(
    project: Project,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """4.2: the provider quotes the whole request that it refuses, session token included."""
    quoting_all = [ECHOES[0], ECHOES[4], ECHOES[8]]
    with Echoing(quoting_all) as server, caplog.at_level(logging.DEBUG):
        report = run_config(configured(project, server.url, "volcengine"))
    assert report["exit_code"] == 6
    assert any(TOKEN.encode() in request for request in server.requests)
    left = files(project.folder)
    assert b"you sent" in left["what out/ledger.db holds"]
    shown = {
        "report": repr(report).encode(),
        "output": "".join(capfd.readouterr()).encode(),
    }
    assert found({**shown, **left, "log": caplog.text.encode()}, KEYS) == []


@pytest.mark.parametrize("form", forms(BEARER))
def test_the_search_finds_what_is_planted_in_every_form_and_kind_of_file(
    form: str, tmp_path: Path
) -> None:
    planted = f"before {forms(BEARER)[form].decode()} after"
    (tmp_path / "plain.log").write_text(planted.upper())
    pq.write_table(
        pa.table({"text": [planted] * 9}),
        tmp_path / "table.parquet",
        compression="zstd",
    )
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute("CREATE TABLE jobs (answer BLOB, text TEXT)")
        database.execute(
            "INSERT INTO jobs VALUES (?, ?)",
            (gzip.compress(planted.encode()), "z" * 9000 + planted),
        )
        database.commit()
    hits = found(files(tmp_path), {"key": BEARER})
    for output in ("plain.log", "what table.parquet holds", "what ledger.db holds"):
        assert f"key, {form}: {output}" in hits
    assert found(files(tmp_path), {"other": ACCESS}) == []
