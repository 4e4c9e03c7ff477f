"""Nothing inside is ever reached: hosts in disguise, redirects, names whose addresses an attacker chooses (4.3)."""

from collections.abc import Iterator

import pytest
import requests

from pixmill.errors import TransportError
from pixmill.http.address_policy import AddressRefused, check_public, literal_address
from pixmill.http.transport import Transport
from pixmill.storage.image_decoding import ImageError
from pixmill.storage.image_fetcher import ImageFetcher
from tests.faulty_server import FaultyServer, answer, redirect
from tests.pixmill.sample_pictures import JPEG

MiB = 1 << 20


@pytest.fixture
def trap() -> Iterator[FaultyServer]:
    """A listener on loopback that must not be reached; it would answer with an image."""
    with FaultyServer(answer(JPEG)) as server:
        yield server
        assert server.connections == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://8.8.8.8/a.jpg", "only https"),
        ("http://images.example.com/a.jpg", "only https"),
        ("https://images.example.com:8443/a.jpg", "port 8443"),
        ("https://images.example.com:22/a.jpg", "port 22"),
        ("https://user:secret@images.example.com/a.jpg", "url_credentials"),
        ("file:///etc/passwd", "url_scheme"),
        ("gopher://127.0.0.1:6379/_SET", "url_scheme"),
        ("data:image/png;base64,AAAA", "url_scheme"),
        ("https://images.example.com\\@127.0.0.1/", "malformed_url"),
        ("https://", "can't be read|malformed_url"),
        ("/a.jpg", "can't be read|malformed_url"),
    ],
)
def test_only_https_to_the_web_ports_is_fetched(url: str, reason: str) -> None:
    def look_up(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    fetcher = ImageFetcher(allow_hosts=[], look_up=look_up)
    with pytest.raises(ImageError, match=reason):
        fetcher.fetch(url)
    fetcher.close()


@pytest.mark.parametrize(
    "allowed", ["127.0.0.2", "localhost", "127.0.0.1.example.com", "0.0.1"]
)
def test_an_allowed_host_opens_no_other(trap: FaultyServer, allowed: str) -> None:
    fetcher = ImageFetcher(allow_hosts=[allowed])
    with pytest.raises(ImageError, match="private_address"):
        fetcher.fetch(trap.url)
    fetcher.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_simulator_is_fetched_from_and_no_other_service_of_this_machine(
    host: str, trap: FaultyServer
) -> None:
    with FaultyServer(answer(JPEG)) as own:
        fetcher = ImageFetcher(allow_hosts=[], simulator=f"http://{host}:{own.port}")
        assert fetcher.fetch(f"http://127.0.0.1:{own.port}/a.jpg") == JPEG
        with pytest.raises(ImageError, match="private_address"):
            fetcher.fetch(trap.url)
        fetcher.close()
    with FaultyServer(redirect(trap.url)) as own:
        fetcher = ImageFetcher(allow_hosts=[], simulator=own.url)
        with pytest.raises(ImageError, match="private_address"):
            fetcher.fetch(own.url)
    fetcher.close()


def test_an_allowed_host_may_not_redirect_elsewhere_inside(trap: FaultyServer) -> None:
    fetcher = ImageFetcher(allow_hosts=["images.test"], look_up=lambda _: ["127.0.0.1"])
    with (
        FaultyServer(redirect(trap.url)) as server,
        pytest.raises(ImageError, match="private_address"),
    ):
        fetcher.fetch(f"http://images.test:{server.port}/a.jpg")
    fetcher.close()


NOT_FETCHED = r"private_address|malformed_url|can't be read"

# Hosts in every disguise, all of which lead to 127.0.0.1 or another place inside when they are looked up.
HOSTS = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001",
    "0x7f.0x0.0x0.0x1", "0177.0.0.1", "0177.0.0.01", "0X7F.1", "127.0.0.1.", "0", "0.0.0.0", "0x0",
    "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127.0.0.%31", "%31%32%37.0.0.1", "127.0.0.\u200b1",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[fec0::1]", "[ff02::1]",
    "[fd00:ec2::254]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "localhost", "LOCALHOST", "localhost.", "ｌｏｃａｌｈｏｓｔ",
    "a.localhost", "metadata.google.internal", "printer.local", "169.254.169.254", "0xa9fea9fe", "2852039166",
    "0251.0376.0251.0376", "169.254.170.2", "100.100.100.200", "100.64.0.1", "192.0.0.192", "168.63.129.16",
    "10.0.0.1", "012.0.0.1", "172.16.0.1", "192.168.0.1", "0300.0250.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255",
]  # fmt: skip
ANSWERS = [
    ["127.0.0.1"], ["127.0.0.2"], ["0.0.0.0"], ["10.0.0.1"], ["100.64.0.1"], ["169.254.169.254"], ["::1"], ["::"],
    ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["fe80::1%lo"], ["ff02::1"], ["fec0::1"],
    ["8.8.8.8", "127.0.0.1"], ["2606:4700::1", "::1"], ["127.0.0.1", "8.8.8.8"], [],
]  # fmt: skip


