"""The client on real sockets: what it sends for each kind of provider, and what it makes of the replies."""

import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from pixmill.config.model import Limits, Provider
from pixmill.errors import ConfigError
from pixmill.provider.client import Client, open_client
from pixmill.provider.credentials import Secret
from pixmill.provider.error_codes import Verdict
from pixmill.simulator.authentication import verify
from tests.pixmill.provider.answer_bodies import URL, error, gateway_error, success
from tests.pixmill.provider.recorded import (
    BODY,
    KEY,
    REQ_KEY,
    Answering,
    Received,
    RecordingServer,
    as_json,
    opened,
)

pytestmark = pytest.mark.usefixtures("keys")


def signature_problem(
    received: Received, body: bytes, session_token: str | None = None
) -> str | None:
    """What the provider says to this signature; `None` is fine."""
    url = urlsplit(received.target)
    return verify(
        received.method,
        url.path,
        dict(parse_qsl(url.query)),
        received.headers,
        body,
        access_key="AKLT-canary-0123456789",
        secret_key="SK-canary==",
        session_token=session_token,
        at=datetime.now(UTC),
    )


@pytest.mark.parametrize("kind", ["gateway", "simulator"])
@pytest.mark.parametrize("path", ["", "/", "/proxy"])
def test_a_bearer_call_is_one_post_of_exactly_the_bytes_given(
    kind: str, path: str
) -> None:
    with (
        RecordingServer(as_json(success())) as server,
        opened(kind, server.url + path) as client,
    ):
        result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.image_urls) == (Verdict.SUCCEEDED, (URL,))
    (received,) = server.received
    assert received.method == "POST"
    assert (
        received.target
        == f"{path.rstrip('/')}/volcv/v1?Action=CVProcess&Version=2022-08-31"
    )
    assert received.body == BODY
    assert received.headers == {
        "host": server.url.removeprefix("http://"),
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "pixmill",
    }


@pytest.mark.parametrize("token", [None, "STS2-canary=="])
def test_a_volcengine_call_carries_a_signature_of_the_bytes_that_it_carries(
    token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv("VOLC_SESSION_TOKEN", token)
    with (
        RecordingServer(as_json(success())) as server,
        opened("volcengine", server.url) as client,
    ):
        answers = [client.call(body, REQ_KEY) for body in (BODY, b"{}")]
    assert [result.verdict for result in answers] == [Verdict.SUCCEEDED] * 2
    assert [received.body for received in server.received] == [BODY, b"{}"]
    for received in server.received:
        assert received.target == "/?Action=CVProcess&Version=2022-08-31"
        assert received.headers["content-type"] == "application/json"
        assert signature_problem(received, received.body, token) is None
        assert (
            signature_problem(received, received.body + b" ", token)
            == "SignatureDoesNotMatch"
        )
        assert "SK-canary" not in str(received)


def test_volcengine_has_an_https_address_by_itself() -> None:
    client = open_client(Provider(kind="volcengine"), Limits(), concurrency=1)
    client.close()
    assert client.url == "https://visual.volcengineapi.com/"


@pytest.mark.parametrize("api_key", ["of-the-simulator", Secret("of-the-simulator")])
def test_an_address_and_a_key_given_at_opening_replace_the_configured_ones(
    api_key: Secret | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIXMILL_API_KEY")
    with (
        RecordingServer(as_json(success())) as configured,
        RecordingServer(as_json(success())) as server,
    ):
        for kind in ("simulator", "gateway"):
            with opened(
                kind, configured.url, base_url=server.url, api_key=api_key
            ) as client:
                assert client.call(BODY, REQ_KEY).verdict is Verdict.SUCCEEDED
    assert configured.received == []
    assert [r.headers["authorization"] for r in server.received] == [
        "Bearer of-the-simulator"
    ] * 2


def test_a_simulator_elsewhere_gets_a_made_up_key_where_none_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PIXMILL_API_KEY")
    with (
        RecordingServer(as_json(success())) as server,
        opened("simulator", server.url) as client,
    ):
        client.call(BODY, REQ_KEY)
    assert server.received[0].headers["authorization"] == "Bearer simulated"


@pytest.mark.parametrize("kind", ["gateway", "simulator"])
def test_a_provider_without_an_address_is_a_config_error(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"provider\.base_url is not set"):
        open_client(Provider.model_validate({"kind": kind}), Limits(), concurrency=1)


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("gateway", "PIXMILL_API_KEY"), ("volcengine", "VOLC_ACCESSKEY")],
)
def test_a_missing_key_is_found_before_anything_is_sent(
    kind: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1f."""
    monkeypatch.delenv(variable)
    threads = threading.active_count()
    with pytest.raises(ConfigError, match=variable), opened(kind, "http://127.0.0.1:9"):
        pass
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("body", "status", "verdict", "code"),
    [
        (error(50412), 400, Verdict.REFUSED, "50412"),
        (error(50430), 200, Verdict.THROTTLE_CONCURRENCY, "50430"),
        (
            gateway_error("SignatureDoesNotMatch", 100010),
            401,
            Verdict.STOP,
            "SignatureDoesNotMatch",
        ),
        ({"error": {"message": "upstream"}}, 500, Verdict.RETRY, "http_500"),
        ("<html>", 502, Verdict.IN_DOUBT, "http_502"),
    ],
)
def test_every_reply_becomes_an_answer_of_one_attempt(
    body: object, status: int, verdict: Verdict, code: str
) -> None:
    """D1, E1, E2, E4, E10: what to do next is the caller's business, so one call is one attempt."""
    with (
        RecordingServer(as_json(body, status)) as server,
        opened("gateway", server.url) as client,
    ):
        result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.code, result.http_status) == (verdict, code, status)
    assert len(server.received) == 1


