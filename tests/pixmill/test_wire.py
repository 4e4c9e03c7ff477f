"""Who owns a socket, and until when: an exchange that ends shuts down its own and no other."""

import socket
import threading
from collections.abc import Iterator

import pytest

from pixmill.wire import Connection, Exchange, Pool, Wire
from tests.faulty_server import FaultyServer, answer


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_the_end_of_an_exchange_shuts_its_socket_down(pair: tuple[socket.socket, socket.socket]) -> None:
    exchange = Exchange(10)
    exchange.hold(pair[0])
    exchange.end()
    assert pair[1].recv(1) == b""


def test_a_socket_that_comes_after_the_end_is_shut_down_too(pair: tuple[socket.socket, socket.socket]) -> None:
    """D6: the end may fall between the socket and the TLS socket that takes its place."""
    exchange = Exchange(10)
    exchange.end()
    exchange.hold(pair[0])
    assert pair[1].recv(1) == b""


def test_a_late_end_leaves_a_connection_alone_that_was_given_back() -> None:
    """The body is there, the connection back in its pool, perhaps with the next thread: only then time is over."""
    wire = Wire(lambda _: None, 60.0, lambda _: ["127.0.0.1"])
    with FaultyServer(answer(b"here")) as server:
        pool = Pool(wire, "127.0.0.1", server.port)
        exchange = wire.running[threading.get_ident()] = Exchange(10)
        connection: Connection = pool._get_conn()
        connection.connect()
        pool._put_conn(connection)
        exchange.end()
        connection.exchange = Exchange(10)
        connection.request("GET", "/")
        assert connection.getresponse().data == b"here"
        pool.close()
    wire.stopped.set()
