"""Images from hostile places: fetched in time or given up, proved complete, stored once; never from inside."""

import hashlib
import io
import logging
import re
import shutil
import struct
import subprocess
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from PIL import Image

from pixmill.addresses import AddressRefused, check_public, literal_address
from pixmill.errors import TransportError
from pixmill.images import (
    ImageError,
    ImageFetcher,
    ImageFile,
    ImageGone,
    ImageStore,
    inspect,
    local_image_problem,
    url_expiry,
)
from pixmill.transport import Transport
from tests.faulty_server import (
    Behaviour,
    FaultyServer,
    answer,
    drip_body,
    endless,
    gzip_bomb,
    hang_up,
    message,
    redirect,
    reset,
    stall,
    truncated,
)

CANARY = "canary-77c1"
MiB = 1 << 20


def picture(format: str = "JPEG", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, format, **options)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises much more than its few bytes of pixels hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


JPEG = picture()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
NO_IMAGES = {
    "empty": b"",
    "html": b"<!doctype html><title>Sign in</title>",
    "json": b'{"code":50500,"message":"Internal Error"}',
    "svg": SVG,
    "gif": picture("GIF"),
    "bmp": picture("BMP"),
    "tiff": picture("TIFF"),
    "fits": b"SIMPLE  =                    T".ljust(2880),
    "zeros": bytes(1000),
    "pdf": b"%PDF-1.7\n",
    "jpeg magic only": b"\xff\xd8\xff\xe0",
}


# What an image is.


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_a_complete_image_tells_its_shape_and_any_cut_is_seen(format: str, options: dict[str, object]) -> None:
    """F3."""
    data = picture(format, **options)
    assert inspect(data) == (40, 30, format)
    for length in range(len(data)):
        with pytest.raises(ImageError):
            pytest.fail(f"{length} of {len(data)} bytes passed: {inspect(data[:length])}")


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_only_jpeg_png_and_webp_are_images(data: bytes) -> None:
    """F4, F6, F9."""
    with pytest.raises(ImageError):
        inspect(data)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_000, 10_000), (7_100, 7_100), (100_000, 501)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """F6: 2.5 gigapixels would be 10 GB in memory."""
    tracemalloc.start()
    with pytest.raises(ImageError, match="more than 50,000,000"):
        inspect(png_of(width, height))
    assert tracemalloc.get_traced_memory()[1] < 5 * MiB
    tracemalloc.stop()


def test_a_large_image_of_few_bytes_is_fine_below_the_cap() -> None:
    file = io.BytesIO()
    Image.new("1", (7_000, 7_000)).save(file, "PNG")
    assert inspect(file.getvalue()) == (7_000, 7_000, "PNG")


def test_too_many_bytes_are_refused_before_decoding() -> None:
    with pytest.raises(ImageError, match="30,000,001 bytes"):
        inspect(JPEG + bytes(30_000_001 - len(JPEG)))


def test_a_jpeg_with_further_pictures_is_a_jpeg() -> None:
    """Phones write them; Pillow calls that format MPO."""
    file = io.BytesIO()
    first, second = (Image.effect_noise((40, 30), 80).convert("RGB") for _ in range(2))
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert inspect(file.getvalue()) == (40, 30, "JPEG")


