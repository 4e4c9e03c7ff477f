"""A run in progress: its chunks are paid for, its images fetched, its dataset published.

`PreparedRun.start` makes one. A `ChunkWindow` maps `process` over `chunks`; then `publish` says how
it went.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from pixmill.datasets.publishing import Published
from pixmill.errors import PixmillError, TableError, UserError
from pixmill.execution.executor import Executor
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts, Outcome
from pixmill.execution.run_plan import RunPlan, publish_plan
from pixmill.execution.run_scoring import RunScoring
from pixmill.execution.run_summary import (
    RunSummary,
    judge,
    record_summary,
    summarize,
    update_report_page,
)
from pixmill.execution.stop_reasons import NOT_REACHED, tasks_left
from pixmill.ledger import MissingImages, queries
from pixmill.planning.jobs import Job, JobBatch
from pixmill.planning.planner import make_plan

if TYPE_CHECKING:
    from pixmill.execution.prepare import PreparedRun

log = logging.getLogger(__name__)


class ActiveRun:
    """A run that has started: who pays, who fetches images, and what they share."""

    def __init__(
        self,
        prepared: "PreparedRun",
        executor: Executor,
        downloads: Downloads,
        scoring: RunScoring,
    ) -> None:
        self.prepared = prepared
        self.config = prepared.config
        self.ledger = prepared.ledger
        self.plan = prepared.plan
        self.run_id = prepared.run_id
        self.stop = prepared.stop
        self.executor = executor
        self._downloads = downloads
        self.image_refusals = downloads.refusals
        """What the hosts of images said that did not give them."""
        self.scoring = scoring
        self._tried = np.zeros(len(self.plan.pending), np.bool_)
        """[position]: jobs that were sent out, which are not tried twice in a run."""
        self._paid = 0
        """Job keys that were sent out to be paid for."""
        self.summary: RunSummary | None = None
        """How it went, once that is recorded."""

    def interrupt(self, name: str) -> None:
        """Stop sending because a person or the system asked for it by the signal `name`."""
        self.prepared.interrupt(name)

    def chunks(self) -> Iterator[list[Job]]:
        """Yield the jobs to pay for in chunks for one task run each, until the run stops.

        With `quality.until` there may be more to pay for once these have ended: see
        `draw_candidates`. If the table has changed since it was agreed to, the run stops, and
        `finish` raises.
        """
        limit = self._limit_left()
        positions = self.plan.positions_to_pay(limit)
        self._tried[positions] = True
        self._tried[self.plan.submitted] = True
        self._paid += len(positions)
        jobs = self.plan.pending_jobs(limit)
        try:
            while not self.stop.is_set:
                chunk = list(islice(jobs, self.executor.chunk_size()))
                if not chunk:
                    return
                self.plan.table.check_unchanged()
                yield chunk
        except TableError as error:
            self.stop.fail(error)

    def process(self, chunk: list[Job]) -> ChunkCounts:
        """Pay for a chunk. What makes that impossible stops the run; `finish` raises it."""
        try:
            counts = self.executor.process(chunk)
        except PixmillError as error:
            self.stop.fail(error)
            return ChunkCounts(skipped=len(chunk))
        self.scoring.offer(chunk)
        return counts

    def draw_candidates(self) -> bool:
        """Plan the next candidates of rows whose candidates so far are not good, once all chunks have
        ended; return whether `chunks` has any.

        Every row has had its turn before one has another, so that a cap is spent on rows first. A
        run that stops draws no more.
        """
        if self.plan.candidates is None or self._limit_left() == 0:
            return False
        try:
            # A picture that is not here, or not scored, is no reason to pay for another.
            if not self.stop.is_set:
                self.fetch_missing()
                self.scoring.catch_up(lambda: self.stop.is_set)
            if self.stop.is_set:
                return False
            self._plan_anew()
            # What failed for a moment is tried again by the next run.
            self.plan = self.plan.leave_out(self._tried)
        except PixmillError as error:
            self.stop.fail(error)
            return False
        self.executor.counts.to_do += self.plan.to_do
        return self.plan.to_do > 0

    def _plan_anew(self) -> None:
        """Plan by what the ledger knows now."""
        self.plan.table.check_unchanged()
        self.plan = make_plan(self.config, self.ledger)
        self.scoring.plan = self.plan

    def _count_left_out(self, published: Published) -> int:
        """Return how many jobs are no problem although they were not sent, as `--limit` leaves them
        out or another run holds them; add candidates that were not sent for another reason to the
        new problems."""
        elsewhere = self.executor.counts.done[Outcome.ELSEWHERE]
        if self.plan.candidates is None:
            return self.plan.to_pay - self.prepared.to_pay + elsewhere
        left_out = elsewhere
        if self._limit_left() == 0:
            left_out += int((self.plan.pending & ~self._tried).sum())
        # The rows of others have no candidate at all, and are known by that.
        unsent = self.plan.to_pay - published.counts.left - left_out
        if unsent > 0:
            published.counts.new["candidates not asked for"] += unsent
        return left_out

    def _limit_left(self) -> int | None:
        limit = self.prepared.limit
        return None if limit is None else max(0, limit - self._paid)

    def _missing_images(self, jobs: JobBatch) -> Iterator[MissingImages]:
        """Yield the images of a batch that are not in the store."""
        positions = {key: at for at, key in enumerate(jobs.keys) if key}
        for images in self.ledger.missing_images(list(positions)):
            label = jobs.job(positions[images.job_key]).label
            yield images._replace(label=label)

    def fetch_missing(self, missing: Iterable[MissingImages] | None = None) -> None:
        """Fetch images that earlier runs paid for and did not store, without a new call.

        By default it takes them in input order.
        """
        if not self.plan.has_images_to_fetch:
            return
        if missing is None:
            missing = chain.from_iterable(
                map(self._missing_images, self.plan.batches())
            )
        self._downloads.fetch_in_turn(missing)

    def _judge_ending(self, published: Published) -> tuple[int, str]:
        """Return the exit code of the run and the reason for it."""
        error = self.stop.error
        if error:
            return 2 if isinstance(error, UserError) else 1, str(error)
        if self.stop.reason:
            exit_code = int(self.stop.reason.code)
            reason = self.stop.reason.reason
            if tasks := published.counts.still_running:
                reason += f"; {tasks_left(tasks)}"
        else:
            left_out = self._count_left_out(published)
            exit_code, reason = judge(published, self.config.accept, left_out)
        counts = self.executor.counts
        reached_nothing = set(counts.codes) == {"not_sent"}
        if exit_code and reached_nothing and not counts.done[Outcome.SUCCEEDED]:
            reason += f"; {NOT_REACHED}"
        return exit_code, reason

    def publish(self) -> RunSummary:
        """Fetch what images are missing, publish, and say how the run went, as `finish` does."""
        # Images of this run's calls are here by now; these are of earlier runs.
        self.fetch_missing()
        return self.finish()

    def finish(self) -> RunSummary:
        """Wait for images, publish the dataset and say how the run went.

        Raises the error that made paying impossible, after what is known was published.
        The report's page comes last; if somebody interrupts, it shows the thumbnails made so
        far: all else is on disk by then. A second call returns what the first one
        came to, even if it did not get as far as the page.
        """
        if self.summary is not None:
            return self.summary
        prepared = self.prepared
        prepared.resources.close()
        error = self.stop.error
        try:
            published = self._publish_dataset()
        except PixmillError as failure:
            unpublished = {"run_id": self.run_id, "reason": str(failure)}
            self.ledger.finish_run(self.run_id, unpublished)
            raise
        if prepared.plan.again:
            not_renewed = self.ledger.read(queries.failed_renewals, self.run_id)
            published.counts.new["not renewed"] += not_renewed
        summary = summarize(
            self.plan,
            self.ledger,
            self.run_id,
            published,
            self._judge_ending(published),
            limits=self.executor.limits_summary(),
            began=prepared.began,
        )._replace(image_refusals=dict(self.image_refusals.seen))
        if error:
            self.ledger.finish_run(self.run_id, summary.as_record())
            raise error
        # Before the page: one of many pictures takes minutes, and whoever sends SIGTERM
        # may send SIGKILL after ten seconds.
        record_summary(self.config, self.ledger, summary)
        self.summary = summary
        page = update_report_page(
            self.config, published, lambda: self.stop.is_interrupted
        )
        self.summary = summary._replace(report=page)
        record_summary(self.config, self.ledger, self.summary)
        return self.summary

    def _publish_dataset(self) -> Published:
        """Score what has no scores yet, and publish what is planned in the light of them."""
        # A user who pays for a few rows with `--limit` wants to see just those.
        is_trial = bool(self.prepared.limit) and not self.stop.is_set
        run_plan = self.prepared.run_plan
        # What is published as it is has all the scores that there are.
        if not run_plan.unchanged:
            self.scoring.finish(lambda: self.stop.is_interrupted)
        scored_at = self.scoring.scored_at
        if self.plan.candidates:
            # Which candidate the dataset has follows from their scores.
            self._plan_anew()
            run_plan = RunPlan(self.plan, revision=None)
            # It may be one of another run, which this one has not looked at.
            scored_at = None
        return publish_plan(
            run_plan,
            self.ledger,
            self.run_id,
            even_a_step_back=is_trial,
            scored_at=scored_at,
        )
