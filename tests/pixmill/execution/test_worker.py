"""A worker process's part of a run, without a cluster: the same functions, called in this process."""

import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.config.model import Execution
from pixmill.errors import ConfigError, PixmillError
from pixmill.execution import worker
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.prepare import prepare
from pixmill.execution.progress import ChunkCounts, RunCounters
from pixmill.execution.run import ActiveRun
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.worker import ChunkResult, Endpoint, process
from pixmill.execution.worker_pool import (
    CHUNK_SIZE,
    WorkerPool,
    check_installed,
    resolve_paths,
    with_absolute_paths,
)
from pixmill.ledger import State, queries
from pixmill.planning.jobs import Job, LocalImage
from pixmill.storage import open_store
from pixmill.storage.image_fetcher import ImageFetcher
from tests.conftest import KEY, Project, results
from tests.pixmill.run_checks import (
    Provider,
    check_run,
    configure_run,
    error_response,
)
from tests.real_command import wait_until

ROWS = 12
BY_DASK = {"engine": "dask", "jobs_per_task": 4}


@contextmanager
def spread(config: str) -> Iterator[tuple[ActiveRun, WorkerPool]]:
    """A run that has begun and whose chunks are for workers; what this process opens as a worker is closed."""
    with prepare(load_config(config)) as prepared:
        run = prepared.start()
        assert isinstance(run.executor, WorkerPool)
        try:
            yield run, run.executor
        finally:
            worker.close(run.run_id)


def answered(worker_pool: WorkerPool, chunk: list[Job]) -> ChunkResult:
    """What a worker answers that gets `chunk` over the wire."""
    order = pickle.dumps(worker_pool.request(chunk))
    assert KEY.encode() not in order
    answer: ChunkResult = pickle.loads(pickle.dumps(process(pickle.loads(order))))
    return answer


def test_what_workers_did_is_what_the_run_says(project: Project) -> None:
    """The chunks go there and back as pickles without a key in them; the executor is closed and leaves no thread."""
    threads = threading.active_count()
    with Provider({3: error_response(50413)}) as provider:
        config = configure_run(project, provider.url, ROWS, execution=BY_DASK)
        with spread(config) as (run, worker_pool):
            for chunk in run.chunks():
                run.executor.record(answered(worker_pool, chunk))
            progress = worker_pool.progress()
            worker.close(run.run_id)
            report = run.finish().as_dict()
        check_run(config, report, provider.charges())
    assert (report["succeeded"], report["refused"], report["calls"]) == (
        ROWS - 1,
        1,
        ROWS,
    )
    assert (progress.done, progress.codes) == (
        {"succeeded": ROWS - 1, "refused": 1},
        [("50413", 1)],
    )
    assert threading.active_count() <= threads


def test_a_stop_in_one_worker_stops_all(project: Project) -> None:
    """What came in after the stop was told is skipped unsent, also where the run had not begun yet."""
    told: list[StopReason] = []
    with Provider() as provider:
        config = configure_run(
            project, provider.url, ROWS, execution=BY_DASK, budget={"max_calls": 6}
        )
        with spread(config) as (run, worker_pool):
            worker_pool.workers_ready(2, told.append)
            first, second, third = run.chunks()
            run.executor.record(answered(worker_pool, first))
            run.executor.record(answered(worker_pool, second))
            assert [stopped.code for stopped in told] == [StopCode.BUDGET]
            worker.stop(run.run_id, told[0])
            assert answered(worker_pool, third).outcomes == ChunkCounts(skipped=4)
            assert not list(run.chunks())
            report = run.finish().as_dict()
    assert (report["exit_code"], report["calls"], report["skipped"]) == (4, 6, 6)


def test_a_worker_that_sees_another_ledger_pays_for_nothing(
    project: Project, tmp_path: Path
) -> None:
    """A folder of the same name on another machine: what was paid for is not in there."""
    with Provider() as provider:
        config = configure_run(project, provider.url, ROWS, execution=BY_DASK)
        with spread(config) as (run, worker_pool):
            chunk = next(run.chunks())
            order = worker_pool.request(chunk)
            order.config = order.config.model_copy(
                update={"store": str(tmp_path / "elsewhere")}
            )
            done = process(order)
            run.executor.record(done)
            assert run.stop.is_set
            with pytest.raises(PixmillError, match="is not the ledger of this run"):
                run.finish()
    assert provider.bill == []
    assert not (tmp_path / "elsewhere").exists()


def test_a_worker_without_a_key_ends_the_run_with_what_is_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Provider() as provider:
        config = configure_run(project, provider.url, ROWS, execution=BY_DASK)
        with spread(config) as (run, worker_pool):
            monkeypatch.delenv("PIXMILL_API_KEY")
            done = process(worker_pool.request(next(run.chunks())))
    assert "PIXMILL_API_KEY is not set" in str(done.failure)
    assert done.outcomes == ChunkCounts(skipped=4)