@pytest.mark.parametrize(
    ("url", "expiry"),
    [
        (
            "https://p9.example.com/a.image?rk3s=1&x-expires=1767225600&x-signature=a%3D",
            datetime(2026, 1, 1, tzinfo=UTC),
        ),
        ("https://p9.example.com/a.image?x-expires=soon", None),
        ("https://p9.example.com/a.image?x-expires=" + "9" * 30, None),
        ("https://p9.example.com/a.image?x-expires=", None),
        ("https://p9.example.com/a.image", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_a_signed_url_says_when_it_dies(url: str, expiry: datetime | None) -> None:
    assert url_expiry(url) == expiry


# Local input images.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG, None),
        (picture("PNG"), None),
        (picture("PNG", (300, 100)), None),
        (picture("PNG", (301, 100)), "image_file_ratio"),
        (picture("PNG", (100, 301)), "image_file_ratio"),
        (png_of(4096, 4096), None),
        (png_of(4097, 4096), "image_file_dimensions"),
        (png_of(50_000, 50_000), "image_file_dimensions"),
        (picture("WEBP"), "image_file_format"),
        (SVG, "image_file_format"),
        (b"", "image_file_format"),
        (JPEG + bytes(4_700_000 - len(JPEG)), None),
        (JPEG + bytes(4_700_001 - len(JPEG)), "image_file_too_large"),
    ],
)
def test_a_local_image_has_to_be_one_that_the_provider_takes(tmp_path: Path, data: bytes, reason: str | None) -> None:
    """F11."""
    (tmp_path / "input.png").write_bytes(data)
    assert local_image_problem(tmp_path / "input.png") == reason


@pytest.mark.parametrize("name", ["absent.png", "", "x" * 300, "no\0name", "input.png/more"])
def test_a_local_image_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "input.png").write_bytes(JPEG)
    assert local_image_problem(tmp_path / name) == "image_file_missing"


# The store.


