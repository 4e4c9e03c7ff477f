"""One exchange with a server that fails in a scripted way: it ends in time, and says whether anything was sent."""

import gzip
import itertools
import logging
import socket
import ssl
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pixmill.addresses import AddressRefused
from pixmill.errors import AnswerUnknown, NotSent, TransportError
from pixmill.transport import Reply, Transport
from tests.faulty_server import (
    Behaviour,
    FaultyServer,
    Peer,
    answer,
    answer_and_close,
    drip_body,
    drip_chunks,
    drip_headers,
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

CANARY = "canary-5f2a"
MiB = 1 << 20


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=8)
    yield made
    made.close()


def send(transport: Transport, url: str, body: bytes = b"{}", deadline: float = 10.0, max_bytes: int = MiB) -> Reply:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {CANARY}"}
    request = requests.Request("POST", f"{url}/path?signature={CANARY}", data=body, headers=headers).prepare()
    return transport.send(request, deadline=deadline, max_bytes=max_bytes)


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_an_answer_arrives_whole_whatever_its_status(transport: Transport) -> None:
    with FaultyServer(answer(b"no such thing", 404, {"Retry-After": "7"})) as server:
        reply = send(transport, server.url, b"question")
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (404, b"no such thing", "7")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /path?signature={CANARY} HTTP/1.1\r\n".encode())
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    assert body == b"question"