def test_the_rulings_are_those_of_the_requested_operation() -> None:
    """E6."""
    with (
        RecordingServer(as_json(error(50500), 500)) as server,
        opened("gateway", server.url) as client,
    ):
        assert client.call(BODY, REQ_KEY).verdict is Verdict.RETRY
        assert client.call(BODY, "jimeng_i2i_v30").verdict is Verdict.FAILED


def test_retry_after_reaches_the_answer() -> None:
    """D11."""
    answering = as_json(error(50429), 429, **{"Retry-After": "7"})
    with RecordingServer(answering) as server, opened("gateway", server.url) as client:
        result = client.call(BODY, REQ_KEY)
    assert (result.verdict, result.retry_after) == (Verdict.THROTTLE_RATE, 7)


def test_neither_netrc_nor_proxy_variables_change_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D17."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with (
        RecordingServer(as_json(success())) as server,
        opened("gateway", server.url) as client,
    ):
        assert client.call(BODY, REQ_KEY).verdict is Verdict.SUCCEEDED
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("kind", ["gateway", "volcengine"])
def test_a_key_that_an_answer_quotes_is_left_out_of_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLC_SESSION_TOKEN", "STS2-canary-0123456789")
    quoted = f"{KEY} AKLT-canary-0123456789 STS2-canary-0123456789 SK-canary=="

    def echo(received: Received) -> tuple[int, dict[str, str], bytes]:
        sent = " ".join(
            part for part in quoted.split() if part in str(received.headers)
        )
        return (
            401,
            {},
            json.dumps({"error": {"message": f"invalid key {sent}"}}).encode(),
        )

    with RecordingServer(echo) as server, opened(kind, server.url) as client:
        result = client.call(BODY, REQ_KEY)
    assert result.verdict is Verdict.STOP
    assert "invalid key ***" in (result.message or "")
    assert "canary" not in f"{result} {result.raw!r}"


def test_a_key_that_an_answer_quotes_with_escapes_is_left_out_of_it_too() -> None:
    """What shows only once the JSON is parsed, in every field that is stored or shown."""
    echo = f'{{"code": {KEY_AS_JSON}, "message": {KEY_AS_JSON}, "request_id": {KEY_AS_JSON}}}'
    with (
        RecordingServer(lambda _: (401, {}, echo.encode())) as server,
        opened("gateway", server.url) as client,
    ):
        result = client.call(BODY, REQ_KEY)
    assert (result.code, result.message, result.request_id) == ("***",) * 3
    assert KEY not in json.loads(result.raw.decode()).values()


KEY_AS_JSON = KEY.replace("-", "\\u002d").join('""')


@contextmanager
def opened_with(key_file: Path, url: str) -> Iterator[Client]:
    """A client of a gateway whose key is in a file that only its owner can read."""
    key_file.chmod(0o600)
    provider = Provider(kind="gateway", base_url=url, api_key_file=str(key_file))
    with closing(open_client(provider, Limits(), concurrency=8)) as client:
        yield client


def accepting(key: str) -> Answering:
    """A gateway that knows one key; `key` may be a file that holds it."""

    def answering(received: Received) -> tuple[int, dict[str, str], bytes]:
        good = (
            received.headers["authorization"]
            == f"Bearer {Path(key).read_text() if '/' in key else key}"
        )
        body = (
            success()
            if good
            else {"error": {"code": "invalid_api_key", "message": "no such key"}}
        )
        return 200 if good else 401, {}, json.dumps(body).encode()

    return answering


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_file_is_read_again_when_its_key_is_refused(
    status: int, tmp_path: Path
) -> None:
    """E11: a rotated key goes on by itself, and the refused call is one attempt that cost nothing."""
    file = tmp_path / "key"
    file.write_text("sk-canary-of-yesterday")

    def answering(received: Received) -> tuple[int, dict[str, str], bytes]:
        known, _, body = accepting("sk-canary-of-today")(received)
        return status if known == 401 else known, {}, body

    with RecordingServer(answering) as server, opened_with(file, server.url) as client:
        stands = client.call(BODY, REQ_KEY)
        file.write_text("sk-canary-of-today")
        again, good = client.call(BODY, REQ_KEY), client.call(BODY, REQ_KEY)
    assert (stands.verdict, stands.charged, stands.code) == (
        Verdict.STOP,
        "no",
        "invalid_api_key",
    )
    assert (again.verdict, again.charged, again.code) == (
        Verdict.RETRY,
        "no",
        stands.code,
    )
    assert good.verdict is Verdict.SUCCEEDED
    assert len(server.received) == 3


