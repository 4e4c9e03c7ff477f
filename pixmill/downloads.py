"""Bringing output images home: a small pool that fetches, verifies and stores them and writes down where they are.

Output URLs live for a day at most, so images are fetched at once; the pool is apart from the threads that pay, so a
slow image never holds a provider slot.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pixmill.errors import LedgerError
from pixmill.images import ImageError, ImageFetcher, ImageFile, ImageStore, url_expiry
from pixmill.ledger import Ledger
from pixmill.ledger.schema import now_micros

log = logging.getLogger(__name__)

THREADS = 8
URL_LIFE_MICROS = 24 * 3600 * 1_000_000
"""The documented life of an output URL, for those that do not name their end."""


class Downloads:
    """Fetches and stores the images of one run."""

    def __init__(self, store: Path, run_id: str, ledger: Ledger, fetcher: ImageFetcher) -> None:
        self._store = ImageStore(store)
        self._run_id, self._ledger, self._fetcher = run_id, ledger, fetcher
        self._lock = threading.Lock()
        self.waiting = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pixmill-image")

    def keep(self, images: Sequence[bytes]) -> str | None:
        """Store images that came inside an answer; return them as the ledger's JSON, `None` where that failed."""
        try:
            return _as_json([self._store.save(data) for data in images])
        except (ImageError, OSError) as error:
            log.warning("an image that came inside an answer could not be stored: %s", error)
            return None

    def fetch(
        self, job_key: str, urls: Sequence[str], expires_at: int, done: Callable[[], None] = lambda: None
    ) -> None:
        """Fetch the images of a paid job in the background, write down where they are, then call `done`."""
        self._wait(1)
        context = contextvars.copy_context()
        self._pool.submit(context.run, self._bring_home, job_key, tuple(urls), expires_at, done)

    def close(self) -> None:
        """Wait for all fetches to end."""
        self._pool.shutdown()
        self._fetcher.close()

    def _bring_home(self, job_key: str, urls: Sequence[str], expires_at: int, done: Callable[[], None]) -> None:
        begun = time.perf_counter()
        try:
            images, error = self._stored(job_key, urls, expires_at)
            elapsed_ms = (time.perf_counter() - begun) * 1000
            self._ledger.record_image(job_key, self._run_id, images, error, elapsed_ms)
        except LedgerError as error:  # the next claim fails by it too, which ends the run
            log.error("where the image of job %s is could not be written down: %s", job_key[:12], error)
        finally:
            self._wait(-1)
            done()

    def _wait(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def _stored(self, job_key: str, urls: Sequence[str], expires_at: int) -> tuple[str | None, str | None]:
        """Return the stored images as JSON, or the error code that says whether another fetch can succeed."""
        try:
            return _as_json([self._store.save(self._fetcher.fetch(url)) for url in urls]), None
        except (ImageError, OSError) as error:
            log.warning("the image of job %s could not be fetched: %s", job_key[:12], error)
            return None, "image_lost" if expires_at <= now_micros() else "image_pending"


def urls_expire_at(urls: Sequence[str], answered_at: int) -> int:
    """When the first of `urls` dies, in microseconds: as it says itself, or a day after the answer."""
    ends = [int(end.timestamp() * 1e6) for url in urls if (end := url_expiry(url))]
    return min(ends, default=answered_at + URL_LIFE_MICROS)


def _as_json(files: Sequence[ImageFile]) -> str:
    return json.dumps([file._asdict() for file in files])
