"""Input images, looked at before anything is paid: is there one behind a URL, and would the provider take it?

`input.images: check` costs each URL one free GET; `keep` also stores what came. The answers stand in the ledger: a good
one holds for ever, a definite no for a day, and what may pass by itself is asked for again by the next run.
"""

import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from itertools import islice
from urllib.parse import SplitResult, urlsplit

import requests

from pixmill.errors import PixmillError, StoreError, TransportError
from pixmill.http.address_policy import AddressRefused, url_problem
from pixmill.http.transport import Reply
from pixmill.ledger import Ledger
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.schema import now_micros
from pixmill.storage import Store
from pixmill.storage.image_decoding import (
    INPUT_BYTES,
    INPUT_FORMATS,
    INPUT_RATIO,
    INPUT_SIDE,
    ImageInfo,
    Picture,
)
from pixmill.storage.image_fetcher import ImageError, ImageFetcher, inspect

log = logging.getLogger(__name__)

THREADS = 16
PER_HOST = 4
WINDOW = 1_000
"""URLs that are looked up together, and at most as many that wait for a host."""

DEADLINE_SECONDS = 20.0
GIVE_UP_AFTER = 20
"""Images in a row that a host could not give, after which it is left alone: a dead one would take hours."""

PAUSE_SECONDS = 1.0
HOLDS_MICROS = 24 * 3600 * 1_000_000
"""How long a definite no is believed: people repair their links."""

UNREACHABLE = "input_unreachable"
_PASSING = (408, 425, 429)
_SHOWN_CHARACTERS = 200


class InputImageError(ImageError):
    """An input image can't be used: `problem` is the reason code, the message its detail, without a query string."""

    def __init__(self, message: str, *, problem: str = UNREACHABLE) -> None:
        super().__init__(message)
        self.problem = problem


class InputFetcher(ImageFetcher):
    """Fetches input images by the rules for output images, and keeps apart what can be wrong with them.

    One rule is wider: plain http is fetched from public hosts as well, because the provider does so.
    """

    def fetch(self, url: str) -> bytes:
        """Return the bytes of a complete image that the provider takes; InputImageError says why there are none.

        What may pass is tried twice; the deadline holds for each attempt.
        """
        try:
            return self._attempt(url)
        except InputImageError as error:
            if error.problem != UNREACHABLE:
                raise
        self._sleep(self._jitter() * PAUSE_SECONDS)
        return self._attempt(url)

    def _attempt(self, url: str) -> bytes:
        try:
            return super()._attempt(url)
        except InputImageError:
            raise
        except TransportError as error:
            raise InputImageError(
                str(error), problem=_transport_problem(error)
            ) from None
        except ImageError as error:  # redirects without end, and answers that are neither an image nor an error
            raise InputImageError(str(error), problem="input_forbidden") from None

    def _get(self, url: str, seconds: float) -> Reply:
        request = _request(url)
        trusted = _host(request.url) in self._allowed
        problem = None if trusted else _address_problem(request.url or "")
        if problem:
            raise InputImageError(problem, problem="input_address")
        transport = self._trusted if trusted else self._public
        try:
            reply = transport.send(request, deadline=seconds, max_bytes=INPUT_BYTES)
        except AddressRefused as error:
            raise InputImageError(
                f"{_host(url)}: {error}", problem="input_address"
            ) from None
        if reply.status >= 400:
            raise InputImageError(
                f"{_host(url)}: its answer is {reply.status}",
                problem=_status_problem(reply.status),
            )
        return (
            reply._replace(body=_usable(reply.body)) if reply.status == 200 else reply
        )


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