@pytest.mark.parametrize(("format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_an_image_is_stored_under_its_hash_and_its_true_format(tmp_path: Path, format: str, suffix: str) -> None:
    """F5: no name or type from outside has a say."""
    data = picture(format)
    digest = hashlib.sha256(data).hexdigest()
    store = ImageStore(tmp_path)
    saved = store.save(data)
    assert saved == ImageFile(f"images/{digest[:2]}/{digest}.{suffix}", digest, 40, 30, format, len(data))
    assert (tmp_path / saved.file_name).read_bytes() == data
    assert (tmp_path / saved.file_name).stat().st_mode & 0o777 == 0o644
    assert files_in(tmp_path) == [saved.file_name]
    assert store.exists(saved.file_name)
    assert not store.exists("images/00/absent.jpg")


def test_equal_images_are_one_file_that_is_written_once(tmp_path: Path) -> None:
    """F10."""
    store = ImageStore(tmp_path)
    first = store.save(JPEG)
    before = (tmp_path / first.file_name).stat()
    assert store.save(bytes(JPEG)) == first
    after = (tmp_path / first.file_name).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", [b"", JPEG[:-1], JPEG[:-1] + b"\0", JPEG + b"x"])
def test_a_damaged_file_is_replaced(tmp_path: Path, damage: bytes) -> None:
    """F3, B9."""
    store = ImageStore(tmp_path)
    path = tmp_path / store.save(JPEG).file_name
    path.write_bytes(damage)
    store.save(JPEG)
    assert path.read_bytes() == JPEG


@pytest.mark.parametrize("content", [b"mine", JPEG])
def test_a_symlink_at_the_target_is_replaced_and_never_followed(tmp_path: Path, content: bytes) -> None:
    """4.4: a link to the right bytes would let its owner change them later."""
    victim = tmp_path / "victim"
    store = ImageStore(tmp_path / "store")
    path = tmp_path / "store" / store.save(JPEG).file_name
    path.unlink()
    path.symlink_to(victim)
    victim.write_bytes(content)
    store.save(JPEG)
    assert not path.is_symlink()
    assert path.read_bytes() == JPEG
    assert victim.read_bytes() == content


def test_what_is_no_image_leaves_no_trace(tmp_path: Path) -> None:
    """F4, F9."""
    for data in NO_IMAGES.values():
        with pytest.raises(ImageError):
            ImageStore(tmp_path).save(data)
    assert files_in(tmp_path) == []


def test_a_write_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    """B2: here the name is taken by a folder."""
    store = ImageStore(tmp_path)
    path = tmp_path / store.save(JPEG).file_name
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        store.save(JPEG)
    assert files_in(tmp_path) == []


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_stored_image_survives_a_power_loss(tmp_path: Path) -> None:
    """B2: its bytes are on the disk before its name is, and its name and folders before `save` returns."""
    (tmp_path / "picture").write_bytes(JPEG)
    code = f"""
from pathlib import Path
from pixmill.images import ImageStore
ImageStore(Path({str(tmp_path)!r})).save(Path({str(tmp_path / "picture")!r}).read_bytes())
"""
    trace = ["strace", "-f", "-y", "-e", "trace=fsync,rename", sys.executable, "-c", code]
    lines = subprocess.run(trace, capture_output=True, text=True, check=True).stderr.splitlines()
    calls = [line for line in lines if str(tmp_path) in line]
    folder = re.escape(f"<{tmp_path}/images/{hashlib.sha256(JPEG).hexdigest()[:2]}")
    expected = [
        rf"fsync\(\d+<{re.escape(str(tmp_path))}/images>",
        rf"fsync\(\d+<{re.escape(str(tmp_path))}>",
        rf"fsync\(\d+{folder}/\.\w+\.part>",
        r"rename\(",
        rf"fsync\(\d+{folder}>",
    ]
    assert len(calls) == len(expected)
    for call, pattern in zip(calls, expected, strict=True):
        assert re.search(pattern, call)


def test_threads_can_store_the_same_images_at_once(tmp_path: Path) -> None:
    pictures = [picture() for _ in range(4)] * 8
    with ThreadPoolExecutor(8) as pool:
        saved = set(pool.map(ImageStore(tmp_path).save, pictures))
    assert files_in(tmp_path) == sorted(file.file_name for file in saved)
    assert len(saved) == 4
    for file in saved:
        assert hashlib.sha256((tmp_path / file.file_name).read_bytes()).hexdigest() == file.sha256


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Fetching.


class Clock:
    """The pauses that a fetcher asked for, none of which is waited for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fetcher(clock: Clock) -> Iterator[ImageFetcher]:
    """A fetcher that may fetch from the test's server; every pause has its greatest length."""
    made = ImageFetcher(allow_hosts=["127.0.0.1"], deadline=10, sleep=clock.pauses.append, jitter=lambda: 1.0)
    yield made
    made.close()


def test_an_image_is_fetched_by_its_url_as_it_is_written(fetcher: ImageFetcher) -> None:
    """A signature covers the text of the URL; compression would be lost on images and invites bombs."""
    path = "/tos-cn-i-a1/2025~tplv-x.image?rk3s=8e&x-expires=1767225600&x-signature=a%2Bb%2F%3D&c=%7E"
    with FaultyServer(answer(JPEG)) as server:
        assert fetcher.fetch(server.url + path) == JPEG
    head = server.requests[0]
    assert head.startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert b"Accept-Encoding: identity\r\n" in head
    assert b"Authorization" not in head


def test_a_url_in_any_script_is_fetched(fetcher: ImageFetcher) -> None:
    with FaultyServer(answer(JPEG)) as server:
        assert fetcher.fetch(f"{server.url}/画像.jpg") == JPEG
    assert server.requests[0].startswith(b"GET /%E7%94%BB%E5%83%8F.jpg HTTP/1.1\r\n")


def test_what_was_fetched_is_stored_by_its_content_whatever_its_type_says(
    fetcher: ImageFetcher, tmp_path: Path
) -> None:
    """F5."""
    with FaultyServer(answer(JPEG, headers={"Content-Type": "text/html"})) as server:
        saved = ImageStore(tmp_path).save(fetcher.fetch(server.url))
    assert (saved.width, saved.height, saved.format, saved.bytes) == (40, 30, "JPEG", len(JPEG))
    assert (tmp_path / saved.file_name).read_bytes() == JPEG


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_url_is_gone_at_once(fetcher: ImageFetcher, clock: Clock, status: int) -> None:
    """F1."""
    with FaultyServer(answer(b"expired", status)) as server:
        with pytest.raises(ImageGone, match=rf"^127\.0\.0\.1: its answer is {status}$"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 1
    assert clock.pauses == []


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 405])
def test_an_answer_that_will_not_change_is_not_asked_for_again(fetcher: ImageFetcher, status: int) -> None:
    with FaultyServer(answer(b"" if status in (204, 304) else JPEG, status)) as server:
        with pytest.raises(ImageError, match=f"its answer is {status}$"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 1


PASSING: dict[str, Behaviour] = {
    "short body": truncated(JPEG, 10),
    "cut body of the announced length": answer(JPEG[:-10]),
    "empty body": answer(b""),
    "page": answer(NO_IMAGES["html"], headers={"Content-Type": "image/jpeg"}),
    "error as json": answer(NO_IMAGES["json"]),
    "svg": answer(SVG, headers={"Content-Type": "image/svg+xml"}),
    "reset": reset(),
    "reset in the body": reset(message(JPEG)[:-10]),
    "hang up": hang_up(),
    "429": answer(b"", 429),
    "500": answer(b"", 500),
    "503": answer(JPEG, 503),
    "bomb": gzip_bomb(31_000_000),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_is_asked_for_again_after_a_pause(fetcher: ImageFetcher, clock: Clock, fault: Behaviour) -> None:
    """F3, F4, F9, D7."""
    with FaultyServer(fault, fault, answer(JPEG)) as server:
        assert fetcher.fetch(server.url) == JPEG
        assert len(server.requests) == 3
    assert clock.pauses == [1.0, 2.0]


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_after_three_attempts_the_error_names_host_and_reason(fetcher: ImageFetcher, fault: Behaviour) -> None:
    """F3, F4."""
    with FaultyServer(fault) as server:
        with pytest.raises(ImageError, match=r"^127\.0\.0\.1(:\d+)?: .+ \(3 attempts\)$"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 3


def test_pauses_have_full_jitter(clock: Clock) -> None:
    draws = iter([0.0, 0.25])
    fetcher = ImageFetcher(allow_hosts=["127.0.0.1"], sleep=clock.pauses.append, jitter=lambda: next(draws))
    with FaultyServer(answer(b"", 500)) as server, pytest.raises(ImageError):
        fetcher.fetch(server.url)
    fetcher.close()
    assert clock.pauses == [0.0, 0.5]


def test_an_endless_body_is_cut_off_at_the_cap(fetcher: ImageFetcher) -> None:
    """F7."""
    tracemalloc.start()
    with FaultyServer(endless(length=-1)) as server, pytest.raises(ImageError, match="larger than 30,000,000 bytes"):
        fetcher.fetch(server.url)
    assert tracemalloc.get_traced_memory()[1] < 80 * MiB
    tracemalloc.stop()


@pytest.mark.parametrize("fault", [drip_body(), drip_body(length=-1), stall(message(JPEG)[:-10]), stall()])
def test_a_slow_body_ends_at_the_deadline_of_each_attempt(clock: Clock, fault: Behaviour) -> None:
    """F8, D5, D6."""
    fetcher = ImageFetcher(allow_hosts=["127.0.0.1"], deadline=0.2, sleep=clock.pauses.append)
    with FaultyServer(fault) as server:
        began = time.monotonic()
        with pytest.raises(ImageError, match="not finished within"):
            fetcher.fetch(server.url)
        assert time.monotonic() - began < 3 * 1.2
    assert len(clock.pauses) == 2
    fetcher.close()


def test_no_signed_query_reaches_a_message_or_a_log(fetcher: ImageFetcher, caplog: pytest.LogCaptureFixture) -> None:
    faults = [*PASSING.values(), answer(b"", 403), answer(b"", 400), redirect(f"http://10.0.0.1/?{CANARY}")]
    with caplog.at_level(logging.DEBUG):
        for fault in faults:
            with FaultyServer(fault) as server, pytest.raises(ImageError) as caught:
                fetcher.fetch(f"{server.url}/a.image?x-signature={CANARY}")
            assert CANARY not in "".join(traceback.format_exception(caught.value))
        for url in (
            f"ftp://example.com/?{CANARY}",
            f"https://[/{CANARY}",
            f"https://user:{CANARY}@example.com/",
            CANARY,
        ):
            with pytest.raises(ImageError) as caught:
                fetcher.fetch(url)
            assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in caplog.text


# Redirects, and everything that must not be reached.


def test_a_redirect_to_what_is_no_url_is_an_error(fetcher: ImageFetcher) -> None:
    with FaultyServer(redirect("https://[/")) as server, pytest.raises(ImageError, match="no URL"):
        fetcher.fetch(server.url)


def test_three_redirects_are_followed_and_a_fourth_is_not(fetcher: ImageFetcher) -> None:
    with FaultyServer(redirect("/b"), redirect("c"), redirect("?d", 308), answer(JPEG)) as server:
        assert fetcher.fetch(f"{server.url}/a/") == JPEG
        assert [request.split()[1] for request in server.requests] == [b"/a/", b"/b", b"/c", b"/c?d"]
    with FaultyServer(redirect("/again")) as server:
        with pytest.raises(ImageError, match="more than 3 redirects"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 4


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


@pytest.mark.parametrize("allowed", ["127.0.0.2", "localhost", "127.0.0.1.example.com", "0.0.1"])
def test_an_allowed_host_opens_no_other(trap: FaultyServer, allowed: str) -> None:
    fetcher = ImageFetcher(allow_hosts=[allowed])
    with pytest.raises(ImageError, match="private_address"):
        fetcher.fetch(trap.url)
    fetcher.close()


def test_an_allowed_host_may_not_redirect_elsewhere_inside(trap: FaultyServer) -> None:
    fetcher = ImageFetcher(allow_hosts=["images.test"], look_up=lambda _: ["127.0.0.1"])
    with FaultyServer(redirect(trap.url)) as server, pytest.raises(ImageError, match="private_address"):
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
def test_no_disguise_is_fetched_directly_or_through_a_redirect(host: str, trap: FaultyServer) -> None:
    """4.3, by what the URL says."""
    fetcher = ImageFetcher(allow_hosts=["images.test"], look_up=lambda _: ["127.0.0.1"], sleep=lambda _: None)
    for url in (f"https://{host}:443/a.jpg", f"https://{host}:{trap.port}/a.jpg", f"http://{host}:{trap.port}/"):
        with pytest.raises(ImageError, match=NOT_FETCHED):
            fetcher.fetch(url)
        if host.isascii():
            with FaultyServer(redirect(url)) as server:
                with pytest.raises(ImageError, match=NOT_FETCHED):
                    fetcher.fetch(f"http://images.test:{server.port}/")
                assert len(server.requests) == 1
    fetcher.close()


@pytest.mark.parametrize(
    "host", [host for host in HOSTS if literal_address(host) or host.lower() == "localhost"], ids=ascii
)
def test_no_disguise_passes_the_check_at_the_connection(host: str, trap: FaultyServer) -> None:
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

    fetcher = ImageFetcher(allow_hosts=["images.test"], look_up=look_up, sleep=lambda _: None)
    with FaultyServer(redirect("https://evil.example.com/a.jpg")) as server:
        url = f"http://images.test:{server.port}/" if redirected else "https://evil.example.com/a.jpg"
        with pytest.raises(ImageError, match=r"is not a public address|it has no address"):
            fetcher.fetch(url)
    fetcher.close()


def test_a_name_whose_second_answer_leads_inside_is_asked_once_for_each_connection(trap: FaultyServer) -> None:
    """4.3: between check and connection nobody is asked again (DNS rebinding)."""
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.9"] if len(asked) == 1 else ["127.0.0.1"]

    def check(address: str) -> None:
        if address != "127.0.0.9":  # stands for a public address, at which nothing answers
            raise AddressRefused(f"{address} is not a public address")

    transport = Transport(connections=1, check_address=check, look_up=look_up)
    request = requests.Request("GET", f"http://rebind.example.com:{trap.port}/").prepare()
    with pytest.raises(TransportError):
        transport.send(request, deadline=0.3, max_bytes=MiB)
    assert asked == ["rebind.example.com"]
    with pytest.raises(AddressRefused):
        transport.send(request, deadline=0.3, max_bytes=MiB)
    transport.close()
