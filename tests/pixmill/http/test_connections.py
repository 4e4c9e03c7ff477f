"""Names become checked addresses, and every socket has one owner: an exchange that ends shuts down no other's."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import requests

from pixmill.errors import NotSent
from pixmill.http.address_policy import AddressRefused
from pixmill.http.connections import ConnectionPool, Origin
from pixmill.http.exchange import Exchange
from pixmill.http.transport import Reply, Transport
from tests.faulty_server import FaultyServer, answer


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(connections=8)
    yield made
    made.close()


def send(transport: Transport, url: str, deadline: float = 10.0) -> Reply:
    return transport.send(
        requests.Request("GET", f"{url}/").prepare(), deadline=deadline, max_bytes=1000
    )


def test_an_unknown_name_sends_nothing() -> None:
    """D10."""

    def look_up(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = Transport(connections=1, look_up=look_up)
    with pytest.raises(
        NotSent,
        match=r"api\.example\.com: its address was not found \(Name or service not known\)",
    ):
        send(transport, "http://api.example.com")
    transport.close()


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..example.com"])
def test_a_name_that_cannot_be_looked_up_sends_nothing(
    transport: Transport, host: str
) -> None:
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
        hanging = [
            pool.submit(send, transport, "http://hangs.example.com", deadline=0.2)
            for _ in range(20)
        ]
        assert (
            send(transport, f"http://works.example.com:{server.port}").body == b"here"
        )
        for call in hanging:
            with pytest.raises(NotSent, match=r"not finished within 0\.2 s"):
                call.result(timeout=5)
        ended.set()
    transport.close()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """D10: a name whose second answer is another one gets no second question."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    checked: list[str] = []
    transport = Transport(
        connections=1, check_address=checked.append, look_up=lambda _: next(answers)
    )
    with FaultyServer(answer()) as server:
        assert send(transport, f"http://api.example.com:{server.port}").status == 200
        transport.close()
    assert checked == ["127.0.0.1"]
    assert f"Host: api.example.com:{server.port}\r\n".encode() in server.requests[0]


def test_one_refused_address_among_many_refuses_them_all() -> None:
    def check(address: str) -> None:
        if address == "127.0.0.9":
            raise AddressRefused(f"{address} is refused")

    transport = Transport(
        connections=1, check_address=check, look_up=lambda _: ["127.0.0.1", "127.0.0.9"]
    )
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


def test_a_connection_that_is_never_accepted_sends_nothing(
    transport: Transport,
) -> None:
    """D17: as behind a black hole, packets for a full backlog are dropped."""
    with ExitStack() as opened:
        listener = opened.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=0)
        )
        for _ in range(4):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with pytest.raises(NotSent, match=r"not finished within 0\.2 s"):
            send(
                transport, f"http://127.0.0.1:{listener.getsockname()[1]}", deadline=0.2
            )


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_the_end_of_an_exchange_shuts_its_socket_down(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    exchange = Exchange(10)
    exchange.attach(pair[0])
    exchange.expire()
    assert pair[1].recv(1) == b""


def test_a_socket_that_comes_after_the_end_is_shut_down_too(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """D6: the end may fall between the socket and the TLS socket that takes its place."""
    exchange = Exchange(10)
    exchange.expire()
    exchange.attach(pair[0])
    assert pair[1].recv(1) == b""


def test_a_late_end_leaves_a_connection_alone_that_was_given_back() -> None:
    """The body is there, the connection back in its pool, perhaps with the next thread: only then time is over."""
    connections = ConnectionPool(None, 60.0, lambda _: ["127.0.0.1"], most=1)
    with FaultyServer(answer(b"here")) as server:
        first, second = Exchange(10), Exchange(10)
        origin = Origin("http", "127.0.0.1", server.port)
        connection = connections.acquire(origin, first)
        connections.release(connection, first)
        assert connections.acquire(origin, second) is connection
        first.expire()
        connection.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.socket.recv(1000).endswith(b"here")
        connection.close()
    connections.close()
