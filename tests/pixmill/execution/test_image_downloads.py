"""Bringing images home: how many at a time, what is in memory meanwhile, and images that no URL leads to."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.execution import image_downloads as module
from pixmill.execution.bug_limit import MOST_BUGS
from pixmill.execution.image_downloads import THREADS, Downloads
from pixmill.execution.stop_signal import StopSignal
from pixmill.ledger import Ledger, MissingImages, State, open_ledger
from pixmill.storage import FolderStore
from pixmill.storage.image_decoding import ImageError
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.datasets.publishing import edit_ledger
from tests.pixmill.run_checks import ledger as asked
from tests.pixmill.sample_pictures import picture

FAR = 4_000_000_000_000_000
JOBS = 4


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    """A project whose jobs are paid for, by URL, without their images."""
    project.write_rows(project.rows(JOBS))
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    run_config(project.path)
    return project


@pytest.fixture
def ledger(paid: Project) -> Iterator[Ledger]:
    opened = open_ledger(load_config(paid.path).ledger_address)
    assert opened
    yield opened
    opened.close()


class Album:
    """Stands in for the fetcher: a picture for every URL, each of which counts as long as it is in memory."""

    def __init__(self) -> None:
        self.alive = self.most = 0
        self.is_aborted = False
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        self._numbers = count()

    def fetch(self, _url: str) -> bytes:
        self.gate.wait()
        album = self

        class Counted(bytes):
            def __del__(self) -> None:
                album._count(-1)

        self._count(1)
        return Counted(picture(size=(16, 16 + next(self._numbers))))

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        pass

    def _count(self, change: int) -> None:
        with self._lock:
            self.alive += change
            self.most = max(self.most, self.alive)


def opened(paid: Project, ledger: Ledger, album: Any = None) -> Downloads:
    store = FolderStore(load_config(paid.path).store_path)
    return Downloads(store, "another run", ledger, album or Album(), StopSignal())


def keys_of(paid: Project) -> list[str]:
    return [key for (key,) in asked(paid.path, "SELECT job_key FROM jobs ORDER BY 1")]


def test_of_an_answer_with_many_images_one_is_in_memory_at_a_time(
    paid: Project, ledger: Ledger
) -> None:
    """A8: sixty pictures of 20 MB each would be more than a gigabyte."""
    album = Album()
    downloads = opened(paid, ledger, album)
    downloads.fetch(
        MissingImages(keys_of(paid)[0], ["https://example.com/p.jpg"] * 60, FAR)
    )
    downloads.close()
    assert next(album._numbers) == 60
    assert album.most == 1


def test_of_many_missing_images_no_more_are_asked_for_than_there_are_threads(
    paid: Project, ledger: Ledger
) -> None:
    """A8: a million of them in a queue would be a gigabyte."""
    album, drawn, done = Album(), count(), count()
    seen: list[int] = []

    def missing() -> Iterator[MissingImages]:
        for _ in range(10 * THREADS):
            yield MissingImages(
                keys_of(paid)[0], [f"https://example.com/{next(drawn)}"], FAR
            )
            seen.append(downloads.waiting)

    downloads = opened(paid, ledger, album)
    album.gate.clear()
    feeding = threading.Thread(target=downloads.fetch_in_turn, args=(missing(),))
    feeding.start()
    while len(seen) < THREADS:  # whatever is allowed to wait does
        pass
    album.gate.set()
    feeding.join(60)
    downloads.close()
    assert next(drawn) == 10 * THREADS
    assert max(seen) <= THREADS
    assert downloads.waiting == next(done) == 0


@pytest.mark.parametrize("when", ["before", "while"])
def test_fetching_that_is_cancelled_ends_without_an_error(
    paid: Project, ledger: Ledger, when: str
) -> None:
    """A6: a signal may come between any two images, and nobody waits for room that is never given back."""
    album = Album()
    downloads = opened(paid, ledger, album)
    missing = [
        MissingImages(key, ["https://example.com/p.jpg"], FAR) for key in keys_of(paid)
    ] * 9
    if when == "before":
        downloads.cancel()
        downloads.fetch_in_turn(iter(missing))
    else:
        album.gate.clear()
        feeding = threading.Thread(target=downloads.fetch_in_turn, args=(missing,))
        feeding.start()
        downloads.cancel()
        album.gate.set()
        feeding.join(60)
        assert not feeding.is_alive()
    downloads.close()
    assert downloads._stop.error is None


# Images that came inside an answer


def lost(paid: Project, ledger: Ledger) -> tuple[str, bytes]:
    """A job whose answer was recorded without a URL, and the picture that it brought."""
    edit_ledger(
        load_config(paid.path), "UPDATE jobs SET output_urls = NULL, images = NULL"
    )
    return keys_of(paid)[0], picture()


def image_of(paid: Project, key: str) -> tuple[Any, ...]:
    (found,) = asked(
        paid.path, "SELECT images, image_error FROM jobs WHERE job_key = ?", key
    )
    return found


def in_the_way(paid: Project) -> Callable[[], None]:
    """Put a file where the folder of images would be made; returns what takes it away."""
    path = Path(paid.config["store"]) / "images"
    path.write_text("in the way")
    return path.unlink


def test_what_the_disk_did_not_take_is_written_when_the_run_drains(
    paid: Project, ledger: Ledger
) -> None:
    """B2: the bytes are held, and by then somebody may have freed the disk."""
    (key, data), downloads = lost(paid, ledger), opened(paid, ledger)
    free = in_the_way(paid)
    kept = downloads.keep([data])
    downloads.note(key, (), [data], kept)
    assert image_of(paid, key) == (None, "image_lost")
    free()
    downloads.close()
    images, error = image_of(paid, key)
    assert error is None
    assert "images/" in images
    assert downloads._stop.error, "nothing more was paid for meanwhile"


def test_what_the_disk_never_takes_is_lost_and_ends_the_trying(
    paid: Project, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIES_AGAIN", (0.0, 0.0))
    (key, data), downloads = lost(paid, ledger), opened(paid, ledger)
    in_the_way(paid)
    downloads.note(key, (), [data], downloads.keep([data]))
    downloads.close()
    assert image_of(paid, key) == (None, "image_lost")


def test_no_more_is_held_than_a_bound(
    paid: Project, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A8: a disk that stays full must not fill the memory as well."""
    monkeypatch.setattr(module, "HELD_BYTES", 1_500)
    monkeypatch.setattr(module, "TRIES_AGAIN", ())
    downloads = opened(paid, ledger)
    edit_ledger(
        load_config(paid.path), "UPDATE jobs SET output_urls = NULL, images = NULL"
    )
    in_the_way(paid)
    data = picture(size=(16, 16))
    for key in keys_of(paid):
        downloads.note(key, (), [data], downloads.keep([data]))
    held = sum(len(image) for of in downloads._held for image in of.images)
    assert 0 < held <= 1_500 < JOBS * len(data)
    downloads.close()


@pytest.mark.parametrize("problem", [MemoryError(), ImageError("no picture")])
def test_an_answer_is_recorded_whatever_becomes_of_its_picture(
    paid: Project, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """A10: the answer was paid for, and is recorded after its picture was stored; one bug is no reason to stop."""

    def fail(*_: object) -> Any:
        raise problem

    downloads = opened(paid, ledger)
    monkeypatch.setattr(downloads._store, "save", fail)
    kept = downloads.keep([picture()])
    assert (kept.files, kept.error) == (None, "image_lost")
    assert downloads._stop.error is None
    for _ in range(MOST_BUGS - 1):
        downloads.keep([picture()])
    assert bool(downloads._stop.error) is isinstance(problem, MemoryError)
    downloads.close()
    assert State.SUCCEEDED.value in {
        state for (state,) in asked(paid.path, "SELECT state FROM jobs")
    }


def test_where_there_is_no_thread_to_wait_with_fetches_end_at_once(
    paid: Project, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A12: who else waits for the end of the run hears of it, and closing does not fail."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    album = Album()
    downloads = opened(paid, ledger, album)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        downloads.end_soon()
    assert album.is_aborted
    downloads.close()
