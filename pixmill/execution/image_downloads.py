"""Output images: a small pool fetches, verifies and stores them, and writes down where they are.

Output URLs live for a day at most, so images are fetched at once. The pool is separate
from the threads that pay, so that a slow image never holds a slot of the provider.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

from pixmill.errors import PixmillError, StoreError
from pixmill.execution.bug_limit import BugLimit
from pixmill.execution.host_refusals import HostRefusals, describe_refusal
from pixmill.execution.stop_signal import StopSignal
from pixmill.ledger import Ledger, MissingImages
from pixmill.ledger.schema import now_micros
from pixmill.storage import NotYetStored, Store
from pixmill.storage.image_decoding import ImageError
from pixmill.storage.image_fetcher import ImageFetcher, url_expiry
from pixmill.storage.image_store import ImageFile
from pixmill.storage.integrity import NamedImage

log = logging.getLogger(__name__)

THREADS = 8
END_SECONDS = 5.0
"""How long an interrupted run waits for images after its last call: their URLs live for a day."""
URL_LIFE_MICROS = 24 * 3600 * 1_000_000
"""The documented life of an output URL, for those that do not name their end."""

HELD_BYTES = 256 << 20
"""Bytes of images that came inside answers and could not be written, which are held to
be written when a run drains.
"""

TRIES_AGAIN = (0.0, 1.0, 2.0)
"""Seconds before each further try to write what is held."""

MOST_WAITING = 1_000
"""Paid jobs that wait for their images, beyond which none is paid for: their URLs live
for a day.
"""

LOOK_SECONDS = 0.2
"""How often whoever waits for room looks whether there is some."""

_PENDING = "image_pending"
_LOST = "image_lost"


class StoredImages(NamedTuple):
    """What became of the images of a job."""

    files: str | None = None
    """Those that are on a disk, as the ledger's JSON."""
    error: str | None = None
    """Why they are not in the store, `None` where they are. What came inside an answer and was not
    written is lost, unless it is held and written after all (`may_be_held`)."""
    may_be_held: bool = False
    """Whether the images are whole, and only the disk would not have them."""


class _Held(NamedTuple):
    """Images that came inside an answer and are nowhere but here."""

    job_key: str
    urls: Sequence[str]
    images: Sequence[bytes]