def test_calls_in_turn_share_one_connection(transport: Transport) -> None:
    with FaultyServer(answer()) as server:
        for _ in range(5):
            send(transport, server.url)
    assert (server.connections, len(server.requests)) == (1, 5)


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """D17: neither proxies nor a ~/.netrc that would replace the Bearer header."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with FaultyServer(answer()) as proxy, FaultyServer(answer()) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        transport = Transport(connections=1)
        send(transport, server.url)
        transport.close()
    assert proxy.connections == 0
    assert f"Authorization: Bearer {CANARY}\r\n".encode() in server.requests[0]


ENDLESS_IN_TIME = {
    "headers drip": drip_headers(),
    "body drips": drip_body(),
    "body of a closing connection drips": drip_body(headers={"Connection": "close"}),
    "body without a length drips": drip_body(length=-1),
    "chunks drip": drip_chunks(),
    "no answer": stall(),
    "stall in the headers": stall(b"HTTP/1.1 200 OK\r\nContent-"),
    "stall after the headers": stall(message(b"", length=100)),
    "stall in the body": stall(message(b"half", length=100)),
    "stall in a body without a length": stall(message(b"half", length=-1)),
}


@pytest.mark.parametrize("fault", ENDLESS_IN_TIME.values(), ids=ENDLESS_IN_TIME.keys())
def test_a_slow_or_silent_answer_ends_at_the_deadline(transport: Transport, fault: Behaviour) -> None:
    """D5, D6."""
    with FaultyServer(answer(), fault) as server:
        send(transport, server.url)
        began = time.monotonic()
        with pytest.raises(AnswerUnknown, match=r"not finished within 0\.2 s"):
            send(transport, server.url, deadline=0.2)
        assert time.monotonic() - began < 1.2
        assert len(server.requests) == 2


def test_a_server_that_reads_nothing_ends_the_upload_at_the_deadline(transport: Transport) -> None:
    """D6: the request itself stalls once the buffers are full."""
    with FaultyServer(answer(), on_connect=lambda peer: peer.stopped.wait(30)) as server:
        began = time.monotonic()
        with pytest.raises(AnswerUnknown, match="not finished within"):
            send(transport, server.url, bytes(64 * MiB), deadline=0.2)
        assert time.monotonic() - began < 1.4


def test_an_answer_that_is_complete_counts_even_when_the_next_one_would_be_late(transport: Transport) -> None:
    with FaultyServer(answer(b"1"), stall()) as server:
        assert send(transport, server.url, deadline=0.2).body == b"1"
        with pytest.raises(AnswerUnknown):
            send(transport, server.url, deadline=0.2)


def test_a_refused_connection_sends_nothing(transport: Transport) -> None:
    """D7, before the request."""
    with FaultyServer(answer()) as server:
        pass
    with pytest.raises(NotSent, match=rf"127\.0\.0\.1:{server.port}: no connection \(Connection refused\)"):
        send(transport, server.url)


def test_a_connection_that_is_never_accepted_sends_nothing(transport: Transport) -> None:
    """D17: as behind a black hole, packets for a full backlog are dropped."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(NotSent):
            send(transport, f"http://127.0.0.1:{listener.getsockname()[1]}", deadline=0.2)
        assert time.monotonic() - began < 1.4


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
    chunked = message(b"4\r\nhalf\r\n3\r\nway\r\n0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}, length=-1)
    whole = message(b"halfway") if framing == "length" else chunked
    cuts = range(len(whole) - (4 if framing == "chunked" else 0))  # the line breaks after the last chunk say nothing
    with FaultyServer(*(fault(whole[:cut]) for cut in cuts)) as server:
        for cut in cuts:
            with pytest.raises(AnswerUnknown):
                pytest.fail(f"cut at {cut} of {len(whole)}: {send(transport, server.url)}")
        assert len(server.requests) == len(cuts)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_an_answer_may_end_with_its_connection(transport: Transport, version: bytes) -> None:
    """Also with an empty body, as redirects of simple servers do, if that is announced."""
    closing = {"Connection": "close"} if version == b"HTTP/1.1" else {}
    answers = [message(body, 302, closing, length=-1).replace(b"HTTP/1.1", version, 1) for body in (b"", b"here")]
    with FaultyServer(*map(hang_up, answers)) as server:
        assert send(transport, server.url)[::2] == (302, b"")
        assert send(transport, server.url)[::2] == (302, b"here")


def test_a_short_body_says_so(transport: Transport) -> None:
    """D3, F3."""
    with FaultyServer(truncated(b"x" * 1000)) as server, pytest.raises(AnswerUnknown, match="ended early"):
        send(transport, server.url)


def test_garbage_in_place_of_http_is_in_doubt(transport: Transport) -> None:
    """D2."""
    with FaultyServer(hang_up(b"SSH-2.0-OpenSSH_9.6\r\n")) as server, pytest.raises(AnswerUnknown, match="not HTTP"):
        send(transport, server.url)


def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(transport: Transport) -> None:
    """D8."""
    with FaultyServer(answer_and_close()) as server:
        for calls in range(1, 20):
            send(transport, server.url)
            until(lambda calls=calls: server.closed == calls)
    assert (server.connections, len(server.requests)) == (19, 19)


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again(transport: Transport) -> None:
    """D16: a second answer to one question would be taken for that of the next question."""
    with FaultyServer(hang_up(message(b"first") + message(b"stray")), answer(b"second")) as server:
        assert send(transport, server.url).body == b"first"
        until(lambda: server.closed == 1)
        assert send(transport, server.url).body == b"second"


@pytest.mark.parametrize(("idle_seconds", "connections"), [(0.0, 3), (60.0, 1)])
def test_a_connection_that_has_rested_too_long_is_not_used_again(idle_seconds: float, connections: int) -> None:
    """D8."""
    transport = Transport(connections=1, idle_seconds=idle_seconds)
    with FaultyServer(answer()) as server:
        for _ in range(3):
            send(transport, server.url)
        transport.close()
    assert server.connections == connections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(transport: Transport, status: int) -> None:
    """D14: a signed body is never sent on."""
    with FaultyServer(answer()) as trap, FaultyServer(redirect(f"{trap.url}/", status)) as server:
        reply = send(transport, server.url)
    assert (reply.status, reply.headers["Location"]) == (status, f"{trap.url}/")
    assert trap.connections == 0


@pytest.mark.parametrize(
    "fault", [endless(), endless(length=-1), endless_chunks(), gzip_bomb(64 * MiB), gzip_bomb(MiB + 1)]
)
def test_a_body_over_the_cap_is_cut_off_before_it_fills_the_memory(transport: Transport, fault: Behaviour) -> None:
    """D15, F7: as sent, and as decoded."""
    with FaultyServer(fault) as server:
        send_limited = lambda: send(transport, server.url, max_bytes=MiB)  # noqa: E731
        tracemalloc.start()
        with pytest.raises(AnswerUnknown, match="larger than 1,048,576 bytes"):
            send_limited()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * MiB


def test_a_body_of_just_the_cap_passes(transport: Transport) -> None:
    with FaultyServer(answer(b"x" * 1000), gzip_bomb(1000), answer(b"x" * 1001)) as server:
        assert send(transport, server.url, max_bytes=1000).body == b"x" * 1000
        assert send(transport, server.url, max_bytes=1000).body == bytes(1000)
        with pytest.raises(AnswerUnknown):
            send(transport, server.url, max_bytes=1000)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(b"plain")), ("X-GZIP", gzip.compress(b"plain")), ("deflate", zlib.compress(b"plain"))],
)
def test_a_compressed_answer_is_decoded(transport: Transport, encoding: str, body: bytes) -> None:
    with FaultyServer(answer(body, headers={"Content-Encoding": encoding})) as server:
        assert send(transport, server.url).body == b"plain"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"plain"), ("gzip", gzip.compress(b"plain")[:-1]), ("br", b"plain"), ("gzip, gzip", b"plain")],
)
def test_an_answer_that_cannot_be_decoded_is_in_doubt(transport: Transport, encoding: str, body: bytes) -> None:
    with FaultyServer(answer(body, headers={"Content-Encoding": encoding})) as server, pytest.raises(AnswerUnknown):
        send(transport, server.url)


