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
from pixmill.execution.unscored_jobs import UnscoredJobs
from pixmill.ledger import Ledger
from pixmill.ledger.revision import revision_of
from pixmill.planning.jobs import Job
from pixmill.planning.plan import Plan
from pixmill.planning.source_images import SourceImage, find_source_images
from pixmill.quality.image_scorers import ImageScorers, ScoredImage
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
        self.scored_at: str | None = None
        """The revision of the ledger at which the plan's images were looked at; `None` where the next run
        may find something to score, or where the ledger has no revision."""
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
        # From before the first look at what lacks a score.
        revision = self._ledger.read(revision_of)
        if self._scorers is None:
            self.scored_at = revision
            return
        with self._scorers as scorers:
            is_complete = self._score_all(scorers, is_stopped)
            if not is_complete:
                log.warning("scores are missing: the next run fills them in")
        if is_complete and not scorers.has_given_up:
            self.scored_at = revision

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
        """Yield the images that lack a score, as far as that is known before any is scored."""
        plan = self.plan
        variants = len(plan.expander.variants)
        jobs = UnscoredJobs(plan, self._ledger)
        marked = jobs.mark()
        only_rows = np.asarray(marked.reshape(-1, variants).any(axis=1))
        if not only_rows.any():
            return
        for batch in plan.batches(only_rows):
            start = (batch.rows.first_row - 1) * variants
            has_key = np.array([key is not None for key in batch.keys])
            here = marked[start : start + len(batch.keys)]
            positions = np.flatnonzero(here & has_key)
            rows = positions // variants
            inputs = find_source_images(
                plan.config, self._ledger, batch.images.files, batch.images.sources
            )
            hashes = pa.array([source.sha256 for source in inputs], pa.string())
            keys = [batch.keys[at] for at in positions.tolist()]
            for lacking in jobs.find(keys, hashes.take(pa.array(rows))):
                asked = [
                    _AskedJob(partial(batch.job, at), inputs[at // variants])
                    for at in positions[lacking.at].tolist()
                ]
                yield list(self._pictures_in(lacking.outcomes, asked))

    def _pictures_of(self, chunk: Sequence[Job]) -> Iterator[list[ScoredImage]]:
        asked = []
        for at, job in enumerate(chunk):
            urls = job.request().get("image_urls") or []
            [source] = find_source_images(
                self.plan.config, self._ledger, [job.files], [urls[:1]]
            )
            asked.append(_AskedJob(partial(chunk.__getitem__, at), source))
        for known in self._ledger.outcomes([job.key for job in chunk]):
            yield list(self._pictures_in(known, asked[: known.num_rows]))
            asked = asked[known.num_rows :]

    def _pictures_in(
        self, known: pa.Table, asked: Sequence["_AskedJob"]
    ) -> Iterator[ScoredImage]:
        """Yield the images that jobs have in the store by what is `known` of each."""
        images = known["images"].to_pylist()
        errors = known["image_error"].to_pylist()
        for asked_job, files, error in zip(asked, images, errors, strict=True):
            if not files or error:
                continue
            source = asked_job.source.path
            if asked_job.source.file_name:
                source = str(self._store.file(asked_job.source.file_name))
            source_hash = asked_job.source.sha256 or ""
            for file in files:
                path = str(self._store.file(file["file_name"]))
                job = partial(describe_job, asked_job.job)
                yield ScoredImage(file["sha256"], path, job, source, source_hash)


class _AskedJob(NamedTuple):
    """A job whose images are to be scored."""

    job: Callable[[], Job]
    source: SourceImage


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
