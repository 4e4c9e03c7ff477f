"""Input images are looked at once, before anything is paid; what is wrong with them is told apart and written down."""

import hashlib
import logging
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pixmill.errors import PixmillError
from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.input_images import InputImage
from pixmill.planning.input_images import (
    GIVE_UP_AFTER,
    HOLDS_MICROS,
    PER_HOST,
    THREADS,
    UNREACHABLE,
    WINDOW,
    InputCounts,
    InputImageChecker,
)
from pixmill.planning.row_checks import REASONS
from pixmill.storage import FolderStore
from pixmill.storage.image_decoding import INPUT_BYTES, ImageError
from pixmill.storage.image_fetcher import INPUTS, ImageFetcher
from tests.faulty_server import (
    Behaviour,
    FaultyServer,
    Peer,
    answer,
    drip_body,
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
from tests.pixmill.sample_pictures import JPEG, NO_IMAGES, picture, png_of

CANARY = "canary-77c1"
PNG = picture("PNG")
HOSTS = {"images.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}


class Bench:
    """A store with its ledger; every check is that of another run. Pauses are noted and not waited for."""

    def __init__(self, store: Path) -> None:
        self.store = store
        opened = open_ledger(store / "ledger.db")
        assert opened
        self.ledger: Ledger = opened
        self.now = 1_000_000
        self.pauses: list[float] = []

    def images(self, deadline: float = 10) -> InputImageChecker:
        fetcher = ImageFetcher(
            INPUTS,
            allow_hosts=["127.0.0.1", *HOSTS],
            connections=THREADS,
            deadline=deadline,
            look_up=lambda host: HOSTS.get(host, [host]),
            sleep=self.pauses.append,
            jitter=lambda: 1.0,
        )
        return InputImageChecker(
            FolderStore(self.store), self.ledger, fetcher, now=lambda: self.now
        )

    def check(
        self, urls: Sequence[str], *, keep: bool = False, deadline: float = 10
    ) -> InputCounts:
        # Also where the check fails: connections that nobody closes are errors of later tests.
        with closing(self.images(deadline)) as images:
            return images.check_all(urls, keep=keep)

    def known(self, url: str) -> InputImage:
        return self.ledger.inputs([url])[url]

    @property
    def stored(self) -> list[str]:
        found = (self.store / "images").rglob("*")
        return sorted(
            str(path.relative_to(self.store)) for path in found if path.is_file()
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "store")
    yield made
    made.ledger.close()


def site(pages: Mapping[str, Behaviour]) -> Behaviour:
    """Serve each path by a behaviour of its own."""
    return lambda peer: pages[peer.request.split()[1].decode().partition("?")[0]](peer)


# One image.


@pytest.mark.parametrize(("data", "format"), [(JPEG, "JPEG"), (PNG, "PNG")])
def test_a_good_image_is_described_and_not_kept_unless_told_to(
    bench: Bench, data: bytes, format: str
) -> None:
    with FaultyServer(answer(data, headers={"Content-Type": "text/html"})) as server:
        assert bench.check([server.url]) == InputCounts(asked=1)
    digest = hashlib.sha256(data).hexdigest()
    expected = InputImage(
        server.url, bench.now, None, None, None, digest, 40, 30, format, len(data)
    )
    assert bench.known(server.url) == expected
    assert bench.stored == []


def blank(width: int, height: int) -> bytes:
    """A PNG of few bytes, whatever its size."""
    file = BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


BAD: dict[str, tuple[str, Behaviour]] = {
    "404": ("input_not_found", answer(JPEG, 404)),
    "410": ("input_not_found", answer(b"", 410)),
    "401": ("input_forbidden", answer(b"", 401)),
    "403": ("input_forbidden", answer(JPEG, 403)),
    "no content": ("input_forbidden", answer(b"", 204)),
    "redirect to no URL": ("input_forbidden", redirect("https://[/")),
    "page": (
        "input_type",
        answer(NO_IMAGES["html"], headers={"Content-Type": "image/jpeg"}),
    ),
    "empty": ("input_type", answer(b"")),
    "gif": (
        "input_type",
        answer(NO_IMAGES["gif"], headers={"Content-Type": "image/gif"}),
    ),
    "svg": ("input_type", answer(NO_IMAGES["svg"])),
    "webp": ("input_type", answer(picture("WEBP"))),
    "cut jpeg of the announced length": ("input_damaged", answer(JPEG[:-200])),
    "cut png of the announced length": ("input_damaged", answer(PNG[:-200])),
    "more bytes than allowed": ("input_too_large", answer(bytes(INPUT_BYTES + 1))),
    "more bytes without a length": (
        "input_too_large",
        hang_up(message(bytes(INPUT_BYTES + 1), length=-1)),
    ),
    "bytes without end": ("input_too_large", endless()),
    "chunks without end": ("input_too_large", endless_chunks()),
    "compressed bytes": ("input_too_large", gzip_bomb(INPUT_BYTES + 1)),
    "wide": ("input_dimensions", answer(blank(4097, 1400))),
    "bomb beyond the decoder's own limit": (
        "input_dimensions",
        answer(png_of(60_000, 60_000)),
    ),
    "bomb that the decoder warns of": (
        "input_dimensions",
        answer(png_of(10_000, 9_500)),
    ),
    "bomb below the decoder's limits": (
        "input_dimensions",
        answer(png_of(5_000, 5_000)),
    ),
    "long": ("input_ratio", answer(blank(100, 301))),
}


@pytest.mark.parametrize(("problem", "fault"), BAD.values(), ids=BAD.keys())
def test_a_bad_image_is_asked_for_once_and_its_problem_is_written_down(
    bench: Bench, problem: str, fault: Behaviour
) -> None:
    with FaultyServer(fault) as server:
        counts = bench.check([server.url], keep=True)
        assert len(server.requests) == 1
    assert (counts.asked, dict(counts.problems)) == (1, {problem: 1})
    known = bench.known(server.url)
    assert (known.problem, known.file_name, known.sha256) == (problem, None, None)
    assert known.detail
    assert problem in REASONS
    assert bench.stored == []
    assert bench.pauses == []


@pytest.mark.parametrize(
    "data",
    [blank(4096, 1366), blank(100, 300), JPEG + bytes(INPUT_BYTES - len(JPEG))],
    ids=["side", "ratio", "bytes"],
)
def test_an_image_at_the_limits_is_good(bench: Bench, data: bytes) -> None:
    with FaultyServer(answer(data)) as server:
        bench.check([server.url])
    assert bench.known(server.url).problem is None


PASSING: dict[str, Behaviour] = {
    "429": answer(b"", 429),
    "500": answer(b"", 500),
    "503": answer(JPEG, 503),
    "reset": reset(),
    "hang up": hang_up(),
    "short body": truncated(JPEG, 10),
    "no answer": stall(),
    "headers drip": drip_headers(),
    "body drips": drip_body(),
    "body without a length drips": drip_body(length=-1),
    "stall in the body": stall(message(JPEG)[:-10]),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_is_asked_for_twice_and_ends_at_the_deadline(
    bench: Bench, fault: Behaviour
) -> None:
    with FaultyServer(fault) as server:
        assert bench.check([server.url], deadline=0.3).problems == {UNREACHABLE: 1}
        assert len(server.requests) == 2
    assert bench.known(server.url).problem == UNREACHABLE
    assert UNREACHABLE in REASONS
    assert bench.pauses == [1.0]


@pytest.mark.parametrize("fault", [answer(b"", 503), reset(), truncated(JPEG, 10)])
def test_a_second_attempt_that_succeeds_is_a_good_answer(
    bench: Bench, fault: Behaviour
) -> None:
    with FaultyServer(fault, answer(JPEG)) as server:
        assert bench.check([server.url]).problems == {}
    assert bench.known(server.url).bytes == len(JPEG)


def test_a_refused_connection_is_unreachable(bench: Bench) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/a.jpg"
        assert bench.check([url]).problems == {UNREACHABLE: 1}
    assert "refused" in str(bench.known(url).detail)


# Addresses.


@pytest.fixture
def trap() -> Iterator[FaultyServer]:
    """A listener on loopback that must not be reached; it would answer with an image."""
    with FaultyServer(answer(JPEG)) as server:
        yield server
        assert server.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://2130706433:{port}/",
        "http://169.254.169.254/",
    ],
)
def test_a_redirect_inside_is_not_followed(
    bench: Bench, trap: FaultyServer, location: str
) -> None:
    with FaultyServer(redirect(location.format(port=trap.port))) as server:
        assert bench.check([server.url]).problems == {"input_address": 1}
    assert "input_address" in REASONS


def test_a_url_is_asked_for_as_it_is_written(bench: Bench) -> None:
    """A signature covers the text of the URL."""
    path = "/a%7E/b.image?x-signature=a%2Bb%2F%3D&c=%7E"
    with FaultyServer(answer(JPEG)) as server:
        bench.check([server.url + path])
    assert server.requests[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())


def test_a_redirect_to_an_image_is_followed(bench: Bench) -> None:
    with FaultyServer(redirect("/b"), redirect("c", 308), answer(JPEG)) as server:
        bench.check([f"{server.url}/a"])
        assert [request.split()[1] for request in server.requests] == [
            b"/a",
            b"/b",
            b"/c",
        ]
    assert bench.known(f"{server.url}/a").problem is None


def test_redirects_without_end_are_given_up(bench: Bench) -> None:
    with FaultyServer(redirect("/again")) as server:
        assert bench.check([server.url]).problems == {"input_forbidden": 1}
        assert len(server.requests) == 4


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_public_name_with_an_address_inside_is_not_connected_to(
    trap: FaultyServer, scheme: str
) -> None:
    fetcher = ImageFetcher(
        INPUTS, allow_hosts=["images.test"], look_up=lambda _: ["127.0.0.1"]
    )
    url = f"{scheme}://evil.example.com/a.jpg"
    with FaultyServer(redirect(url)) as server:
        for start in (url, f"http://images.test:{server.port}/"):
            with pytest.raises(ImageError, match="not a public address") as caught:
                fetcher.fetch(start)
            assert caught.value.problem == "address"
    fetcher.close()


def test_plain_http_is_asked_for_like_https(bench: Bench) -> None:
    """The provider fetches it too; nothing but the address decides."""
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        raise OSError("no such name")

    fetcher = ImageFetcher(
        INPUTS, allow_hosts=[], look_up=look_up, sleep=lambda _: None
    )
    for url in ("http://a.example.com/a.jpg", "https://b.example.com:80/a.jpg"):
        with pytest.raises(ImageError) as caught:
            fetcher.fetch(url)
        assert caught.value.problem == "unreachable"
    assert asked == ["a.example.com", "a.example.com", "b.example.com", "b.example.com"]
    fetcher.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.com:8080/a.jpg",
        "https://images.example.com:22/",
        "https://user:secret@images.example.com/",
        "http://127.0.0.1/",
        "http://localhost/",
        "ftp://images.example.com/",
        "file:///etc/passwd",
        "https://[/",
        "a.jpg",
    ],
)
def test_what_is_no_web_address_is_not_even_looked_up(url: str) -> None:
    def look_up(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    fetcher = ImageFetcher(INPUTS, allow_hosts=[], look_up=look_up)
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    assert caught.value.problem == "address"
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    fetcher.close()


# Answers that hold.


def test_a_good_answer_holds_for_ever(bench: Bench) -> None:
    with FaultyServer(answer(JPEG)) as server:
        bench.check([server.url])
        bench.now += 400 * HOLDS_MICROS
        assert bench.check([server.url]) == InputCounts(known=1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault", [answer(b"", 404), answer(NO_IMAGES["gif"]), answer(b"", 403)]
)
def test_a_definite_no_holds_for_a_day(bench: Bench, fault: Behaviour) -> None:
    with FaultyServer(fault, answer(JPEG)) as server:
        bench.check([server.url])
        bench.now += HOLDS_MICROS - 1
        assert bench.check([server.url]) == InputCounts(known=1)
        bench.now += 1
        assert bench.check([server.url]) == InputCounts(asked=1)
    assert bench.known(server.url).problem is None


def test_what_was_unreachable_is_asked_for_by_the_next_check(bench: Bench) -> None:
    with FaultyServer(answer(b"", 503), answer(b"", 503), answer(JPEG)) as server:
        bench.check([server.url])
        assert bench.known(server.url).problem == UNREACHABLE
        assert bench.check([server.url]) == InputCounts(asked=1)
    assert bench.known(server.url)[2:4] == (None, None)


# Keeping.


def test_equal_images_of_two_urls_are_stored_once(bench: Bench) -> None:
    with FaultyServer(answer(JPEG)) as server:
        urls = [f"{server.url}/a", f"{server.url}/b"]
        bench.check(urls, keep=True)
    digest = hashlib.sha256(JPEG).hexdigest()
    assert bench.stored == [f"images/{digest[:2]}/{digest}.jpg"]
    assert [bench.known(url).file_name for url in urls] == bench.stored * 2
    assert (bench.store / bench.stored[0]).read_bytes() == JPEG


def test_an_image_that_was_checked_is_fetched_again_to_be_kept_and_then_no_more(
    bench: Bench,
) -> None:
    with FaultyServer(answer(PNG)) as server:
        bench.check([server.url])
        assert bench.check([server.url], keep=True) == InputCounts(asked=1)
        assert bench.check([server.url], keep=True) == InputCounts(known=1)
        assert bench.check([server.url]) == InputCounts(known=1)
        assert len(server.requests) == 2
    assert bench.stored == [bench.known(server.url).file_name]


def test_a_kept_image_that_is_gone_from_the_store_is_fetched_again(
    bench: Bench,
) -> None:
    with FaultyServer(answer(JPEG)) as server:
        bench.check([server.url], keep=True)
        (bench.store / bench.stored[0]).unlink()
        assert bench.check([server.url], keep=True) == InputCounts(asked=1)
    assert bench.stored == [bench.known(server.url).file_name]


def test_a_store_that_takes_no_images_ends_the_check(bench: Bench) -> None:
    (bench.store / "images").write_bytes(b"")
    with FaultyServer(answer(JPEG)) as server:
        with pytest.raises(PixmillError, match="can't be stored"):
            bench.check([server.url], keep=True)
        assert bench.ledger.inputs([server.url]) == {}


# Many images.


def test_every_url_is_asked_for_once_and_progress_counts_up(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    with FaultyServer(
        site({"/good": answer(JPEG), "/gone": answer(b"", 404)})
    ) as server:
        urls = [
            f"{server.url}/{'gone' if number % 3 == 0 else 'good'}?{number}"
            for number in range(120)
        ]
        bench.check(urls[:20])
        images = bench.images()
        counts = images.check_all(
            iter(urls),
            keep=False,
            on_progress=lambda now: seen.append(
                (now.asked, now.problems["input_not_found"])
            ),
        )
        images.close()
        assert sorted(request.split()[1] for request in server.requests) == sorted(
            url.removeprefix(server.url).encode() for url in urls
        )
    assert counts == InputCounts(known=20, asked=100, problems=counts.problems)
    assert dict(counts.problems) == {"input_not_found": 33}
    assert [asked for asked, _ in seen] == list(range(1, 101))
    assert seen[-1] == (100, 33)
    assert (
        sum(image.problem is not None for image in bench.ledger.inputs(urls).values())
        == 40
    )


class Crowd:
    """Answers when `together` requests are there at once, and notes how many of each host ever were."""

    def __init__(self, together: int) -> None:
        self.barrier = threading.Barrier(together)
        self.lock = threading.Lock()
        self.here: dict[bytes, int] = {}
        self.most: dict[bytes, int] = {}

    def __call__(self, peer: Peer) -> None:
        host = next(
            line
            for line in peer.request.split(b"\r\n")
            if line.lower().startswith(b"host:")
        )
        with self.lock:
            self.here[host] = self.here.get(host, 0) + 1
            self.most[host] = max(self.most.get(host, 0), self.here[host])
        self.barrier.wait(30)
        with self.lock:
            self.here[host] -= 1
        peer.send(message(JPEG))


def test_no_host_gets_more_than_its_share_at_once_and_another_does_not_wait_for_it(
    bench: Bench,
) -> None:
    crowd = Crowd(2 * PER_HOST)
    with FaultyServer(crowd) as server:
        urls = [
            f"http://{host}:{server.port}/{number}"
            for host in HOSTS
            for number in range(3 * PER_HOST)
        ]
        assert bench.check(urls).asked == len(urls)
    assert set(crowd.most.values()) == {PER_HOST}
    assert len(crowd.most) == 2


def test_a_host_that_gives_nothing_is_left_alone_until_the_next_check(
    bench: Bench,
) -> None:
    with FaultyServer(
        site({"/dead": answer(b"", 503), "/good": answer(JPEG)})
    ) as server:
        dead = [
            f"http://images.test:{server.port}/dead?{number}" for number in range(100)
        ]
        good = [
            f"http://other.test:{server.port}/good?{number}" for number in range(100)
        ]
        assert bench.check([*dead, *good]) == InputCounts(
            asked=200, problems=Counter({UNREACHABLE: 100})
        )
        asked = sum(b" /dead" in request for request in server.requests)
        assert 2 * GIVE_UP_AFTER <= asked < 2 * (GIVE_UP_AFTER + PER_HOST)
        assert bench.check([*dead, *good]).asked == 100
        assert (
            sum(b" /dead" in request for request in server.requests)
            >= asked + 2 * GIVE_UP_AFTER
        )


@pytest.mark.parametrize(
    "other", [answer(JPEG), answer(b"", 404)], ids=["good", "gone"]
)
def test_a_host_that_fails_now_and_then_is_asked_for_every_image(
    bench: Bench, other: Behaviour
) -> None:
    with FaultyServer(site({"/dead": answer(b"", 503), "/other": other})) as server:
        bench.check(
            [
                f"{server.url}/{name}?{number}"
                for number in range(40)
                for name in ("dead", "other")
            ]
        )
        assert len(server.requests) == 2 * 40 + 40


def test_urls_are_taken_as_they_are_needed(bench: Bench) -> None:
    """A table of any length is checked in the same memory."""
    taken = 0

    def urls(server: FaultyServer) -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 100 * WINDOW):
            yield f"{server.url}/{taken}"

    images = bench.images()
    with FaultyServer(answer(JPEG)) as server:
        images.check_all(
            urls(server), keep=False, on_progress=lambda _: images.cancel()
        )
    images.close()
    assert taken <= 3 * WINDOW


def cancel_after(
    images: InputImageChecker, number: int
) -> Callable[[InputCounts], None]:
    return lambda counts: images.cancel() if counts.asked >= number else None


def test_a_check_that_was_interrupted_keeps_what_was_answered(bench: Bench) -> None:
    with FaultyServer(answer(JPEG)) as server:
        urls = [f"{server.url}/{number}" for number in range(200)]
        images = bench.images()
        first = images.check_all(urls, keep=False, on_progress=cancel_after(images, 50))
        images.close()
        assert 50 <= first.asked < 50 + THREADS
        assert len(bench.ledger.inputs(urls)) == len(server.requests) == first.asked
        assert bench.check(urls) == InputCounts(
            known=first.asked, asked=200 - first.asked
        )
        assert len(server.requests) == 200


def test_a_cancelled_check_asks_for_nothing(bench: Bench) -> None:
    images = bench.images()
    images.cancel()
    assert (
        images.check_all(["https://images.example.com/a.jpg"], keep=True)
        == InputCounts()
    )
    images.close()


def test_log_lines_of_a_check_belong_to_the_run_that_called_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    run: ContextVar[str] = ContextVar("run")
    runs: list[str | None] = []
    caplog.handler.addFilter(lambda _: runs.append(run.get(None)) or True)
    with caplog.at_level(logging.INFO), FaultyServer(answer(b"", 404)) as server:
        run.set("run-1")
        bench.check([server.url])
    assert runs == ["run-1"]


# Secrets.


def test_no_query_and_no_byte_of_an_answer_reaches_a_message_or_a_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    page = f"<p>{CANARY}".encode()
    leaky = [
        answer(page, status, {"X-Note": CANARY}) for status in (200, 403, 404, 500)
    ]
    faults = [
        *leaky,
        *(fault for _, fault in BAD.values()),
        redirect(f"http://10.0.0.1/?{CANARY}"),
        redirect(f"https://user:{CANARY}@example.com/"),
        stall(message(page, length=100)),
    ]
    with caplog.at_level(logging.DEBUG):
        for fault in faults:
            with FaultyServer(fault) as server:
                url = f"{server.url}/cats/a.jpg?x-signature={CANARY}#{CANARY}"
                bench.check([url], keep=True, deadline=0.3)
            assert CANARY not in str(bench.known(url)._replace(url=""))
    assert CANARY not in caplog.text
    assert "input image 127.0.0.1/cats/a.jpg: input_not_found" in caplog.text
