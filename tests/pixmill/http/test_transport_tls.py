"""TLS as the only way in: certificates that hold, handshakes that end, deadlines behind them."""

import gc
import itertools
import select
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pixmill.errors import AnswerUnknown, NotSent
from pixmill.http.transport import Reply, Transport
from tests.faulty_server import (
    NEVER_ENDING,
    Behaviour,
    FaultyServer,
    Peer,
    answer,
    hang_up,
    message,
    reset,
)

CANARY = "canary-91d0"


def send(transport: Transport, url: str, deadline: float = 10.0) -> Reply:
    request = requests.Request(
        "POST", f"{url}/", data=CANARY, headers={"Authorization": CANARY}
    ).prepare()
    return transport.send(request, deadline=deadline, max_bytes=1000)


class AuthScheme:
    """A certificate authority; `file` is what a client has to trust."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]
        )
        self.file = folder / "authority.pem"
        certificate = self._builder(self.name, self.key, days=30).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        signed = certificate.sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str, days: int = 30) -> ssl.SSLContext:
        """A server's context, with a certificate for `hosts` that ends in `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.IPAddress(ip_address(host))
            if host[0].isdigit()
            else x509.DNSName(host)
            for host in hosts
        ]
        builder = self._builder(x509.Name([]), key, days).add_extension(
            x509.SubjectAlternativeName(names), critical=True
        )
        file = self.folder / f"{'-'.join(hosts)}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + builder.sign(self.key, hashes.SHA256()).public_bytes(
                serialization.Encoding.PEM
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
        )
        dated = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(
            now + timedelta(days=days)
        )
        return dated.serial_number(x509.random_serial_number())


@pytest.fixture
def authority(tmp_path: Path) -> AuthScheme:
    return AuthScheme(tmp_path)


@pytest.fixture
def trusting(
    authority: AuthScheme, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    """A transport on a machine that trusts the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    made = Transport(connections=4, look_up=lambda _: ["127.0.0.1"])
    yield made
    made.close()


def test_a_trusted_server_is_asked_by_its_name_over_a_kept_connection(
    trusting: Transport, authority: AuthScheme
) -> None:
    context = authority.server("api.example.com")
    named: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    with FaultyServer(answer(b"secret"), tls=context) as server:
        for _ in range(3):
            assert (
                send(trusting, f"https://api.example.com:{server.port}").body
                == b"secret"
            )
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
    authority: AuthScheme,
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

    with FaultyServer(on_connect=listen) as server, pytest.raises(NotSent, match="TLS"):
        send(trusting, f"https://api.example.com:{server.port}")
    assert CANARY.encode() not in seen[0]
    assert b"HTTP" not in seen[0]


@pytest.mark.parametrize("silent", [True, False])
def test_a_handshake_that_does_not_end_is_ended_at_the_deadline_with_nothing_sent(
    trusting: Transport, authority: AuthScheme, silent: bool
) -> None:
    """D5, D6, D9: stalled, or dripping the bytes of a record that never is complete."""
    record = itertools.chain(b"\x16\x03\x03\x40\x00", itertools.repeat(0))
    drip = (bytes([byte]) for byte in record)
    trouble: Behaviour = Peer.wait if silent else lambda peer: peer.pour(drip, 0.02)
    # A sound connection comes first, as it takes a while to load the authorities.
    connections: Iterator[Behaviour] = iter([lambda _: None, trouble])
    with FaultyServer(
        answer(headers={"Connection": "close"}),
        on_connect=lambda peer: next(connections)(peer),
        tls=authority.server("api.example.com"),
    ) as server:
        send(trusting, f"https://api.example.com:{server.port}")
        with pytest.raises(
            NotSent, match=r"no TLS connection \(not finished within 0\.2 s\)"
        ):
            send(trusting, f"https://api.example.com:{server.port}", deadline=0.2)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", NEVER_ENDING.values(), ids=NEVER_ENDING.keys())
def test_the_deadline_holds_over_tls(
    trusting: Transport, authority: AuthScheme, fault: Behaviour
) -> None:
    """D5, D6."""
    with FaultyServer(
        answer(), fault, tls=authority.server("api.example.com")
    ) as server:
        send(trusting, f"https://api.example.com:{server.port}")
        with pytest.raises(AnswerUnknown, match=r"not finished within 0\.2 s"):
            send(trusting, f"https://api.example.com:{server.port}", deadline=0.2)


@pytest.mark.parametrize("fault", [reset, hang_up])
def test_a_tls_connection_cut_in_the_answer_is_in_doubt(
    trusting: Transport, authority: AuthScheme, fault: Callable[[bytes], Behaviour]
) -> None:
    """D7, D9."""
    with (
        FaultyServer(
            fault(message(b"half", length=8)), tls=authority.server("api.example.com")
        ) as server,
        pytest.raises(AnswerUnknown),
    ):
        send(trusting, f"https://api.example.com:{server.port}")


def test_a_connection_that_is_reset_before_the_handshake_leaves_no_socket_open(
    trusting: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D9: CPython 3.11 loses a connected socket that it finds reset while it wraps it."""
    wrap = ssl.SSLContext.wrap_socket
    wrapping = threading.Event()

    def hang_up_first(
        context: ssl.SSLContext, opened: socket, **options: Any
    ) -> ssl.SSLSocket:
        wrapping.set()
        # At once for what is not connected; else when the server has reset it.
        ended = select.poll()
        ended.register(opened, 0)
        assert ended.poll(5000)
        return wrap(context, opened, **options)

    def reset_once_it_is_wrapped(peer: Peer) -> None:
        wrapping.wait(5)
        peer.reset()

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", hang_up_first)
    with FaultyServer(on_connect=reset_once_it_is_wrapped) as server:
        with pytest.raises(NotSent, match=r"no (TLS )?connection"):
            send(trusting, f"https://api.example.com:{server.port}")
        gc.collect()  # a socket that was lost warns here, and a warning is an error
    assert server.connections == 1
