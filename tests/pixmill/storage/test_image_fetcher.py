"""Images from hostile places: fetched in time or given up, proved complete, stored once; never from inside."""

import hashlib
import logging
import re
import shutil
import subprocess
import sys
import traceback
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixmill.storage.image_decoding import ImageError
from pixmill.storage.image_fetcher import (
    OUTPUTS,
    ImageFetcher,
    ImageGone,
    url_expiry,
)
from pixmill.storage.image_store import ImageFile, ImageStore
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
from tests.pixmill.sample_pictures import JPEG, NO_IMAGES, SVG, picture

CANARY = "canary-77c1"
MiB = 1 << 20


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


# The store.


@pytest.mark.parametrize(
    ("format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")]
)
def test_an_image_is_stored_under_its_hash_and_its_true_format(
    tmp_path: Path, format: str, suffix: str
) -> None:
    """F5: no name or type from outside has a say."""
    data = picture(format)
    digest = hashlib.sha256(data).hexdigest()
    store = ImageStore(tmp_path)
    saved = store.save(data)
    assert saved == ImageFile(
        f"images/{digest[:2]}/{digest}.{suffix}", digest, 40, 30, format, len(data)
    )
    assert (tmp_path / saved.file_name).read_bytes() == data
    assert (tmp_path / saved.file_name).stat().st_mode & 0o777 == 0o644
    assert files_in(tmp_path) == [saved.file_name]


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
def test_a_symlink_at_the_target_is_replaced_and_never_followed(
    tmp_path: Path, content: bytes
) -> None:
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
from pixmill.storage.image_store import ImageStore
ImageStore(Path({str(tmp_path)!r})).save(Path({str(tmp_path / "picture")!r}).read_bytes())
"""
    trace = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=fsync,rename",
        sys.executable,
        "-c",
        code,
    ]
    lines = subprocess.run(
        trace, capture_output=True, text=True, check=True
    ).stderr.splitlines()
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
        assert (
            hashlib.sha256((tmp_path / file.file_name).read_bytes()).hexdigest()
            == file.sha256
        )


def files_in(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


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
    made = ImageFetcher(
        allow_hosts=["127.0.0.1"],
        deadline=10,
        sleep=clock.pauses.append,
        jitter=lambda: 1.0,
    )
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
    assert (saved.width, saved.height, saved.format, saved.bytes) == (
        40,
        30,
        "JPEG",
        len(JPEG),
    )
    assert (tmp_path / saved.file_name).read_bytes() == JPEG


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_url_is_gone_at_once(
    fetcher: ImageFetcher, clock: Clock, status: int
) -> None:
    """F1."""
    with FaultyServer(answer(b"expired", status)) as server:
        with pytest.raises(ImageGone, match=rf"^127\.0\.0\.1: its answer is {status}$"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 1
    assert clock.pauses == []


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 405])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    fetcher: ImageFetcher, status: int
) -> None:
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
    "408": answer(b"", 408),
    "425": answer(b"", 425),
    "429": answer(b"", 429),
    "500": answer(b"", 500),
    "503": answer(JPEG, 503),
    "bomb": gzip_bomb(31_000_000),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_is_asked_for_again_after_a_pause(
    fetcher: ImageFetcher, clock: Clock, fault: Behaviour
) -> None:
    """F3, F4, F9, D7."""
    with FaultyServer(fault, fault, answer(JPEG)) as server:
        assert fetcher.fetch(server.url) == JPEG
        assert len(server.requests) == 3
    assert clock.pauses == [1.0, 2.0]


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_after_three_attempts_the_error_names_host_and_reason(
    fetcher: ImageFetcher, fault: Behaviour
) -> None:
    """F3, F4."""
    with FaultyServer(fault) as server:
        with pytest.raises(
            ImageError, match=r"^127\.0\.0\.1(:\d+)?: .+ \(3 attempts\)$"
        ):
            fetcher.fetch(server.url)
        assert len(server.requests) == 3


def test_pauses_have_full_jitter(clock: Clock) -> None:
    draws = iter([0.0, 0.25])
    fetcher = ImageFetcher(
        allow_hosts=["127.0.0.1"], sleep=clock.pauses.append, jitter=lambda: next(draws)
    )
    with FaultyServer(answer(b"", 500)) as server, pytest.raises(ImageError):
        fetcher.fetch(server.url)
    fetcher.close()
    assert clock.pauses == [0.0, 0.5]


def test_an_endless_body_is_cut_off_at_the_cap(clock: Clock) -> None:
    """F7."""
    policy = OUTPUTS._replace(max_bytes=30_000_000)
    fetcher = ImageFetcher(policy, allow_hosts=["127.0.0.1"], sleep=clock.pauses.append)
    tracemalloc.start()
    with (
        FaultyServer(endless(length=-1)) as server,
        closing(fetcher),
        pytest.raises(ImageError, match="larger than 30,000,000 bytes"),
    ):
        fetcher.fetch(server.url)
    assert tracemalloc.get_traced_memory()[1] < 80 * MiB
    tracemalloc.stop()


@pytest.mark.parametrize(
    "fault", [drip_body(), drip_body(length=-1), stall(message(JPEG)[:-10]), stall()]
)
def test_a_slow_body_ends_at_the_deadline_of_each_attempt(
    clock: Clock, fault: Behaviour
) -> None:
    """F8, D5, D6."""
    fetcher = ImageFetcher(
        allow_hosts=["127.0.0.1"], deadline=0.2, sleep=clock.pauses.append
    )
    with (
        FaultyServer(fault) as server,
        pytest.raises(ImageError, match="not finished within"),
    ):
        fetcher.fetch(server.url)
    assert len(clock.pauses) == 2
    fetcher.close()


def test_no_signed_query_reaches_a_message_or_a_log(
    fetcher: ImageFetcher, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [
        *PASSING.values(),
        answer(b"", 403),
        answer(b"", 400),
        redirect(f"http://10.0.0.1/?{CANARY}"),
    ]
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


def test_a_redirect_to_what_is_no_url_is_an_error(fetcher: ImageFetcher) -> None:
    with (
        FaultyServer(redirect("https://[/")) as server,
        pytest.raises(ImageError, match="not a valid URL"),
    ):
        fetcher.fetch(server.url)


def test_three_redirects_are_followed_and_a_fourth_is_not(
    fetcher: ImageFetcher,
) -> None:
    with FaultyServer(
        redirect("/b"), redirect("c"), redirect("?d", 308), answer(JPEG)
    ) as server:
        assert fetcher.fetch(f"{server.url}/a/") == JPEG
        assert [request.split()[1] for request in server.requests] == [
            b"/a/",
            b"/b",
            b"/c",
            b"/c?d",
        ]
    with FaultyServer(redirect("/again")) as server:
        with pytest.raises(ImageError, match="more than 3 redirects"):
            fetcher.fetch(server.url)
        assert len(server.requests) == 4
