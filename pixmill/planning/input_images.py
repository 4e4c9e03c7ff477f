"""Input images, looked at before anything is paid: is there one behind a URL, and would the provider take it?

`input.images: check` costs each URL one free GET; `keep` also stores what came. The answers are kept in the ledger:
a good one holds for ever, a definite no for a day, and what may pass by itself is asked for again by the next run.
"""

import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from urllib.parse import SplitResult, urlsplit

from pixmill.errors import PixmillError, StoreError
from pixmill.ledger import Ledger
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.schema import now_micros
from pixmill.storage import Store
from pixmill.storage.image_decoding import ImageError, inspect
from pixmill.storage.image_fetcher import ImageFetcher

log = logging.getLogger(__name__)

THREADS = 16
"""Images that are asked for at once: most of the time is waiting."""

PER_HOST = 4
"""Images that one host is asked for at once: more may be taken for an attack."""

WINDOW = 1_000
"""URLs that are looked up together, and at most as many that wait for a host."""

DEADLINE_SECONDS = 20.0
GIVE_UP_AFTER = 20
"""Images in a row that a host could not give, after which it is left alone: a dead one would take hours."""

HOLDS_MICROS = 24 * 3600 * 1_000_000
"""How long a definite no is believed: people repair their links."""

UNREACHABLE = "input_unreachable"
_SHOWN_CHARACTERS = 200


@dataclass
class InputCounts:
    """How far a check is: URLs that were `known`, those `asked` for, and the problems of these by reason code."""

    known: int = 0
    asked: int = 0
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, problem: str | None) -> None:
        """Count one answer."""
        self.asked += 1
        if problem:
            self.problems[problem] += 1

    def plus(self, other: "InputCounts") -> "InputCounts":
        """Return the counts of both checks."""
        return InputCounts(
            self.known + other.known,
            self.asked + other.asked,
            self.problems + other.problems,
        )


