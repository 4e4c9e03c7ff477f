"""Every kind of fault, met over a real socket, and what the bill says of it. A prompt chooses its fault."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from pixmill.provider.error_codes import code_table
from pixmill.simulator.responses import NAMED_ERRORS
from pixmill.storage.image_decoding import ImageError, inspect
from pixmill.storage.image_fetcher import ImageFetcher, ImageGone
from tests.pixmill.simulator.conftest import BEARER, Running, running

Asked = Callable[..., dict[str, Any]]

STAGES = ("start", "headers", "body", "middle")
NUMBERS = sorted(int(code) for code in code_table("any") if code.isdecimal())
WIRES = {
    f"{does} at {at}": {"wire": does, "at": at}
    for does in ("reset", "close", "stall")
    for at in STAGES
}
DRIPS = {
    f"drip at {at}": {"wire": "drip", "at": at, "pace": 0.0001}
    for at in ("start", "middle")
}
ENDLESS = {
    f"endless at {at}": {"wire": "endless", "at": at} for at in ("headers", "middle")
}
SAID: dict[str, dict[str, Any]] = {
    **{f"number {code}.": {"code": code} for code in NUMBERS},
    **{f"name {name}.": {"code": name} for name in NAMED_ERRORS},
    "throttled with a time": {"code": 50429, "headers": {"Retry-After": 7}},
    "an own message": {"code": "insufficient_user_quota", "message": "pay first"},
    "a plain answer": {"headers": {"Content-Type": "text/plain"}},
    "a half answer": {"broken": "truncated"},
    "a garbled answer": {"broken": "malformed"},
    "a portal": {"broken": "html"},
    **{
        f"page {status}": {"status": status, "broken": "html"}
        for status in (502, 503, 504)
    },
    "unfolds": {"broken": "bomb"},
}
IMAGES: dict[str, dict[str, Any]] = {
    **{f"image is {status}": {"status": status} for status in (403, 404, 410)},
    "image truncated": {"broken": "truncated"},
    "image malformed": {"broken": "malformed"},
    "image is a page": {"broken": "html"},
    "image is empty": {"body": ""},
    "image is a bomb": {"broken": "bomb"},
    "image ends early": {"wire": "close"},
    "image reset": {"wire": "reset"},
    "image endless": {"wire": "endless"},
    "image of another type": {"headers": {"Content-Type": "text/html"}},
    "image stalls once": {"wire": "stall", "times": 1},
    "image drips once": {"wire": "drip", "pace": 0.1, "times": 1},
    "image fails twice": {"status": 503, "times": 2},
}
RULES = [
    {"prompt": prompt, **what}
    for prompt, what in (WIRES | DRIPS | ENDLESS | SAID).items()
]
RULES += [{"prompt": prompt, "image": what} for prompt, what in IMAGES.items()]
PLACE = {rule["prompt"]: place for place, rule in enumerate(RULES)}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "faults.yaml").write_text(yaml.safe_dump(RULES), "utf-8")
    with running(folder / "bill.jsonl", faults=str(folder / "faults.yaml")) as started:
        yield started


def met(simulator: Running, prompt: str) -> tuple[Any, bool]:
    """Code and charge of the last line on the bill for the fault of `prompt`, which was met."""
    line = next(
        line for line in reversed(simulator.lines()) if line["fault"] == PLACE[prompt]
    )
    return line["code"], line["charged"]


def opened(simulator: Running, body: dict[str, Any]) -> socket.socket:
    """A connection on which `body` was asked for."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(
        ("127.0.0.1", urlsplit(simulator.url).port), timeout=30
    )
    connection.sendall(
        b"POST /volcv/v1?Action=CVProcess&Version=2022-08-31 HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer "
        + BEARER.encode()
        + b"\r\nContent-Length: %d\r\n\r\n" % len(data)
        + data
    )
    return connection