def test_an_unknown_name_sends_nothing() -> None:
    """D10."""

    def look_up(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = Transport(connections=1, look_up=look_up)
    with pytest.raises(NotSent, match=r"api\.example\.com: its address was not found \(Name or service not known\)"):
        send(transport, "http://api.example.com")
    transport.close()


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..example.com"])
def test_a_name_that_cannot_be_looked_up_sends_nothing(transport: Transport, host: str) -> None:
    request = requests.Request("GET", "http://example.com/").prepare()
    request.url = f"http://{host}/"
    with pytest.raises(NotSent):
        transport.send(request, deadline=5, max_bytes=1)


def test_names_that_hang_end_at_the_deadline_and_do_not_hold_up_others() -> None:
    """D10: a look-up can't be interrupted; twenty of them exhaust no pool."""
    ended = threading.Event()

    def look_up(host: str) -> list[str]:
        if host == "hangs.example.com":
            ended.wait(30)
        return ["127.0.0.1"]

    transport = Transport(connections=21, look_up=look_up)
    with FaultyServer(answer(b"here")) as server, ThreadPoolExecutor(20) as pool:
        hanging = [pool.submit(send, transport, "http://hangs.example.com", deadline=0.2) for _ in range(20)]
        assert send(transport, f"http://works.example.com:{server.port}").body == b"here"
        for call in hanging:
            with pytest.raises(NotSent, match=r"not finished within 0\.2 s"):
                call.result(timeout=5)
        ended.set()
    transport.close()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """D10: a name whose second answer is another one gets no second question."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    checked: list[str] = []
    transport = Transport(connections=1, check_address=checked.append, look_up=lambda _: next(answers))
    with FaultyServer(answer()) as server:
        assert send(transport, f"http://api.example.com:{server.port}").status == 200
        transport.close()
    assert checked == ["127.0.0.1"]
    assert f"Host: api.example.com:{server.port}\r\n".encode() in server.requests[0]


def test_one_refused_address_among_many_refuses_them_all() -> None:
    def check(address: str) -> None:
        if address == "127.0.0.9":
            raise AddressRefused(f"{address} is refused")

    transport = Transport(connections=1, check_address=check, look_up=lambda _: ["127.0.0.1", "127.0.0.9"])
    with FaultyServer(answer()) as server:
        with pytest.raises(AddressRefused, match=r"^127\.0\.0\.9 is refused$"):
            send(transport, f"http://api.example.com:{server.port}")
        transport.close()
    assert server.connections == 0


def test_a_dead_address_gives_way_to_the_next_one() -> None:
    transport = Transport(connections=1, look_up=lambda _: ["::1", "127.0.0.1"])
    with FaultyServer(answer()) as server:
        assert send(transport, f"http://api.example.com:{server.port}").status == 200
        transport.close()


def test_threads_get_the_answers_to_their_own_questions() -> None:
    """D16."""
    transport = Transport(connections=16)
    with FaultyServer(lambda peer: peer.send(message(peer.request.partition(b"\r\n\r\n")[2]))) as server:

        def ask(number: int) -> bool:
            return send(transport, server.url, str(number).encode()).body == str(number).encode()

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
            assert CANARY not in "".join(traceback.format_exception(error)) + repr(error)
            assert str(error).startswith("127.0.0.1:")
    assert CANARY not in caplog.text


def test_nothing_is_left_running_after_close() -> None:
    before = set(threading.enumerate())
    with FaultyServer(answer()) as server:
        transport = Transport(connections=4)
        send(transport, server.url)
        transport.close()
        until(lambda: server.closed == 1)
    until(lambda: set(threading.enumerate()) <= before)


# TLS on loopback, with authorities made for the test.


class Authority:
    """A certificate authority; `file` is what a client has to trust."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = folder / "authority.pem"
        certificate = self._builder(self.name, self.key, days=30).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        signed = certificate.sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str, days: int = 30) -> ssl.SSLContext:
        """A server's context, with a certificate for `hosts` that ends in `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
        builder = self._builder(x509.Name([]), key, days).add_extension(
            x509.SubjectAlternativeName(names), critical=True
        )
        file = self.folder / f"{'-'.join(hosts)}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        dated = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        return dated.serial_number(x509.random_serial_number())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    """A transport on a machine that trusts the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    made = Transport(connections=4, look_up=lambda _: ["127.0.0.1"])
    yield made
    made.close()