class InputImageChecker:
    """Checks the input images of one run and writes down what it finds. `now` gives microseconds since 1970."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        fetcher: ImageFetcher,
        *,
        now: Callable[[], int] = now_micros,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._fetcher = fetcher
        self._now = now
        self._cancelled = threading.Event()
        self._failures: Counter[str] = Counter()  # in a row, by host

    def check_all(
        self,
        urls: Iterable[str],
        *,
        keep: bool,
        on_progress: Callable[[InputCounts], None] = lambda _: None,
    ) -> InputCounts:
        """Ask for those of `urls` (distinct ones) for which no answer holds; with `keep` store their images.

        `on_progress` is called in this thread after every answer. Ends early once cancelled. Raises LedgerError, and
        PixmillError where an image can't be stored; what was answered until then is written down, also at Ctrl-C.
        """
        counts = InputCounts()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="pixmill-input") as pool:
            try:
                for problem in self._problems(
                    pool, _Turns(self._to_ask(urls, keep, counts)), keep
                ):
                    counts.add(problem)
                    on_progress(counts)
            except BaseException:
                # Also at Ctrl-C: the pool waits for its threads, and they for hosts that may take their time.
                self._cancelled.set()
                self._fetcher.abort()
                raise
        return counts

    def cancel(self) -> None:
        """Ask for no more images; those under way are finished. From any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()

    def _problems(
        self,
        pool: ThreadPoolExecutor,
        turns: "_Turns",
        keep: bool,
    ) -> Iterator[str | None]:
        """Yield the problem of each image as it is answered."""
        running: dict[Future[str | None], str] = {}
        while True:
            while (
                len(running) < THREADS
                and not self._cancelled.is_set()
                and (url := turns.take())
            ):
                # The caller's context goes along, so that log lines of these threads find the Prefect run.
                context = contextvars.copy_context()
                running[pool.submit(context.run, self._check, url, keep)] = url
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                turns.end(running.pop(future))
                yield future.result()

    def _to_ask(
        self,
        urls: Iterable[str],
        keep: bool,
        counts: InputCounts,
    ) -> Iterator[str]:
        remaining = iter(urls)
        while batch := list(islice(remaining, WINDOW)):
            known = self._ledger.inputs(batch)
            for url in batch:
                if url in known and self._holds(known[url], keep):
                    counts.known += 1
                else:
                    yield url

    def _holds(
        self,
        known: InputImage,
        keep: bool,
    ) -> bool:
        # An unreachable host may be back by the next run.
        if known.problem:
            return (
                known.problem != UNREACHABLE
                and self._now() - known.checked_at < HOLDS_MICROS
            )
        return not keep or (
            known.file_name is not None and self._store.exists(known.file_name)
        )

    def _check(
        self,
        url: str,
        keep: bool,
    ) -> str | None:
        """Ask for one image, write the answer down and return its problem."""
        try:
            data = self._fetch(url)
        except ImageError as error:
            problem = f"input_{error.problem}"
            # Without its query, which of a signed URL is the key to the image.
            shown = f"{_host(url)}{_parts(url).path}"[:_SHOWN_CHARACTERS]
            log.info("input image %s: %s (%s)", shown, problem, error)
            image = InputImage(url, self._now(), problem, str(error))
        else:
            image = InputImage(
                url,
                self._now(),
                None,  # no problem
                None,
                store_image(self._store, data) if keep else None,
                sha256(data).hexdigest(),
                *inspect(data),
                bytes=len(data),
            )
        # An abort says nothing about the host.
        if image.problem != UNREACHABLE or not self._cancelled.is_set():
            self._ledger.record_input(image)
        return image.problem

    def _fetch(self, url: str) -> bytes:
        host = _host(url)
        if self._failures[host] >= GIVE_UP_AFTER:
            raise ImageError(
                f"{host}: not fetched, as it failed {GIVE_UP_AFTER} times in a row",
                problem="unreachable",
            )
        try:
            data = self._fetcher.fetch(url)
        except ImageError as error:
            # Any answer, a 404 too, shows that the host is up.
            is_down = error.problem == "unreachable"
            self._failures[host] = self._failures[host] + 1 if is_down else 0
            raise
        self._failures.pop(host, None)
        return data


def store_image(
    store: Store,
    data: bytes,
) -> str:
    """Keep an input image and return its file name. Raises PixmillError where that can't be done."""
    try:
        return store.save(data).file_name
    except (OSError, StoreError) as error:
        raise PixmillError(
            f"input images can't be stored: {getattr(error, 'strerror', None) or error}",
            hint="nothing was paid; free disk space or fix the store, then run the same "
            "command again",
        ) from None


class _Turns:
    """Gives URLs out in their order, but never more than `PER_HOST` of one host at a time."""

    def __init__(self, urls: Iterator[str]) -> None:
        self._urls = urls
        self._waiting: dict[str, str] = {}
        self._busy: Counter[str] = Counter()

    def take(self) -> str | None:
        """Return the next URL, None where there is none or none whose host is free."""
        # A table may name one host a million times: what waits is bounded, and the rest is read later.
        fresh = islice(self._urls, WINDOW - len(self._waiting))
        self._waiting.update((url, _host(url)) for url in fresh)
        # The first whose host is free, so that a slow host holds up its own images only.
        url = next(
            (url for url, host in self._waiting.items() if self._busy[host] < PER_HOST),
            None,
        )
        if url is not None:
            self._busy[self._waiting.pop(url)] += 1
        return url

    def end(self, url: str) -> None:
        """Free the place that `url` had."""
        # Not `subtract`: the operator drops hosts that are left with none, so that the counter stays small.
        self._busy -= Counter([_host(url)])


def _parts(url: str | None) -> SplitResult:
    try:
        return urlsplit(url or "")
    except ValueError:
        return urlsplit("")


def _host(url: str | None) -> str:
    return _parts(url).hostname or "no host"
