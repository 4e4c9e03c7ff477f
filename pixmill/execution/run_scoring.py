"""Scoring the images of a run, beside its calls: no call waits for a score.

While chunks are paid for, a thread scores the images of those that are done, as far as it keeps
up; what is left, and what earlier runs left, is scored when the last call has ended.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.planning.jobs import Job, LocalImage
from pixmill.planning.plan import Plan
from pixmill.quality.image_scorers import ImageScorers, ScoredImage
from pixmill.quality.score_columns import hash_in_name
from pixmill.storage import Store

log = logging.getLogger(__name__)

_CHUNKS_WAITING = 64
"""Chunks that wait to be scored; others are left for the end."""
_LOOK_SECONDS = 0.2


class RunScoring:
    """Scores the images of a plan's jobs; does nothing where the config asks for no score."""

    def __init__(self, plan: Plan, ledger: Ledger, store: Store) -> None:
        self.plan = plan
        """Whose images are scored."""
        self._ledger = ledger
        self._store = store
        quality = plan.config.quality
        self._scorers = (
            ImageScorers(quality, ledger) if quality.checks or quality.scorers else None
        )
        self.is_complete = True
        """Whether the next run would find nothing to score."""
        self._chunks: Queue[Sequence[Job]] = Queue(_CHUNKS_WAITING)
        self._ended = Event()
        self._thread: Thread | None = None

    def offer(self, chunk: Sequence[Job]) -> None:
        """Have the images of jobs that have ended scored, if there is time."""
        if self._scorers is None or self._ended.is_set():
            return
        if self._thread is None:
            self._thread = Thread(target=self._work, name="pixmill-scores", daemon=True)
            self._thread.start()
        try:
            self._chunks.put_nowait(chunk)
        except Full:
            log.debug("scores of %d jobs are left for the end", len(chunk))

    def close(self) -> None:
        """End what goes on beside the calls."""
        self._ended.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    @property
    def scored(self) -> int:
        """How many images were scored."""
        return self._scorers.scored if self._scorers else 0

    @property
    def failures(self) -> Mapping[tuple[str, str], int]:
        """How many images a scorer, by its name, gave no score, and for which reason."""
        return self._scorers.failures if self._scorers else {}

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        """Score all images of the plan that were not, until somebody interrupts; then end. Raises
        LedgerError."""
        self.close()
        if self._scorers is None:
            return
        with self._scorers as scorers:
            if not self._score_all(scorers, is_stopped):
                log.warning("scores are missing: the next run fills them in")
                self.is_complete = False
        self.is_complete = self.is_complete and not scorers.has_given_up

    def catch_up(self, is_stopped: Callable[[], bool]) -> None:
        """Score all images of the plan that were not, until the run stops; then go on beside the
        calls. Raises LedgerError."""
        self.close()
        if self._scorers is not None and self._score_all(self._scorers, is_stopped):
            self._ended.clear()

    def _score_all(self, scorers: ImageScorers, is_stopped: Callable[[], bool]) -> bool:
        """Score the images of the plan; return whether that came to its end."""
        for pictures in self._all_pictures():
            if is_stopped():
                return False
            scorers.score(pictures)
        return True

    def _work(self) -> None:
        scorers = self._scorers
        while scorers and not self._ended.is_set():
            try:
                chunk = self._chunks.get(timeout=_LOOK_SECONDS)
            except Empty:
                continue
            try:
                for pictures in self._pictures_of(chunk):
                    scorers.score(pictures)
            except (PixmillError, OSError) as error:
                # The same happens at the end, where somebody hears of it.
                log.debug("no scores beside the calls: %s", error)
                return

    def _all_pictures(self) -> Iterator[list[ScoredImage]]:
        start = 0
        for batch in self.plan.batches():
            first = self.plan.first[start : start + len(batch.keys)]
            start += len(batch.keys)
            kept = self._kept_inputs(batch.images.sources)
            asked = []
            for position in np.flatnonzero(first).tolist():
                row = position // len(batch.variants)
                key = batch.keys[position]
                if key is None:
                    continue
                asked.append(
                    _Asked(
                        key,
                        partial(batch.job, position),
                        batch.images.files[row][:1],
                        kept[row] if kept else None,
                    )
                )
            yield from self._pictures(asked)

    def _pictures_of(self, chunk: Sequence[Job]) -> Iterator[list[ScoredImage]]:
        asked = []
        for job in chunk:
            urls = job.request().get("image_urls") or []
            kept = self._kept_inputs([urls[:1]])
            asked.append(
                _Asked(
                    job.key,
                    partial(_same, job),
                    job.files[:1],
                    kept[0] if kept else None,
                )
            )
        yield from self._pictures(asked)

    def _kept_inputs(self, sources: Sequence[Sequence[str]]) -> list[str | None]:
        """Return by row the file of the first input image in the store, where it is kept."""
        is_kept = self.plan.config.input.images == "keep"
        if not sources or not sources[0] or not is_kept:
            return []
        return self._ledger.kept_inputs(sources[0])

    def _pictures(self, asked: Sequence["_Asked"]) -> Iterator[list[ScoredImage]]:
        """Yield the images that jobs have in the store."""
        begin = 0
        keys = [of.key for of in asked]
        for known in self._ledger.outcomes(keys) if keys else ():
            part = asked[begin : begin + known.num_rows]
            begin += known.num_rows
            yield list(self._pictures_in(known, part))

    def _pictures_in(
        self, known: pa.Table, asked: Sequence["_Asked"]
    ) -> Iterator[ScoredImage]:
        images = known["images"].to_pylist()
        errors = known["image_error"].to_pylist()
        for of, files, error in zip(asked, images, errors, strict=True):
            if not files or error:
                continue
            source = None
            source_sha256 = ""
            if of.files:
                [local] = of.files
                source = local.path
                source_sha256 = local.sha256
            elif of.kept:
                source = str(self._store.file(of.kept))
                source_sha256 = hash_in_name(of.kept)
            for file in files:
                path = str(self._store.file(file["file_name"]))
                job = partial(describe_job, of.job)
                yield ScoredImage(file["sha256"], path, job, source, source_sha256)


class _Asked(NamedTuple):
    """A job whose images are to be scored."""

    key: str
    job: Callable[[], Job]
    files: Sequence[LocalImage]
    """Its first input image, where that is a local one."""
    kept: str | None
    """The file of its first input image in the store, where that is kept."""


def _same(job: Job) -> Job:
    return job


def describe_job(job_of: Callable[[], Job]) -> dict[str, Any]:
    """Return what a scorer learns of the job that made an image, as plain JSON values."""
    job = job_of()
    request = job.request()
    return {
        "job_key": job.key,
        "row_number": job.row_number,
        "row_key": job.row_key,
        "replicate": job.replicate,
        "req_key": job.req_key,
        "seed": job.seed,
        "prompt": request.get("prompt"),
        "request": request,
    }
