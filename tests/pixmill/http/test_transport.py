"""One exchange with a server that fails in a scripted way: it ends in time, and says whether anything was sent."""

import gzip
import itertools
import logging
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from pixmill.errors import AnswerUnknown, BodyTooLarge, NotSent, TransportError
from pixmill.http.transport import Reply, Transport
from tests.faulty_server import (
    NEVER_ENDING,
    Behaviour,
    FaultyServer,
    Peer,
    answer,
    answer_and_close,
    endless,
    endless_chunks,
    gzip_bomb,
    hang_up,
    message,
    redirect,
    reset,
    stall,
    truncated,
)
from tests.real_command import wait_until

CANARY = "canary-5f2a"
MiB = 1 << 20


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=8)
    yield made
    made.close()


def send(
    transport: Transport,
    url: str,
    body: bytes = b"{}",
    deadline: float = 10.0,
    max_bytes: int = MiB,
) -> Reply:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {CANARY}"}
    request = requests.Request(
        "POST", f"{url}/path?signature={CANARY}", data=body, headers=headers
    ).prepare()
    return transport.send(request, deadline=deadline, max_bytes=max_bytes)


def test_an_answer_arrives_whole_whatever_its_status(transport: Transport) -> None:
    with FaultyServer(answer(b"no such thing", 404, {"Retry-After": "7"})) as server:
        reply = send(transport, server.url, b"question")
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (
        404,
        b"no such thing",
        "7",
    )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /path?signature={CANARY} HTTP/1.1\r\n".encode())
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    assert body == b"question"


@pytest.mark.parametrize("size", [100, 200_000])
def test_head_and_body_arrive_as_they_were_given_whether_they_go_together_or_not(
    transport: Transport, size: int
) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with FaultyServer(answer()) as server:
        send(transport, server.url, body)
    head, _, arrived = server.requests[0].partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert arrived == body
    assert len(names) == len(set(names))
    assert {b"host", b"accept-encoding", b"content-length"} <= set(names)


def test_calls_in_turn_share_one_connection(transport: Transport) -> None:
    with FaultyServer(answer()) as server:
        for _ in range(5):
            send(transport, server.url)
    assert (server.connections, len(server.requests)) == (1, 5)


def test_nothing_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D17: neither proxies nor a ~/.netrc that would replace the Bearer header."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with FaultyServer(answer()) as proxy, FaultyServer(answer()) as server:
        for name in (
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ):
            monkeypatch.setenv(name, proxy.url)
        transport = Transport(connections=1)
        send(transport, server.url)
        transport.close()
    assert proxy.connections == 0
    assert f"Authorization: Bearer {CANARY}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("fault", NEVER_ENDING.values(), ids=NEVER_ENDING.keys())
def test_a_slow_or_silent_answer_ends_at_the_deadline(
    transport: Transport, fault: Behaviour
) -> None:
    """D5, D6."""
    with FaultyServer(answer(), fault) as server:
        send(transport, server.url)
        with pytest.raises(AnswerUnknown, match=r"not finished within 0\.2 s"):
            send(transport, server.url, deadline=0.2)
        assert len(server.requests) == 2


def test_a_server_that_reads_nothing_ends_the_upload_at_the_deadline(
    transport: Transport,
) -> None:
    """D6: the request itself stalls once the buffers are full."""
    with (
        FaultyServer(answer(), on_connect=lambda peer: peer.stopped.wait(30)) as server,
        pytest.raises(AnswerUnknown, match="not finished within"),
    ):
        send(transport, server.url, bytes(64 * MiB), deadline=0.2)


def test_an_answer_that_is_complete_counts_even_when_the_next_one_would_be_late(
    transport: Transport,
) -> None:
    with FaultyServer(answer(b"1"), stall()) as server:
        assert send(transport, server.url, deadline=0.2).body == b"1"
        with pytest.raises(AnswerUnknown):
            send(transport, server.url, deadline=0.2)


def test_a_refused_connection_sends_nothing(transport: Transport) -> None:
    """D7, before the request."""
    with FaultyServer(answer()) as server:
        pass
    with pytest.raises(
        NotSent,
        match=rf"127\.0\.0\.1:{server.port}: no connection \(Connection refused\)",
    ):
        send(transport, server.url)


def test_a_reset_before_the_request_is_read_is_no_answer(transport: Transport) -> None:
    """D7: which of the two errors it is depends on whether the reset came before the first byte left."""
    with FaultyServer(answer(), on_connect=Peer.reset) as server:
        for _ in range(20):
            with pytest.raises(TransportError):
                send(transport, server.url)