def test_a_driver_that_says_nothing_more_leaves_nothing_open(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next chunk, should one come, opens the executor anew."""
    monkeypatch.setattr(worker, "_sessions", worker.SessionCache(max_idle=0.0))
    threads = threading.active_count()
    with Provider() as provider:
        config = configure_run(project, provider.url, ROWS, execution=BY_DASK)
        with spread(config) as (run, worker_pool):
            # All of them first: the table is read by a thread of its own.
            chunks = list(run.chunks())
            of_run = threading.active_count()
            for chunk in chunks:
                run.executor.record(answered(worker_pool, chunk))
                for idle in [
                    thread
                    for thread in threading.enumerate()
                    if isinstance(thread, threading.Timer)
                ]:
                    idle.join()
                # The provider of this test ends a connection's thread a moment after the client.
                wait_until(
                    lambda: threading.active_count() <= of_run,
                    "the threads of the idle executor have ended",
                )
            report = run.finish().as_dict()
    assert report["succeeded"] == ROWS
    wait_until(
        lambda: threading.active_count() <= threads, "the threads of the run have ended"
    )


def test_a_chunk_that_was_lost_goes_out_once_more_and_not_twice(
    project: Project,
) -> None:
    with Provider() as provider:
        config = configure_run(project, provider.url, ROWS, execution=BY_DASK)
        with spread(config) as (run, worker_pool):
            chunk = next(run.chunks())
            assert worker_pool.chunk_failed(chunk, RuntimeError("died"))
            run.executor.record(answered(worker_pool, chunk))
            assert not worker_pool.chunk_failed(chunk, RuntimeError("died"))
            assert answered(worker_pool, chunk).outcomes == ChunkCounts(succeeded=4)
            assert (
                run.ledger.read(queries.retry_facts, [job.key for job in chunk])[
                    "state"
                ].to_pylist()
                == [State.SUCCEEDED.value] * 4
            )
            with pytest.raises(PixmillError, match="lost twice with row 1"):
                run.finish()
    rows = results({"dataset": project.folder / "out" / "pets" / "dataset.parquet"})
    assert len(provider.bill) == 4
    assert [row["status"] for row in rows] == ["succeeded"] * 4 + ["skipped"] * 8


def test_workers_need_no_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    config = load_config(
        configure_run(
            project,
            "https://gateway.example.com",
            1,
            store="out",
            provider={"api_key_file": "key"},
        )
    )
    sent = resolve_paths(config)
    assert sent.limits == config.limits
    assert sent.store == str(project.folder / "out")
    assert sent.provider.api_key_file == str(project.folder / "key")
    job = Job("k", 1, "", "", "r", "{", 7, (LocalImage("a.png", "0"),))
    assert with_absolute_paths([job])[0].files[0].path == str(project.folder / "a.png")


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (40, 10), (10_000, CHUNK_SIZE)])
def test_a_small_table_reaches_all_workers_and_a_large_one_makes_few_task_runs(
    project: Project, rows: int, expected: int
) -> None:
    config = load_config(
        configure_run(
            project, "https://gateway.example.com", 1, execution={"engine": "dask"}
        )
    )
    with prepare(config) as run:
        stop = StopSignal()
        store = open_store(config)
        worker_pool = WorkerPool(
            config,
            run.run_id,
            ledger=run.ledger,
            endpoint=Endpoint(),
            downloads=Downloads(
                store, run.run_id, run.ledger, ImageFetcher(allow_hosts=()), stop
            ),
            stop=stop,
            counts=RunCounters(config, rows),
        )
        assert (worker_pool.workers, worker_pool.chunk_size()) == (2, expected)
        assert worker_pool.chunks_per_worker >= 2


def test_an_engine_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    check_installed(Execution())
    with pytest.raises(ConfigError, match="needs prefect-dask") as refused:
        check_installed(Execution(engine="dask"))
    assert refused.value.hint == "pip install 'pixmill[dask]'"


def test_a_worker_that_lives_for_months_remembers_the_last_runs_only() -> None:
    """A8: the worker of a cluster sees one run after the other."""
    cache = worker.SessionCache(max_idle=60)
    over = StopReason(StopCode.INTERRUPTED, "the run is over")
    for number in range(3 * worker.STOPPED_RUNS):
        cache.stop(f"run-{number}", over)
        cache.close(f"run-{number}")
    assert len(cache._stopped) == worker.STOPPED_RUNS
    assert f"run-{3 * worker.STOPPED_RUNS - 1}" in cache._stopped
    assert not cache._sessions