class Downloads:
    """Fetches and stores the images of one run.

    What makes it pointless to pay for more of them, such as a full disk, sets the run's
    `stop` signal; so do `most_refusals` in a row of the hosts of images.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        ledger: Ledger,
        fetcher: ImageFetcher,
        stop: StopSignal,
        most_refusals: int | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._ledger = ledger
        self._fetcher = fetcher
        self._stop = stop
        self._lock = threading.Lock()
        self.waiting = 0
        """Jobs whose images are being fetched, or will be."""
        self._held: list[_Held] = []
        self._bugs = BugLimit(stop)
        self.refusals = HostRefusals(stop, most_refusals)
        """Images that their hosts did not give."""
        self._cancelled = False
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pixmill-image")
        self._ended = threading.Event()
        self._ender: threading.Thread | None = None

    # Images inside answers

    def keep(self, images: Sequence[bytes]) -> StoredImages:
        """Store images that came inside an answer, before that is recorded: no URL
        leads to them again.
        """
        return self._save("that came inside an answer", images)

    def note(
        self,
        job_key: str,
        urls: Sequence[str],
        images: Sequence[bytes],
        stored: StoredImages,
    ) -> None:
        """Write down what is amiss with the `images` of an answer that is recorded with
        its `urls`.

        Those that could not be written are held, as far as `HELD_BYTES` go, and tried
        again by `close`.
        """
        if stored.error is None or (urls and stored.files is None):
            return
        self._ledger.record_image(
            job_key,
            self._run_id,
            urls,
            images=stored.files,
            error=stored.error,
            download_ms=0.0,
        )
        if stored.may_be_held:
            # Bounded: a disk that stays full must not fill the memory as well.
            with self._lock:
                held = sum(
                    len(image) for download in self._held for image in download.images
                )
                if held + sum(map(len, images)) <= HELD_BYTES:
                    self._held.append(_Held(job_key, urls, images))

    # Images behind URLs

    def fetch(self, missing: MissingImages) -> Future[StoredImages]:
        """Fetch the images of a paid job in the background, and write down where they are.

        The result is what became of them; it is never an exception.
        """
        self._count(1)
        context = contextvars.copy_context()
        try:
            return self._pool.submit(context.run, self._bring_home, missing)
        except RuntimeError as error:
            # There are no more threads, or it was cancelled meanwhile.
            self._count(-1)
            if not self._cancelled:
                self._give_up(f"images can't be fetched: {error}")
            pending = Future[StoredImages]()
            pending.set_result(StoredImages(error=_PENDING))
            return pending

    def fetch_in_turn(self, missing: Iterable[MissingImages]) -> None:
        """Fetch what is missing in its order, as many at a time as there are threads,
        until the run stops; return once all is here.
        """
        fetching = set[Future[StoredImages]]()
        for images in missing:
            while len(fetching) >= THREADS and not self._stop.is_set:
                # A look now and then: a fetch that is cancelled wakes nobody.
                _, fetching = wait(fetching, LOOK_SECONDS, FIRST_COMPLETED)
            if self._cancelled or self._stop.is_set:
                return
            fetching.add(self.fetch(images))
        # Which candidate is next depends on what they show.
        while fetching and not (self._cancelled or self._stop.is_set):
            _, fetching = wait(fetching, LOOK_SECONDS, FIRST_COMPLETED)

    def wait_for_room(self) -> None:
        """Return once fewer than `MOST_WAITING` jobs wait for their images, or the run stops."""
        while self.waiting >= MOST_WAITING and not self._stop.is_set:
            self._stop.wait(LOOK_SECONDS)

    # Ends

    def cancel(self) -> None:
        """Drop the fetches that have not begun; those images stay pending."""
        self._cancelled = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def end_soon(self) -> None:
        """Let fetches work for `END_SECONDS`, then end them; those images stay pending.
        From any thread.
        """
        with self._lock:
            if self._ender:
                return
            self._ender = threading.Thread(
                target=self._end_later, name="pixmill-image-end", daemon=True
            )
            try:
                self._ender.start()
            except RuntimeError:
                # The system gives no more threads: nothing can wait, so they end at once.
                self._ender = None
                self._fetcher.abort()

    def end_if_interrupted(self) -> None:
        """Let fetches work for a moment only, once somebody interrupts: images can wait."""
        if self._stop.is_interrupted:
            self.end_soon()

    def close(self) -> None:
        """Wait for all fetches to end, and try once more to write what is held."""
        self._pool.shutdown()
        self._ended.set()
        if self._ender:
            self._ender.join()
        # A person may free the disk meanwhile: there is no URL to fetch these from.
        for pause in TRIES_AGAIN:
            if not self._held:
                break
            time.sleep(pause)
            refused = []
            for held in self._held:
                stored = self._save(f"of job {held.job_key[:12]}", held.images)
                if stored.files is None:
                    refused.append(held)
                else:
                    self._record(held.job_key, held.urls, stored, 0.0)
            self._held = refused
        self._fetcher.close()

    def _end_later(self) -> None:
        if not self._ended.wait(END_SECONDS):
            self._fetcher.abort()

    # One job

    def _bring_home(self, missing: MissingImages) -> StoredImages:
        began = time.perf_counter()
        try:
            stored = self._locate(missing)
            elapsed_ms = (time.perf_counter() - began) * 1000
            if stored.error is None or missing.urls:
                self._record(missing.job_key, missing.urls, stored, elapsed_ms)
        except Exception as error:
            self._note_bug(_whose(missing), error)
            return StoredImages(error=_PENDING)
        else:
            return stored
        finally:
            self._count(-1)

    def _locate(self, missing: MissingImages) -> StoredImages:
        """Have the images of a job in the store: they may be there by now, or at their URLs."""
        known = None
        if missing.files:
            known = json.dumps(missing.files, allow_nan=False)
            if self._are_stored(missing.files):
                return StoredImages(known)
        if missing.urls:
            contents = map(self._fetcher.fetch, missing.urls)
            fetched = self._save(_whose(missing), contents)
            if fetched.files:
                return fetched
        # Files that wait on some machine are not lost, whatever became of their URLs.
        is_dead = not known and missing.expires_at <= now_micros()
        return StoredImages(known, _LOST if is_dead else _PENDING)

    def _are_stored(self, files: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the store has images by now, which may have waited for it on this
        machine or on another.
        """
        try:
            return all(
                self._store.problem(NamedImage(file["file_name"], file["bytes"]))
                is None
                or self._store.restore(file["file_name"])
                for file in files
            )
        except (OSError, StoreError) as error:
            self._note_refusal("that waits for the store", error)
            return False

    def _record(
        self,
        job_key: str,
        urls: Sequence[str],
        stored: StoredImages,
        download_ms: float,
    ) -> None:
        try:
            self._ledger.record_image(
                job_key,
                self._run_id,
                urls,
                images=stored.files,
                error=stored.error,
                download_ms=download_ms,
            )
        except PixmillError as error:
            self._stop.fail(error)

    def _save(self, which: str, images: Iterable[bytes]) -> StoredImages:
        """Store images one by one, so that of an answer one is in memory at a time."""
        waiting: list[ImageFile] = []
        save = partial(self._save_one, which, waiting)
        try:
            files = [file._asdict() for file in map(save, images)]
        except ImageError as error:
            log.warning(
                "the image %s could not be had: %s", which, describe_refusal(error)
            )
            self.refusals.record(error)
            return StoredImages(error=_LOST)
        except (OSError, StoreError) as error:
            self._note_refusal(which, error)
            return StoredImages(error=_LOST, may_be_held=True)
        except Exception as error:
            # The answer that they came in is recorded all the same.
            self._note_bug(which, error)
            return StoredImages(error=_LOST, may_be_held=True)
        self.refusals.reset()
        return StoredImages(
            json.dumps(files, allow_nan=False), _PENDING if waiting else None
        )

    def _save_one(self, which: str, waiting: list[ImageFile], data: bytes) -> ImageFile:
        """Store one image; one that is only on this machine so far is added to `waiting`."""
        try:
            return self._store.save(data)
        except NotYetStored as error:
            if error.image is None:
                raise
            self._note_refusal(which, error)
            waiting.append(error.image)
            return error.image

    def _note_bug(self, which: str, error: Exception) -> None:
        """Note a fault of this program. One costs an image that stays missing; many of
        them end the paying.
        """
        self._bugs.note(error)
        log.exception("the image %s met an internal error", which)

    def _note_refusal(self, which: str, error: OSError | StoreError) -> None:
        log.warning("the image %s could not be stored: %s", which, error)
        what = getattr(error, "strerror", None) or error
        self._give_up(f"images can't be stored: {what}")

    def _give_up(self, problem: str) -> None:
        hint = (
            "nothing more is sent; free disk space or fix the store, "
            "then run the same command again"
        )
        self._stop.fail(PixmillError(problem, hint=hint))

    def _count(self, change: int) -> None:
        with self._lock:
            self.waiting += change


def _whose(missing: MissingImages) -> str:
    """Name the job of images: by its row where that is known, as a person knows no keys."""
    return f"of {missing.label or f'job {missing.job_key[:12]}'}"


def urls_expire_at(urls: Sequence[str], answered_at: int) -> int:
    """When the first of `urls` dies, in microseconds: as it says itself, or a day after
    the answer.
    """
    ends = [int(end.timestamp() * 1e6) for url in urls if (end := url_expiry(url))]
    return min(ends, default=answered_at + URL_LIFE_MICROS)