def heard(connection: socket.socket) -> tuple[bytes, str]:
    """What arrives on a connection, and how it ends; open after a short silence."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        return data, "reset"
    except TimeoutError:
        return data, "open"
    return data, "closed"


def is_cut(data: bytes, at: str) -> bool:
    """Whether an answer arrived up to that point and no further."""
    head, blank, body = data.partition(b"\r\n\r\n")
    whole = next(
        (
            int(line.split()[1])
            for line in head.split(b"\r\n")
            if line.startswith(b"content-length")
        ),
        0,
    )
    match at:
        case "start":
            return data == b""
        case "headers":
            return data.startswith(b"HTTP/1.1 200 ") and not blank
        case "body":
            return bool(blank) and body == b"" and whole > 100
    return len(body) == whole // 2 > 100


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize(
    ("does", "ending"), [("reset", "reset"), ("close", "closed"), ("stall", "open")]
)
def test_an_answer_breaks_off_at_every_stage(
    faulty: Running, asked: Asked, does: str, ending: str, at: str
) -> None:
    """D3, D6, D7: resets, ends and stalls before the answer, in its headers, after them and in its body."""
    with closing(opened(faulty, asked(prompt=f"{does} at {at}"))) as connection:
        # The answer to a later call shows that this one was dealt with.
        assert faulty.call(asked()).json()["code"] == 10000
        connection.settimeout(0.1 if does == "stall" else 30)
        data, end = heard(connection)

    assert end == ending
    assert is_cut(data, at)
    assert met(faulty, f"{does} at {at}") == (10000, True)


@pytest.mark.parametrize("at", ["start", "middle"])
def test_an_answer_drips(faulty: Running, asked: Asked, at: str) -> None:
    """D5: a slow answer, from its first byte or from the middle of its body, comes whole in the end."""
    started = time.monotonic()
    with closing(opened(faulty, asked(prompt=f"drip at {at}"))) as connection:
        data, end = heard(connection)

    body = data.partition(b"\r\n\r\n")[2]
    assert (json.loads(body)["code"], end) == (10000, "closed")
    assert time.monotonic() - started > 0.0001 * len(
        data if at == "start" else body[len(body) // 2 :]
    )
    assert met(faulty, f"drip at {at}") == (10000, True)


@pytest.mark.parametrize("at", ["headers", "middle"])
def test_an_answer_never_ends(faulty: Running, asked: Asked, at: str) -> None:
    """D15, F7: headers or a body without end, as fast as the client takes them."""
    with closing(opened(faulty, asked(prompt=f"endless at {at}"))) as connection:
        answers = connection.makefile("rb")
        data = answers.read(4_000_000)
        answers.close()

    assert len(data) == 4_000_000
    assert (b"\r\n\r\n" in data) == (at == "middle")
    assert met(faulty, f"endless at {at}") == (10000, True)
    assert faulty.call(asked()).status_code == 200


def test_every_code_that_has_a_meaning_can_be_said(
    faulty: Running, asked: Asked
) -> None:
    """D1, E1 to E7: each number in its envelope, each name in the shape of who says it; only a success is charged."""
    for code in NUMBERS:
        assert faulty.call(asked(prompt=f"number {code}.")).json()["code"] == code
        assert met(faulty, f"number {code}.") == (code, code == 10000)
    for name in NAMED_ERRORS:
        answer = faulty.call(asked(prompt=f"name {name}."))
        error = answer.json().get("error") or answer.json()["ResponseMetadata"]["Error"]
        assert name in (error.get("type"), error.get("Code"))
        assert answer.status_code >= 400
        assert met(faulty, f"name {name}.") == (name, False)


def test_headers_and_messages_are_the_rules_own(faulty: Running, asked: Asked) -> None:
    """D11, E12: a throttled answer says how long to wait; an empty account says what it likes."""
    throttled = faulty.call(asked(prompt="throttled with a time"))
    poor = faulty.call(asked(prompt="an own message"))
    plain = faulty.call(asked(prompt="a plain answer"))

    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "7")
    assert (poor.status_code, poor.json()["error"]["message"]) == (403, "pay first")
    assert (plain.json()["code"], plain.headers["Content-Type"]) == (
        10000,
        "text/plain",
    )


@pytest.mark.parametrize("prompt", ["a half answer", "a garbled answer", "a portal"])
def test_a_success_that_nobody_can_read_is_charged(
    faulty: Running, asked: Asked, prompt: str
) -> None:
    """D2, D3: cut or garbled JSON and a page of somebody in between, all with 200."""
    answer = faulty.call(asked(prompt=prompt))

    assert (answer.status_code, met(faulty, prompt)) == (200, (10000, True))
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert answer.text.startswith("<html>") == (prompt == "a portal")


@pytest.mark.parametrize(
    ("status", "charged"), [(502, False), (503, False), (504, True)]
)
def test_a_gateway_that_gave_up_waiting_may_have_paid(
    faulty: Running, asked: Asked, status: int, charged: bool
) -> None:
    """D1: pages in place of an answer; behind a 504 the work goes on."""
    answer = faulty.call(asked(prompt=f"page {status}"))

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html")
    assert f"{status} from" in answer.text
    assert met(faulty, f"page {status}") == (None, charged)


def test_a_compressed_answer_unfolds_to_a_hundred_megabytes(
    faulty: Running, asked: Asked
) -> None:
    """D15: a gzip bomb that nobody asked for."""
    with closing(opened(faulty, asked(prompt="unfolds"))) as connection:
        answers = connection.makefile("rb")
        headers = dict(
            line.lower().split(b": ")
            for line in list(iter(answers.readline, b"\r\n"))[1:]
        )
        packed = answers.read(int(headers[b"content-length"]))
        answers.close()

    assert (headers[b"content-encoding"], len(packed) < 200_000) == (b"gzip\r\n", True)
    assert (
        int.from_bytes(packed[-4:], "little") == 100 << 20
    )  # by RFC 1952 the size of what was packed


@pytest.fixture(scope="module")
def fetcher() -> Iterator[ImageFetcher]:
    with closing(
        ImageFetcher(allow_hosts=["127.0.0.1"], deadline=0.5, sleep=lambda _: None)
    ) as started:
        yield started


def image_url(simulator: Running, body: dict[str, Any]) -> str:
    answer = simulator.call(body)
    assert answer.status_code == 200
    return str(answer.json()["data"]["image_urls"][0])


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        *(
            (f"image is {status}", f"its answer is {status}")
            for status in (403, 404, 410)
        ),
        ("image truncated", "3 attempts"),
        ("image malformed", "3 attempts"),
        ("image is a page", "3 attempts"),
        ("image is empty", "3 attempts"),
        ("image is a bomb", "pixels"),
        ("image ends early", "3 attempts"),
        ("image reset", "3 attempts"),
        ("image endless", "3 attempts"),
    ],
)
def test_an_image_is_gone_or_broken_after_a_charged_success(
    faulty: Running, asked: Asked, fetcher: ImageFetcher, prompt: str, problem: str
) -> None:
    """F1, F3, F4, F6, F7: expired, cut, garbled, no image, empty, a bomb, endless."""
    url = image_url(faulty, asked(prompt=prompt))

    with pytest.raises(ImageError, match=problem) as caught:
        fetcher.fetch(url)
    assert isinstance(caught.value, ImageGone) == ("is 4" in prompt)
    assert met(faulty, prompt) == (10000, True)


def test_a_wrong_type_leaves_the_right_bytes(
    faulty: Running, asked: Asked, fetcher: ImageFetcher
) -> None:
    """F5: the content decides."""
    url = image_url(faulty, asked(prompt="image of another type"))

    assert requests.get(url, timeout=30).headers["Content-Type"] == "text/html"
    assert inspect(fetcher.fetch(url)).format == "JPEG"


@pytest.mark.parametrize(
    "prompt", ["image stalls once", "image drips once", "image fails twice"]
)
def test_an_image_comes_when_its_fault_is_used_up(
    faulty: Running, asked: Asked, fetcher: ImageFetcher, prompt: str
) -> None:
    """F3, F8: a stalled or a slow fetch ends at its deadline, and the next attempt has the image."""
    url = image_url(faulty, asked(prompt=prompt))

    assert inspect(fetcher.fetch(url)).format == "JPEG"
    assert inspect(requests.get(url, timeout=30).content).format == "JPEG"


def test_no_fault_can_be_taken_out_of_a_url(faulty: Running, asked: Asked) -> None:
    """F1: the signature covers it, so that what has expired stays so."""
    url = image_url(faulty, asked(prompt="image is 410"))

    assert requests.get(url, timeout=30).status_code == 410
    assert requests.get(url.partition("&x-fault")[0], timeout=30).status_code == 403
