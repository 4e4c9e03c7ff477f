"""Bringing output images home: a small pool that fetches, verifies and stores them and writes down where they are.

Output URLs live for a day at most, so images are fetched at once; the pool is apart from the threads that pay, so a
slow image never holds a provider slot.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from pixmill.errors import PixmillError, StoreError
from pixmill.ledger import Ledger, MissingImages
from pixmill.ledger.schema import now_micros
from pixmill.storage import NotYetStored, Store
from pixmill.storage.image_decoding import ImageError
from pixmill.storage.image_fetcher import (
    ImageFetcher,
    url_expiry,
)
from pixmill.storage.image_store import ImageFile
from pixmill.storage.integrity import NamedImage

log = logging.getLogger(__name__)

THREADS = 8
MOST_BUGS = 5
"""Faults of this program after which it is pointless to pay for more images."""
END_SECONDS = 5.0
"""How long an interrupted run waits for images after its last call: their URLs live for a day."""
URL_LIFE_MICROS = 24 * 3600 * 1_000_000
"""The documented life of an output URL, for those that do not name their end."""

HELD_BYTES = 256 << 20
"""Bytes of images that came inside answers and could not be written, which are held to be written when a run drains."""

TRIES_AGAIN = (0.0, 1.0, 2.0)
"""Seconds before each further try to write what is held."""

MOST_WAITING = 1_000
"""Paid jobs that wait for their images, beyond which none is paid for: their URLs live for a day."""

LOOK_SECONDS = 0.2
"""How often who waits for others to be fetched looks whether the run stops."""

_PENDING = "image_pending"
_LOST = "image_lost"


class Kept(NamedTuple):
    """What became of the images of a job.

    `files` are those on a disk, as the ledger's JSON; `error` is why they are not in the store, `None` where they are.
    `may_pass`: the images are whole, and only the disk would not have them.
    """

    files: str | None = None
    error: str | None = None
    may_pass: bool = False


class _Held(NamedTuple):
    """Images that came inside an answer and are nowhere but here."""

    job_key: str
    urls: Sequence[str]
    images: Sequence[bytes]


class Downloads:
    """Fetches and stores the images of one run. `failure` is what makes it pointless to pay for more of them."""

    def __init__(
        self, store: Store, run_id: str, ledger: Ledger, fetcher: ImageFetcher
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._ledger = ledger
        self._fetcher = fetcher
        self._lock = threading.Lock()
        self._held: list[_Held] = []
        self._cancelled = False
        self.waiting = 0
        self.failure: PixmillError | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pixmill-image")
        self._ended = threading.Event()
        self._ender: threading.Thread | None = None
        self._bugs = 0

    def keep(self, images: Sequence[bytes]) -> Kept:
        """Store images that came inside an answer, before that is recorded: no URL leads to them again."""
        return self._stored("that came inside an answer", images)

    def note(
        self, job_key: str, urls: Sequence[str], images: Sequence[bytes], kept: Kept
    ) -> None:
        """Write down what is amiss with the `images` of an answer that is recorded with its `urls`.

        Those that could not be written are held, as far as `HELD_BYTES` go, and tried again by `close`.
        """
        if kept.error is None or (urls and kept.files is None):
            return
        self._ledger.record_image(
            job_key,
            self._run_id,
            urls,
            images=kept.files,
            error=kept.error,
            download_ms=0.0,
        )
        if kept.may_pass:
            with self._lock:
                held = sum(len(image) for of in self._held for image in of.images)
                if held + sum(map(len, images)) <= HELD_BYTES:
                    self._held.append(_Held(job_key, urls, images))

    def fetch(
        self, images: MissingImages, done: Callable[[], None] = lambda: None
    ) -> None:
        """Fetch the images of a paid job in the background, write down where they are, then call `done`."""
        self._wait(1)
        context = contextvars.copy_context()
        try:
            self._pool.submit(context.run, self._bring_home, images, done)
        except (
            RuntimeError
        ) as error:  # there are no more threads, or it was cancelled meanwhile
            if not self._cancelled:
                self._give_up(f"images can't be fetched: {error}")
            self._wait(-1)
            done()

    def fetch_in_turn(
        self,
        missing: Iterable[MissingImages],
        is_stopping: Callable[[], bool],
    ) -> None:
        """Fetch what is missing in its order, as many at a time as there are threads, until the run stops."""
        room = threading.Semaphore(THREADS)
        for images in missing:
            while not room.acquire(timeout=LOOK_SECONDS):
                if self._cancelled:  # what was dropped gives no room back
                    return
            if is_stopping() or self.failure:
                return
            self.fetch(images, room.release)

    def cancel(self) -> None:
        """Drop the fetches that have not begun; those images stay pending."""
        self._cancelled = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Wait for all fetches to end, and try once more to write what is held."""
        self._pool.shutdown()
        self._ended.set()
        if self._ender:
            self._ender.join()
        for pause in TRIES_AGAIN:
            if self._held:
                time.sleep(pause)
                self._held = [held for held in self._held if not self._is_written(held)]
        self._fetcher.close()

    def _is_written(self, held: _Held) -> bool:
        kept = self._stored(f"of job {held.job_key[:12]}", held.images)
        if kept.files is None:
            return False
        self._record(held.job_key, held.urls, kept, 0.0)
        return True

    def _bring_home(self, missing: MissingImages, done: Callable[[], None]) -> None:
        begun = time.perf_counter()
        try:
            files = (
                json.dumps(missing.files, allow_nan=False) if missing.files else None
            )
            if files and self._are_stored(missing.files):
                kept = Kept(files)
            elif missing.urls:
                fetched = self._stored(
                    f"of job {missing.job_key[:12]}",
                    map(self._fetcher.fetch, missing.urls),
                )
                ended = not files and missing.expires_at <= now_micros()
                kept = (
                    fetched
                    if fetched.files
                    else Kept(files, _LOST if ended else _PENDING)
                )
            else:
                return
            elapsed_ms = (time.perf_counter() - begun) * 1000
            self._record(missing.job_key, missing.urls, kept, elapsed_ms)
        except Exception as error:
            self._note_bug(f"of job {missing.job_key[:12]}", error)
        finally:
            self._wait(-1)
            done()

    def _are_stored(self, files: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the store has images by now, which may have waited for it on this machine or on another."""
        try:
            return all(
                self._store.problem(NamedImage(file["file_name"], file["bytes"]))
                is None
                or self._store.restored(file["file_name"])
                for file in files
            )
        except (OSError, StoreError) as error:
            self._refused("that waits for the store", error)
            return False

    def _record(
        self, job_key: str, urls: Sequence[str], kept: Kept, download_ms: float
    ) -> None:
        try:
            self._ledger.record_image(
                job_key,
                self._run_id,
                urls,
                images=kept.files,
                error=kept.error,
                download_ms=download_ms,
            )
        except PixmillError as error:
            self.failure = self.failure or error

    def wait_for_room(self, is_stopping: Callable[[], bool]) -> None:
        """Return once fewer than `MOST_WAITING` jobs wait for their images, or the run stops."""
        while self.waiting >= MOST_WAITING and not (self.failure or is_stopping()):
            time.sleep(LOOK_SECONDS)

    def _wait(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def end_soon(self) -> None:
        """Let fetches go on for `END_SECONDS`, then end them; those images stay pending. From any thread."""
        with self._lock:
            if self._ender:
                return
            self._ender = threading.Thread(
                target=self._end_later, name="pixmill-image-end", daemon=True
            )
        self._ender.start()

    def _end_later(self) -> None:
        if not self._ended.wait(END_SECONDS):
            self._fetcher.abort()

    def _stored(self, which: str, images: Iterable[bytes]) -> Kept:
        """Store images one by one, so that of an answer one is in memory at a time."""
        waits: list[ImageFile] = []

        def saved(data: bytes) -> ImageFile:
            try:
                return self._store.save(data)
            except NotYetStored as error:
                if error.image is None:
                    raise
                self._refused(which, error)
                waits.append(error.image)
                return error.image

        try:
            files = json.dumps(
                [file._asdict() for file in map(saved, images)], allow_nan=False
            )
        except ImageError as error:
            log.warning("the image %s could not be had: %s", which, error)
            return Kept(error=_LOST)
        except (OSError, StoreError) as error:
            self._refused(which, error)
            return Kept(error=_LOST, may_pass=True)
        except (
            Exception
        ) as error:  # the answer that they came in is recorded all the same
            self._note_bug(which, error)
            return Kept(error=_LOST, may_pass=True)
        return Kept(files, _PENDING if waits else None)

    def _note_bug(self, which: str, error: Exception) -> None:
        """Take in a fault of this program. One costs an image that stays missing; many of them end the paying."""
        log.exception("the image %s met an internal error", which)
        with self._lock:
            self._bugs += 1
            many = self._bugs >= MOST_BUGS
        if many:
            self._give_up(f"internal error: {type(error).__name__}: {error}")

    def _refused(self, which: str, error: OSError | StoreError) -> None:
        log.warning("the image %s could not be stored: %s", which, error)
        self._give_up(
            f"images can't be stored: {getattr(error, 'strerror', None) or error}"
        )

    def _give_up(self, problem: str) -> None:
        hint = "nothing more is sent; free disk space or fix the store, then run the same command again"
        self.failure = self.failure or PixmillError(problem, hint=hint)


def urls_expire_at(urls: Sequence[str], answered_at: int) -> int:
    """When the first of `urls` dies, in microseconds: as it says itself, or a day after the answer."""
    ends = [int(end.timestamp() * 1e6) for url in urls if (end := url_expiry(url))]
    return min(ends, default=answered_at + URL_LIFE_MICROS)
