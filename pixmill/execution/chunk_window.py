"""The chunks of a run on their way: a bounded window of them in flight, whoever carries them out."""

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from pixmill.errors import PixmillError
from pixmill.execution.progress import ChunkCounts
from pixmill.execution.run import ActiveRun
from pixmill.planning.jobs import Job


class ChunkFuture(Protocol):
    """What becomes of a chunk that was submitted."""

    def result(self) -> Any:
        """Wait for the chunk and return what became of it. Raises whatever there is instead."""


F = TypeVar("F", bound=ChunkFuture)


class ChunkWindow(Generic[F]):
    """Submits the chunks of a run by `submit`, as many at a time as its executor wants.

    `wait_for_one` returns one of the futures that it is given, once that is done.
    """

    def __init__(
        self,
        run: ActiveRun,
        submit: Callable[[list[Job]], F],
        wait_for_one: Callable[[Collection[F]], F],
    ) -> None:
        self._run = run
        self._submit = submit
        self._wait_for_one = wait_for_one
        self._in_flight: dict[F, list[Job]] = {}

    def pay(self) -> None:
        """Submit all chunks of the run, round by round of candidates, and wait for them."""
        has_more = True
        while has_more:
            for chunk in self._run.chunks():
                self._in_flight[self._submit(chunk)] = chunk
                if self._run.executor.has_enough(self._in_flight.values()):
                    self._end_one()
            self.drain()
            has_more = self._run.draw_candidates()

    def drain(self) -> None:
        """Wait for the chunks in flight."""
        while self._in_flight:
            self._end_one()

    def _end_one(self) -> None:
        """Wait for a chunk, and send it out once more where the executor wants that."""
        # Not for the oldest one: a single slow job would hold up all.
        future = self._wait_for_one(self._in_flight.keys())
        chunk = self._in_flight.pop(future)
        try:
            self._run.executor.record(_result_of(future))
        except Exception as error:
            # Also what is no result of a chunk: Dask raises errors of its own for a worker that died.
            if self._run.executor.chunk_failed(chunk, error):
                self._in_flight[self._submit(chunk)] = chunk


def _result_of(future: ChunkFuture) -> Any:
    """Wait for a chunk and return what became of it. Raises whatever there is instead."""
    result = future.result()
    if result is None:  # somebody has set the state of its task run by hand
        raise PixmillError("its task run has no result")
    return result


def pay_in_this_process(run: ActiveRun) -> None:
    """Pay for the chunks of `run` without Prefect, on threads of this process."""
    # No more are in flight at once: `ThreadExecutor.has_enough`.
    most = 2 * run.config.concurrency + 1
    with ThreadPoolExecutor(most, "pixmill-chunk") as threads:

        def submit(chunk: list[Job]) -> Future[ChunkCounts]:
            return threads.submit(run.process, chunk)

        def wait_for_one(
            futures: Collection[Future[ChunkCounts]],
        ) -> Future[ChunkCounts]:
            return next(iter(wait(futures, return_when=FIRST_COMPLETED).done))

        ChunkWindow(run, submit, wait_for_one).pay()