def test_there_are_enough_payloads() -> None:
    assert len(HOSTS) >= 60


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_no_disguise_is_fetched_directly_or_through_a_redirect(
    host: str, trap: FaultyServer
) -> None:
    """4.3, by what the URL says."""
    fetcher = ImageFetcher(
        allow_hosts=["images.test"],
        look_up=lambda _: ["127.0.0.1"],
        sleep=lambda _: None,
    )
    for url in (
        f"https://{host}:443/a.jpg",
        f"https://{host}:{trap.port}/a.jpg",
        f"http://{host}:{trap.port}/",
    ):
        with pytest.raises(ImageError, match=NOT_FETCHED):
            fetcher.fetch(url)
        if host.isascii():
            with FaultyServer(redirect(url)) as server:
                with pytest.raises(ImageError, match=NOT_FETCHED):
                    fetcher.fetch(f"http://images.test:{server.port}/")
                assert len(server.requests) == 1
    fetcher.close()


@pytest.mark.parametrize(
    "host",
    [host for host in HOSTS if literal_address(host) or host.lower() == "localhost"],
    ids=ascii,
)
def test_no_disguise_passes_the_check_at_the_connection(
    host: str, trap: FaultyServer
) -> None:
    """4.3, by what the system's resolver makes of it: also without a check of the URL, nothing is reached."""
    transport = Transport(connections=1, check_address=check_public)
    request = requests.Request("GET", "http://example.com/").prepare()
    request.url = f"http://{host}:{trap.port}/"
    with pytest.raises((AddressRefused, TransportError)):
        transport.send(request, deadline=5, max_bytes=MiB)
    transport.close()


def test_without_the_check_a_disguise_would_reach_the_trap() -> None:
    """The trap works: this is what the other tests forbid."""
    transport = Transport(connections=1)
    with FaultyServer(answer(JPEG)) as server:
        request = requests.Request("GET", "http://example.com/").prepare()
        for host in ("2130706433", "0x7f.1", "127.0.1", "localhost"):
            request.url = f"http://{host}:{server.port}/"
            assert transport.send(request, deadline=5, max_bytes=MiB).body == JPEG
        assert server.connections == 4
    transport.close()


@pytest.mark.parametrize("addresses", ANSWERS, ids=str)
@pytest.mark.parametrize("redirected", [False, True])
def test_a_public_name_with_an_address_inside_is_refused(
    addresses: list[str], redirected: bool, trap: FaultyServer
) -> None:
    """4.3, D10: a name of the attacker's, whose addresses are his to choose."""

    def look_up(host: str) -> list[str]:
        return ["127.0.0.1"] if host == "images.test" else addresses

    fetcher = ImageFetcher(
        allow_hosts=["images.test"], look_up=look_up, sleep=lambda _: None
    )
    with FaultyServer(redirect("https://evil.example.com/a.jpg")) as server:
        url = (
            f"http://images.test:{server.port}/"
            if redirected
            else "https://evil.example.com/a.jpg"
        )
        with pytest.raises(
            ImageError, match=r"is not a public address|it has no address"
        ):
            fetcher.fetch(url)
    fetcher.close()


def test_a_name_whose_second_answer_leads_inside_is_asked_once_for_each_connection(
    trap: FaultyServer,
) -> None:
    """4.3: between check and connection nobody is asked again (DNS rebinding)."""
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.9"] if len(asked) == 1 else ["127.0.0.1"]

    def check(address: str) -> None:
        if (
            address != "127.0.0.9"
        ):  # stands for a public address, at which nothing answers
            raise AddressRefused(f"{address} is not a public address")

    transport = Transport(connections=1, check_address=check, look_up=look_up)
    request = requests.Request(
        "GET", f"http://rebind.example.com:{trap.port}/"
    ).prepare()
    with pytest.raises(TransportError):
        transport.send(request, deadline=0.3, max_bytes=MiB)
    assert asked == ["rebind.example.com"]
    with pytest.raises(AddressRefused):
        transport.send(request, deadline=0.3, max_bytes=MiB)
    transport.close()