@pytest.mark.parametrize("fault", [reset, hang_up])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_cut_at_any_byte_is_in_doubt(
    transport: Transport, fault: Callable[[bytes], Behaviour], framing: str
) -> None:
    """D3, D7."""
    chunked = message(
        b"4\r\nhalf\r\n3\r\nway\r\n0\r\n\r\n",
        headers={"Transfer-Encoding": "chunked"},
        length=-1,
    )
    whole = message(b"halfway") if framing == "length" else chunked
    cuts = range(
        len(whole) - (4 if framing == "chunked" else 0)
    )  # the line breaks after the last chunk say nothing
    with FaultyServer(*(fault(whole[:cut]) for cut in cuts)) as server:
        for cut in cuts:
            with pytest.raises(AnswerUnknown):
                pytest.fail(
                    f"cut at {cut} of {len(whole)}: {send(transport, server.url)}"
                )
        assert len(server.requests) == len(cuts)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_an_answer_may_end_with_its_connection(
    transport: Transport, version: bytes
) -> None:
    """Also with an empty body, as redirects of simple servers do, if that is announced."""
    closing = {"Connection": "close"} if version == b"HTTP/1.1" else {}
    answers = [
        message(body, 302, closing, length=-1).replace(b"HTTP/1.1", version, 1)
        for body in (b"", b"here")
    ]
    with FaultyServer(*map(hang_up, answers)) as server:
        assert send(transport, server.url)[::2] == (302, b"")
        assert send(transport, server.url)[::2] == (302, b"here")


def test_a_short_body_says_so(transport: Transport) -> None:
    """D3, F3."""
    with (
        FaultyServer(truncated(b"x" * 1000)) as server,
        pytest.raises(AnswerUnknown, match="ended early"),
    ):
        send(transport, server.url)


def test_garbage_in_place_of_http_is_in_doubt(transport: Transport) -> None:
    """D2."""
    with (
        FaultyServer(hang_up(b"SSH-2.0-OpenSSH_9.6\r\n")) as server,
        pytest.raises(AnswerUnknown, match="not HTTP"),
    ):
        send(transport, server.url)


UNUSABLE = {
    "a chunk of less than nothing": (
        b"-5\r\n" + bytes(2 * MiB),
        "Transfer-Encoding: chunked",
    ),
    "two lengths": (b"here", "Content-Length: 4, 4"),
    "a length that is no number": (b"here", "Content-Length: four"),
    "an encoding beside chunks": (
        b"4\r\nhere\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked",
    ),
}


@pytest.mark.parametrize(("body", "framing"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_answer_whose_end_nobody_can_tell_is_in_doubt_without_a_wait_for_it(
    transport: Transport, body: bytes, framing: str
) -> None:
    """D2, D15: nor is more of it taken in than the cap."""
    whole = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body
    with FaultyServer(stall(whole)) as server:
        with pytest.raises(AnswerUnknown, match="its answer"):
            send(transport, server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a/../b%2fc?x=1&y='(*)'", "/a/../b%2fc?x=1&y='(*)'"),
        ("/100%.jpg", "/100%25.jpg"),
        ("/a b|c", "/a%20b%7Cc"),
        ("/%E4%BD%A0?%E5#part", "/%E4%BD%A0?%E5"),
        ("", "/"),
        ("?q", "/?q"),
    ],
)
def test_a_url_is_sent_as_it_was_written_but_for_what_no_request_line_can_hold(
    transport: Transport, written: str, sent: str
) -> None:
    """A signature covers the URL as the provider wrote it."""
    request = requests.Request("GET", "http://127.0.0.1/").prepare()
    with FaultyServer(answer()) as server:
        request.url = server.url + written
        transport.send(request, deadline=5, max_bytes=MiB)
    assert server.requests[0].startswith(f"GET {sent} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    "value", ["a\r\nInjected: b", "a\nb", "a\rb", "a\r\n b", "a\0b", "你"]
)
def test_a_header_that_would_be_two_sends_nothing(
    transport: Transport, value: str
) -> None:
    with FaultyServer(answer()) as server:
        request = requests.Request("GET", server.url).prepare()
        request.headers["Authorization"] = value
        with pytest.raises(NotSent):
            transport.send(request, deadline=5, max_bytes=MiB)
        assert server.connections == 0


def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(
    transport: Transport,
) -> None:
    """D8."""
    with FaultyServer(answer_and_close()) as server:
        for calls in range(1, 20):
            send(transport, server.url)
            wait_until(lambda calls=calls: server.closed == calls, "it is closed")
    assert (server.connections, len(server.requests)) == (19, 19)


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again(
    transport: Transport,
) -> None:
    """D16: a second answer to one question would be taken for that of the next question."""
    with FaultyServer(
        hang_up(message(b"first") + message(b"stray")), answer(b"second")
    ) as server:
        assert send(transport, server.url).body == b"first"
        wait_until(lambda: server.closed == 1, "it is closed")
        assert send(transport, server.url).body == b"second"


@pytest.mark.parametrize(("idle_seconds", "connections"), [(0.0, 3), (60.0, 1)])
def test_a_connection_that_has_rested_too_long_is_not_used_again(
    idle_seconds: float, connections: int
) -> None:
    """D8."""
    transport = Transport(connections=1, idle_seconds=idle_seconds)
    with FaultyServer(answer()) as server:
        for _ in range(3):
            send(transport, server.url)
        transport.close()
    assert server.connections == connections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(
    transport: Transport, status: int
) -> None:
    """D14: a signed body is never sent on."""
    with (
        FaultyServer(answer()) as trap,
        FaultyServer(redirect(f"{trap.url}/", status)) as server,
    ):
        reply = send(transport, server.url)
    assert (reply.status, reply.headers["Location"]) == (status, f"{trap.url}/")
    assert trap.connections == 0


@pytest.mark.parametrize(
    "fault",
    [
        endless(),
        endless(length=-1),
        endless_chunks(),
        gzip_bomb(64 * MiB),
        gzip_bomb(MiB + 1),
    ],
)
def test_a_body_over_the_cap_is_cut_off_before_it_fills_the_memory(
    transport: Transport, fault: Behaviour
) -> None:
    """D15, F7: as sent, and as decoded."""
    with FaultyServer(fault) as server:
        send_limited = lambda: send(transport, server.url, max_bytes=MiB)  # noqa: E731
        tracemalloc.start()
        with pytest.raises(BodyTooLarge, match="larger than 1,048,576 bytes"):
            send_limited()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * MiB


def test_a_body_of_just_the_cap_passes(transport: Transport) -> None:
    with FaultyServer(
        answer(b"x" * 1000), gzip_bomb(1000), answer(b"x" * 1001)
    ) as server:
        assert send(transport, server.url, max_bytes=1000).body == b"x" * 1000
        assert send(transport, server.url, max_bytes=1000).body == bytes(1000)
        with pytest.raises(AnswerUnknown):
            send(transport, server.url, max_bytes=1000)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"plain", mtime=0)),
        ("X-GZIP", gzip.compress(b"plain", mtime=0)),
        ("deflate", zlib.compress(b"plain")),
    ],
)
def test_a_compressed_answer_is_decoded(
    transport: Transport, encoding: str, body: bytes
) -> None:
    with FaultyServer(answer(body, headers={"Content-Encoding": encoding})) as server:
        assert send(transport, server.url).body == b"plain"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"plain"),
        ("gzip", gzip.compress(b"plain", mtime=0)[:-1]),
        ("br", b"plain"),
        ("gzip, gzip", b"plain"),
    ],
)
def test_an_answer_that_cannot_be_decoded_is_in_doubt(
    transport: Transport, encoding: str, body: bytes
) -> None:
    with (
        FaultyServer(answer(body, headers={"Content-Encoding": encoding})) as server,
        pytest.raises(AnswerUnknown),
    ):
        send(transport, server.url)