@pytest.mark.parametrize("content", [None, "", "two\nlines\n", "Bearer x"])
def test_where_the_key_file_can_not_be_used_any_more_the_refusal_stands(
    content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-canary-of-yesterday")
    with (
        RecordingServer(accepting("sk-canary-of-today")) as server,
        opened_with(file, server.url) as client,
    ):
        file.unlink() if content is None else file.write_text(content)
        result = client.call(BODY, REQ_KEY)
        assert result.verdict is Verdict.STOP
        assert "no such key" in (result.message or "")
        file.write_text("sk-canary-of-today")
        assert [client.call(BODY, REQ_KEY).verdict for _ in range(2)] == [
            Verdict.RETRY,
            Verdict.SUCCEEDED,
        ]


@pytest.mark.parametrize("code", ["AccessDenied", 50400])
def test_a_refusal_that_no_key_mends_stops_with_the_same_key(code: str | int) -> None:
    answering = as_json(
        error(code) if isinstance(code, int) else gateway_error(code, 100013), 403
    )
    with RecordingServer(answering) as server, opened("gateway", server.url) as client:
        assert [client.call(BODY, REQ_KEY).verdict for _ in range(2)] == [
            Verdict.STOP
        ] * 2


def test_all_calls_in_flight_go_on_with_a_rotated_key(tmp_path: Path) -> None:
    """D16, E11: every thread that was refused with the old key tries again, and none stops the run."""
    file, threads = tmp_path / "key", 8
    file.write_text("sk-canary-of-yesterday")
    together = threading.Barrier(threads)

    def answering(received: Received) -> tuple[int, dict[str, str], bytes]:
        if "yesterday" in received.headers["authorization"]:
            together.wait(30)
        return accepting(str(file))(received)

    with (
        RecordingServer(answering) as server,
        opened_with(file, server.url) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        file.write_text("sk-canary-of-today")
        for expected in (Verdict.RETRY, Verdict.SUCCEEDED):
            assert (
                list(
                    pool.map(
                        lambda _: client.call(BODY, REQ_KEY).verdict, range(threads)
                    )
                )
                == [expected] * threads
            )


def test_rotated_keys_of_a_volcengine_account_are_found_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E11: the SDK's own file counts where the environment names no keys."""
    for name in ("VOLC_ACCESSKEY", "VOLC_SECRETKEY"):
        monkeypatch.delenv(name)
    file = tmp_path / ".volc" / "credentials"
    file.parent.mkdir()
    file.write_text(
        "[default]\naccess_key_id = AKLT-old-0123456789\nsecret_access_key = SK-old==\n"
    )
    refusing = as_json(gateway_error("InvalidAccessKey", 100009), 401)
    with (
        RecordingServer(refusing) as server,
        opened("volcengine", server.url) as client,
    ):
        verdicts = [client.call(BODY, REQ_KEY).verdict]
        file.write_text(file.read_text().replace("old", "new"))
        verdicts += [client.call(BODY, REQ_KEY).verdict for _ in range(2)]
    assert verdicts == [Verdict.STOP, Verdict.RETRY, Verdict.STOP]
    assert "AKLT-new" in server.received[2].headers["authorization"]


def test_a_short_made_up_key_may_be_a_word_of_the_answer() -> None:
    url = "http://127.0.0.1/simulated/picture.png"
    answering = as_json(success(image_urls=[url]))
    with (
        RecordingServer(answering) as server,
        opened("simulator", server.url, api_key="simulated") as client,
    ):
        assert client.call(BODY, REQ_KEY).image_urls == (url,)


def test_threads_share_a_client_and_each_gets_its_own_answer() -> None:
    """D16."""

    def echo(received: Received) -> tuple[int, dict[str, str], bytes]:
        return (
            200,
            {},
            json.dumps(success(rephraser_result=received.body.decode())).encode(),
        )

    bodies = [f'{{"prompt":"{number}"}}' for number in range(100)]
    with (
        RecordingServer(echo) as server,
        opened("gateway", server.url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(
            pool.map(lambda body: client.call(body.encode(), REQ_KEY), bodies)
        )
    assert [result.rephraser_result for result in answers] == bodies
    assert len(server.received) == len(bodies)


@pytest.mark.parametrize("kind", ["gateway", "volcengine"])
def test_a_client_refuses_to_be_pickled_and_shows_no_key(kind: str) -> None:
    with opened(kind, "http://127.0.0.1:9") as client:
        with pytest.raises(TypeError):
            pickle.dumps(client)
        assert "canary" not in f"{client!r} {vars(client)!r}"
