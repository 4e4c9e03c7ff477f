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

from pixmill.errors import PixmillError, StoreError
from pixmill.images import ImageError, ImageFetcher, url_expiry
from pixmill.ledger import Ledger
from pixmill.ledger.schema import now_micros
from pixmill.store import Store

log = logging.getLogger(__name__)

THREADS = 8
URL_LIFE_MICROS = 24 * 3600 * 1_000_000
"""The documented life of an output URL, for those that do not name their end."""


class Downloads:
    """Fetches and stores the images of one run. `failure` is what makes it pointless to pay for more of them."""

    def __init__(self, store: Store, run_id: str, ledger: Ledger, fetcher: ImageFetcher) -> None:
        self._store = store
        self._run_id, self._ledger, self._fetcher = run_id, ledger, fetcher
        self._lock = threading.Lock()
        self.waiting = 0
        self.failure: PixmillError | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pixmill-image")

    def keep(self, images: Sequence[bytes]) -> str | None:
        """Store images that came inside an answer; return them as the ledger's JSON, `None` where that failed."""
        return self._stored("that came inside an answer", lambda: images)

    def fetch(
        self,
        job_key: str,
        urls: Sequence[str],
        expires_at: int,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch the images of a paid job in the background, write down where they are, then call `done`."""
        self._wait(1)
        context = contextvars.copy_context()
        self._pool.submit(context.run, self._bring_home, job_key, tuple(urls), expires_at, done)

    def cancel(self) -> None:
        """Drop the fetches that have not begun; those images stay pending."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Wait for all fetches to end."""
        self._pool.shutdown()
        self._fetcher.close()

    def _bring_home(
        self, job_key: str, urls: Sequence[str], expires_at: int, done: Callable[[], None]
    ) -> None:
        begun = time.perf_counter()
        try:
            images = self._stored(
                f"of job {job_key[:12]}", lambda: [self._fetcher.fetch(url) for url in urls]
            )
            missing = "image_lost" if expires_at <= now_micros() else "image_pending"
            elapsed_ms = (time.perf_counter() - begun) * 1000
            error = None if images else missing
            self._ledger.record_image(
                job_key, self._run_id, urls, images=images, error=error, download_ms=elapsed_ms
            )
        except PixmillError as error:
            self.failure = self.failure or error
        except Exception as error:
            log.exception("the image of job %s ended by an internal error", job_key[:12])
            self.failure = self.failure or PixmillError(
                f"internal error: {type(error).__name__}: {error}"
            )
        finally:
            self._wait(-1)
            done()

    def _wait(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def _stored(self, which: str, images: Callable[[], Sequence[bytes]]) -> str | None:
        """Return the stored images as JSON, `None` where they can't be had or kept."""
        try:
            return json.dumps(
                [self._store.save(data)._asdict() for data in images()], allow_nan=False
            )
        except ImageError as error:
            log.warning("the image %s could not be had: %s", which, error)
        except (OSError, StoreError) as error:
            log.warning("the image %s could not be stored: %s", which, error)
            problem = f"images can't be stored: {getattr(error, 'strerror', None) or error}"
            hint = "nothing more is sent; free the disk or fix the store, then run the same command again"
            self.failure = self.failure or PixmillError(problem, hint=hint)
        return None


def urls_expire_at(urls: Sequence[str], answered_at: int) -> int:
    """When the first of `urls` dies, in microseconds: as it says itself, or a day after the answer."""
    ends = [int(end.timestamp() * 1e6) for url in urls if (end := url_expiry(url))]
    return min(ends, default=answered_at + URL_LIFE_MICROS)