def test_threads_get_the_answers_to_their_own_questions() -> None:
    """D16."""
    transport = Transport(connections=16)
    with FaultyServer(
        lambda peer: peer.send(message(peer.request.partition(b"\r\n\r\n")[2]))
    ) as server:

        def ask(number: int) -> bool:
            return (
                send(transport, server.url, str(number).encode()).body
                == str(number).encode()
            )

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(400)))
        transport.close()
        assert len(server.requests) == 400
        assert server.connections <= 16


def test_the_end_of_one_exchange_never_hits_the_next_one_on_its_connection() -> None:
    """Impatient calls end all the time, about when their answers come; the patient ones must not notice."""
    delays = itertools.cycle([0.0, 0.04, 0.05, 0.06])
    transport = Transport(connections=8)

    def late(peer: Peer) -> None:
        peer.stopped.wait(next(delays))
        peer.send(message())

    def impatient(url: str) -> None:
        for _ in range(15):
            with suppress(TransportError):
                send(transport, url, deadline=0.05)

    with FaultyServer(late) as server, ThreadPoolExecutor(8) as pool:
        busy = [pool.submit(impatient, server.url) for _ in range(6)]
        for _ in range(30):
            assert send(transport, server.url).status == 200
        for each in busy:
            each.result()
        transport.close()


FAULTS = {
    "refused": None,
    "reset": reset(),
    "silent": stall(),
    "cut": truncated(b"x" * 100),
    "not HTTP": hang_up(b"garbage\r\n"),
    "odd headers": answer(headers={"Bad Header Name": "x", "Location": f"/?{CANARY}"}),
    "too large": endless(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_no_query_header_or_body_reaches_a_message_or_a_log(
    transport: Transport, fault: Behaviour | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), FaultyServer(fault or answer()) as server:
        url = server.url if fault else "http://127.0.0.1:1"
        try:
            send(transport, url, CANARY.encode(), deadline=0.4, max_bytes=100_000)
        except TransportError as error:
            assert CANARY not in "".join(traceback.format_exception(error)) + repr(
                error
            )
            assert str(error).startswith("127.0.0.1:")
    assert CANARY not in caplog.text


def test_nothing_is_left_running_after_close() -> None:
    before = set(threading.enumerate())
    with FaultyServer(answer()) as server:
        transport = Transport(connections=4)
        send(transport, server.url)
        transport.close()
        wait_until(lambda: server.closed == 1, "it is closed")
    wait_until(lambda: set(threading.enumerate()) <= before, "the threads end")