def test_a_trusted_server_is_asked_by_its_name_over_a_kept_connection(
    trusting: Transport, authority: Authority
) -> None:
    context = authority.server("api.example.com")
    named: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    with FaultyServer(answer(b"secret"), tls=context) as server:
        for _ in range(3):
            assert send(trusting, f"https://api.example.com:{server.port}").body == b"secret"
    assert named == ["api.example.com"]
    assert f"Host: api.example.com:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    ("hosts", "days", "trusted", "reason"),
    [
        (["api.example.com"], 30, False, "certificate refused"),
        (["api.example.com"], -1, True, "certificate has expired"),
        (["other.example.com"], 30, True, "not valid for 'api.example.com'"),
        (["127.0.0.1"], 30, True, "not valid for 'api.example.com'"),
    ],
)
def test_a_certificate_that_does_not_hold_gets_no_request(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    hosts: list[str],
    days: int,
    trusted: bool,
    reason: str,
) -> None:
    """D9: unknown authority, expired, of another host, of the address in place of the name."""
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    transport = Transport(connections=1, look_up=lambda _: ["127.0.0.1"])
    with FaultyServer(answer(), tls=authority.server(*hosts, days=days)) as server:
        with pytest.raises(NotSent, match=reason) as caught:
            send(transport, f"https://api.example.com:{server.port}")
        transport.close()
    assert "no TLS connection" in str(caught.value)
    assert server.requests == []


def test_a_server_without_tls_gets_no_plain_request(trusting: Transport) -> None:
    """D9: no fall-back to http."""
    seen: list[bytes] = []

    def listen(peer: Peer) -> None:
        seen.append(peer.socket.recv(4096))
        peer.close()

    with FaultyServer(on_connect=listen) as server:
        with pytest.raises(NotSent, match="TLS"):
            send(trusting, f"https://api.example.com:{server.port}")
        until(lambda: bool(seen))
    assert CANARY.encode() not in seen[0]
    assert b"HTTP" not in seen[0]


@pytest.mark.parametrize("silent", [True, False])
def test_a_handshake_that_does_not_end_is_ended_at_the_deadline_with_nothing_sent(
    trusting: Transport, silent: bool
) -> None:
    """D5, D6, D9: stalled, or dripping the bytes of a record that never is complete."""
    record = itertools.chain(b"\x16\x03\x03\x40\x00", itertools.repeat(0))
    drip = (bytes([byte]) for byte in record)
    trouble: Behaviour = Peer.wait if silent else lambda peer: peer.pour(drip, 0.02)
    with FaultyServer(answer(), on_connect=trouble) as server:
        began = time.monotonic()
        with pytest.raises(NotSent, match=r"no TLS connection \(not finished within 0\.2 s\)"):
            send(trusting, f"https://api.example.com:{server.port}", deadline=0.2)
        assert time.monotonic() - began < 1.4


@pytest.mark.parametrize("fault", ENDLESS_IN_TIME.values(), ids=ENDLESS_IN_TIME.keys())
def test_the_deadline_holds_over_tls(trusting: Transport, authority: Authority, fault: Behaviour) -> None:
    """D5, D6."""
    with FaultyServer(answer(), fault, tls=authority.server("api.example.com")) as server:
        send(trusting, f"https://api.example.com:{server.port}")
        began = time.monotonic()
        with pytest.raises(AnswerUnknown, match=r"not finished within 0\.2 s"):
            send(trusting, f"https://api.example.com:{server.port}", deadline=0.2)
        assert time.monotonic() - began < 1.2


@pytest.mark.parametrize("fault", [reset, hang_up])
def test_a_tls_connection_cut_in_the_answer_is_in_doubt(
    trusting: Transport, authority: Authority, fault: Callable[[bytes], Behaviour]
) -> None:
    """D7, D9."""
    with (
        FaultyServer(fault(message(b"half", length=8)), tls=authority.server("api.example.com")) as server,
        pytest.raises(AnswerUnknown),
    ):
        send(trusting, f"https://api.example.com:{server.port}")