class InputImages:
    """Checks the input images of one run and writes down what it finds. `now` gives microseconds since 1970."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        fetcher: InputFetcher,
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
        """Ask for those of `urls` (distinct ones) of which no answer holds; with `keep` store their images.

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
                self._abort()  # or the pool would wait for hosts that let it wait
                raise
        return counts

    def cancel(self) -> None:
        """Ask for no more images; those under way are finished. From any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()

    def _abort(self) -> None:
        self._cancelled.set()
        self._fetcher.abort()

    def _problems(
        self, pool: ThreadPoolExecutor, turns: "_Turns", keep: bool
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
                running[
                    pool.submit(contextvars.copy_context().run, self._check, url, keep)
                ] = url
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                turns.end(running.pop(future))
                yield future.result()

    def _to_ask(
        self, urls: Iterable[str], keep: bool, counts: InputCounts
    ) -> Iterator[str]:
        remaining = iter(urls)
        while batch := list(islice(remaining, WINDOW)):
            known = self._ledger.inputs(batch)
            for url in batch:
                if url in known and self._holds(known[url], keep):
                    counts.known += 1
                else:
                    yield url

    def _holds(self, known: InputImage, keep: bool) -> bool:
        if known.problem:
            return (
                known.problem != UNREACHABLE
                and self._now() - known.checked_at < HOLDS_MICROS
            )
        return not keep or (
            known.file_name is not None and self._store.holds(known.file_name)
        )

    def _check(self, url: str, keep: bool) -> str | None:
        """Ask for one image, write the answer down and return its problem."""
        image = self._answer(url, keep)
        if (
            image.problem != UNREACHABLE or not self._cancelled.is_set()
        ):  # an abort says nothing about the host
            self._ledger.record_input(image)
        return image.problem

    def _answer(self, url: str, keep: bool) -> InputImage:
        try:
            data = self._fetched(url)
        except InputImageError as error:
            log.info("input image %s: %s (%s)", _shown(url), error.problem, error)
            return InputImage(url, self._now(), error.problem, str(error))
        file_name = stored(self._store, data) if keep else None
        return InputImage(
            url,
            self._now(),
            None,
            None,
            file_name,
            sha256(data).hexdigest(),
            *inspect(data),
            bytes=len(data),
        )

    def _fetched(self, url: str) -> bytes:
        host = _host(url)
        if self._failures[host] >= GIVE_UP_AFTER:
            raise InputImageError(
                f"{host}: not asked, as it failed {GIVE_UP_AFTER} times in a row"
            )
        try:
            data = self._fetcher.fetch(url)
        except InputImageError as error:
            self._failures[host] = (
                self._failures[host] + 1 if error.problem == UNREACHABLE else 0
            )
            raise
        self._failures.pop(host, None)
        return data


def stored(store: Store, data: bytes) -> str:
    """Keep an input image and return its file name. Raises PixmillError where that can't be done."""
    try:
        return store.save(data).file_name
    except (OSError, StoreError) as error:
        raise PixmillError(
            f"input images can't be stored: {getattr(error, 'strerror', None) or error}",
            hint="nothing was paid; free the disk or fix the store, then run the same command again",
        ) from None


class _Turns:
    """Gives URLs out in their order, but never more than `PER_HOST` of one host at a time."""

    def __init__(self, urls: Iterator[str]) -> None:
        self._urls = urls
        self._waiting: dict[str, str] = {}
        self._busy: Counter[str] = Counter()

    def take(self) -> str | None:
        """Return the next URL, None where there is none or none whose host is free."""
        fresh = islice(self._urls, WINDOW - len(self._waiting))
        self._waiting.update((url, _host(url)) for url in fresh)
        url = next(
            (url for url, host in self._waiting.items() if self._busy[host] < PER_HOST),
            None,
        )
        if url is not None:
            self._busy[self._waiting.pop(url)] += 1
        return url

    def end(self, url: str) -> None:
        """Free the place that `url` had."""
        self._busy -= Counter(
            [_host(url)]
        )  # which drops the hosts that are left with none


def _request(url: str) -> requests.PreparedRequest:
    headers = {
        "User-Agent": "pixmill",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
    }
    try:
        request = requests.Request("GET", url, headers=headers).prepare()
    except ValueError:  # requests and urllib3 derive from it
        raise InputImageError("malformed_url", problem="input_address") from None
    if url.isascii():
        request.url = url  # a signature covers the URL as it was written, before requests quotes it anew
    return request


def _address_problem(url: str) -> str | None:
    """Why a URL of a host that isn't allowed by name is not fetched."""
    reason = url_problem(url)
    port = None if reason else urlsplit(url).port
    return (
        reason
        if port in (None, 80, 443)
        else f"port {port}; output.allow_hosts can name the host"
    )


def _transport_problem(error: TransportError) -> str:
    # A body over the limit is told apart in words only.
    return "input_too_large" if "is larger than" in str(error) else UNREACHABLE


def _status_problem(status: int) -> str:
    if status in (404, 410):
        return "input_not_found"
    return UNREACHABLE if status in _PASSING or status >= 500 else "input_forbidden"


def _usable(data: bytes) -> Picture:
    picture = Picture(data)
    try:
        picture.shape = inspect(data)
    except ImageError as error:
        raise InputImageError(str(error), problem=_damage(data)) from None
    problem = _shape_problem(picture.shape)
    if problem:
        width, height, format = picture.shape
        raise InputImageError(
            f"{format}, {width:,} × {height:,} pixels", problem=problem
        )
    return picture


def _shape_problem(shape: ImageInfo) -> str | None:
    if shape.format not in INPUT_FORMATS:
        return "input_type"
    short, long = sorted(shape[:2])
    if long > INPUT_SIDE:
        return "input_dimensions"
    return "input_ratio" if long > INPUT_RATIO * short else None


def _damage(data: bytes) -> str:
    """What is wrong with bytes that `inspect` refused, by their header."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=INPUT_FORMATS) as image:
            long = max(image.size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "input_dimensions"
    except Exception:  # decoders fed with damaged bytes raise whatever they meet
        return "input_type"
    return "input_dimensions" if long > INPUT_SIDE else "input_damaged"


def _parts(url: str | None) -> SplitResult:
    try:
        return urlsplit(url or "")
    except ValueError:
        return urlsplit("")


def _host(url: str | None) -> str:
    return _parts(url).hostname or "no host"


def _shown(url: str) -> str:
    """Host and path for the log: the query of a signed URL is the key to the image."""
    return f"{_host(url)}{_parts(url).path}"[:_SHOWN_CHARACTERS]
