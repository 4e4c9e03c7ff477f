"""Who pays for the chunks of a run: what threads and worker processes have in common."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from pixmill.errors import PixmillError
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts, Progress, RunCounters
from pixmill.execution.stop_signal import StopSignal
from pixmill.planning.jobs import Job


class Executor(Protocol):
    """Pays for chunks of jobs, once each, until the run's `StopSignal` is set.

    `ThreadExecutor` does it in this process, `WorkerPool` by worker processes, and
    `IdleExecutor` stands for a run that has nothing to pay for.
    """

    counts: RunCounters
    """What became of the run's jobs and calls so far."""

    def chunk_size(self) -> int:
        """How many jobs the next chunk takes."""

    def has_enough(self, chunks: Collection[Sequence[Job]]) -> bool:
        """Whether no more than these `chunks` should be in flight."""

    def process(self, chunk: Sequence[Job]) -> ChunkCounts:
        """Pay for a chunk in this process, and return once all its images are there.

        Raises PixmillError where nothing of it could be begun.
        """

    def record(self, result: Any) -> None:
        """Count what became of a chunk: `result` is what the task of it has returned."""

    def chunk_failed(self, chunk: Sequence[Job], error: Exception) -> bool:
        """Deal with a chunk of which nothing came back but `error`.

        Return whether to send it again; if not, the run has stopped.
        """

    def progress(self) -> Progress:
        """What the run looks like now."""

    def limits_summary(self) -> Mapping[str, Any] | None:
        """How the account's limits fared, as plain JSON values; `None` where no call was made."""

    def close(self) -> None:
        """Finish the calls in flight and let go of everything."""


class IdleExecutor:
    """An executor of a run that pays for nothing: it publishes, and fetches images."""

    def __init__(
        self, counts: RunCounters, downloads: Downloads, stop: StopSignal
    ) -> None:
        self.counts = counts
        self._downloads = downloads
        self._stop = stop
        stop.on_change(self._hurry_images)

    def chunk_size(self) -> int:
        """One: there is no job to put into it."""
        return 1

    def has_enough(self, chunks: Collection[Sequence[Job]]) -> bool:
        """Whether there is any chunk."""
        return len(chunks) > 0

    def process(self, chunk: Sequence[Job]) -> ChunkCounts:
        """Refuse. Raises PixmillError: nobody agreed to pay for it."""
        raise PixmillError(f"this run pays for nothing, so not for {chunk[0].label}")

    def record(self, result: Any) -> None:
        """There is nothing to count."""

    def chunk_failed(self, chunk: Sequence[Job], error: Exception) -> bool:
        """Nothing was sent out."""
        del chunk, error
        return False

    def progress(self) -> Progress:
        """Nothing to do, and nothing done."""
        return self.counts.progress(
            self._stop,
            in_flight=0,
            limit=0,
            images_waiting=self._downloads.waiting,
        )

    def limits_summary(self) -> None:
        """There were no calls to limit."""

    def close(self) -> None:
        """Nothing is open."""

    def _hurry_images(self) -> None:
        if self._stop.is_interrupted:
            # No call is in flight that anybody would wait for, and images are free:
            # those that have not begun can come with the next run.
            self._downloads.cancel()
            self._downloads.end_soon()
