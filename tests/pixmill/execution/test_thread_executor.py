"""The executor where runs do not reach it: retries without chance, the breaker, a broken ledger, bugs, early ends."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixmill.config.loading import load_config
from pixmill.config.model import Stop
from pixmill.errors import LedgerError, PixmillError
from pixmill.execution import outcomes, settlement
from pixmill.execution.bug_limit import MOST_BUGS
from pixmill.execution.failure_rate import FailureRate
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.prepare import prepare
from pixmill.execution.progress import ChunkCounts, RunCounters
from pixmill.execution.run import ActiveRun
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.ledger import Ledger
from pixmill.planning.jobs import Job
from pixmill.provider.client import Client, open_client
from pixmill.storage import open_store
from pixmill.storage.image_fetcher import ImageFetcher
from pixmill.tuning import THROTTLES_PER_JOB
from tests.conftest import Project, pay_for_chunks, run_config
from tests.faulty_server import Behaviour, FaultyServer, Peer, answer
from tests.pixmill.provider.answer_bodies import success
from tests.pixmill.run_checks import (
    Fault,
    Provider,
    charged_but_lost,
    check_bill,
    check_run,
    configure_run,
    error_response,
    ledger,
    picture,
    run_and_check,
    run_to_end,
)
from tests.pixmill.sample_pictures import JPEG
from tests.real_command import wait_until


@contextmanager
def started(
    config: str, jitter: Callable[[], float] = lambda: 0.0, hosts: Sequence[str] = ()
) -> Iterator[tuple[ThreadExecutor, list[Job]]]:
    """An executor on the config's own ledger and provider, and the jobs that it is to pay for."""
    settings = load_config(config)
    with prepare(settings) as run:
        run.ledger.begin_run(run.run_id, settings.name)
        client = open_client(
            settings.provider,
            settings.limits,
            concurrency=settings.concurrency,
        )
        stop = StopSignal()
        downloads = Downloads(
            open_store(settings),
            run.run_id,
            run.ledger,
            ImageFetcher(allow_hosts=hosts),
            stop,
        )
        executor = ThreadExecutor(
            settings,
            run.run_id,
            ledger=run.ledger,
            client=client,
            downloads=downloads,
            stop=stop,
            counts=RunCounters(settings),
            jitter=jitter,
        )
        try:
            yield executor, list(run.plan.pending_jobs())
        finally:
            executor.close()
            downloads.close()
            client.close()


def test_retries_are_bounded_and_each_pause_is_drawn_anew(project: Project) -> None:
    """I7: without jitter there is no pause at all, so only the bound ends this."""
    drawn: list[float] = []

    def jitter() -> float:
        drawn.append(0.0)
        return 0.0

    with Provider(every=error_response(50500, 500)) as provider:
        config = configure_run(project, provider.url, 1, retry={"max_attempts": 5})
        with started(config, jitter) as (executor, jobs):
            assert run_to_end(lambda: executor.process(jobs)) == ChunkCounts(failed=1)
        assert len(provider.requests) == 5
    assert len(drawn) == 4
    assert ledger(config, "SELECT state, transient, runs, attempts FROM jobs") == [
        ("failed", 1, 1, 5)
    ]


def test_pauses_between_retries_double(project: Project) -> None:
    """D13: a tenth of 0.5, 1 and 2 seconds; lower bounds only."""
    with Provider(every=error_response(50500, 500)) as provider:
        config = configure_run(project, provider.url, 1, retry={"max_attempts": 4})
        with started(config, lambda: 0.1) as (executor, jobs):
            run_to_end(lambda: executor.process(jobs))
    gaps = [
        later - sooner
        for sooner, later in zip(provider.arrived, provider.arrived[1:], strict=False)
    ]
    assert len(gaps) == 3
    assert all(gap >= pause for gap, pause in zip(gaps, (0.05, 0.1, 0.2), strict=True))


def test_throttling_without_end_ends_and_is_pending_in_the_next_run(
    project: Project,
) -> None:
    """I7: it uses up no attempts, but has a bound of its own."""
    with Provider(every=error_response(50429, 429)) as provider:
        config = configure_run(project, provider.url, 1, retry={"max_attempts": 1})
        with started(config) as (executor, jobs):
            assert run_to_end(lambda: executor.process(jobs)) == ChunkCounts(failed=1)
        assert len(provider.requests) == THROTTLES_PER_JOB
        provider.every = None
        run = run_and_check(config, provider.charges)
    assert (run.report["succeeded"], run.report["calls"]) == (1, 1)


@pytest.mark.parametrize(
    ("ended", "trips"),
    [
        (["failed"] * 3, None),
        (["failed"] * 4, "failed or in doubt"),
        (["in_doubt"] * 4, "failed or in doubt"),
        (["failed", "in_doubt", "in_doubt", "succeeded"], "failed or in doubt"),
        (["failed", "failed", "succeeded", "succeeded"], None),
        (["refused"] * 4, "refused"),
        (["refused", "refused", "failed", "failed"], None),
        (["skipped"] * 9 + ["failed"] * 3, None),
        (["failed"] * 3 + ["succeeded"] * 2, "failed or in doubt"),
        (["failed"] * 2 + ["succeeded"] * 9 + ["failed"] * 2, None),
    ],
)
def test_the_breaker_looks_at_a_full_window_of_attempted_jobs(
    ended: list[str], trips: str | None
) -> None:
    """D1: more than half of the last four; what was skipped says nothing about the provider."""
    rate = FailureRate(Stop(failed_fraction=0.5, refused_fraction=0.5, window=4))
    said_so = [rate.record(outcome) for outcome in ended]
    assert next((what for what in said_so if what), None) == trips


def test_the_more_serious_reason_to_stop_is_the_one_reported() -> None:
    """Exit codes: 130 outranks 6, 6 outranks 5, 5 outranks 4; the first of equals stays."""
    signal = StopSignal()
    for code in (
        StopCode.BUDGET,
        StopCode.BREAKER,
        StopCode.CREDENTIALS,
        StopCode.BREAKER,
        StopCode.INTERRUPTED,
    ):
        signal.stop(StopReason(code, code.name))
        assert signal.is_set
    assert signal.reason == (StopCode.INTERRUPTED, "INTERRUPTED")
    signal.stop(StopReason(StopCode.INTERRUPTED, "again"))
    signal.stop(StopReason(StopCode.CREDENTIALS, "late"))
    assert signal.reason.reason == "INTERRUPTED"
    assert [int(code) for code in StopCode] == [4, 5, 6, 130]


def _succeeded(path: Path) -> int:
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        query = "SELECT count(*) FROM jobs WHERE state = 'succeeded'"
        return int(connection.execute(query).fetchone()[0])


def test_whoever_listens_late_hears_of_a_stop_all_the_same() -> None:
    """A6: a signal may come between any two steps of a run that starts; only news are told."""
    signal = StopSignal()
    signal.fail(PixmillError("first"))
    heard: list[str] = []
    signal.on_change(lambda: heard.append(str(signal.error)))
    signal.fail(PixmillError("a consequence"))
    signal.stop(StopReason(StopCode.BREAKER, "too many failed"))
    signal.stop(StopReason(StopCode.BUDGET, "less severe"))
    assert heard == ["first", "first"]
    assert not signal.is_interrupted


def breaking(path: Path, number: str, broken: Callable[[], None]) -> Behaviour:
    """Break the ledger in the middle of a call, say so, then answer the call.

    Before, two other calls are recorded: on a slow machine their answers may still be on their way.
    """

    def behave(peer: Any) -> None:
        wait_until(lambda: _succeeded(path) >= 2, "the calls before it are recorded")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute("ALTER TABLE attempts RENAME TO elsewhere")
        broken()
        answer(picture(f"a pet {number}", 3))(peer)

    return behave


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_ledger_that_breaks_in_mid_run_stops_the_paying_at_once(
    project: Project, concurrency: int
) -> None:
    """B1: calls in flight end, no further one is made, and the error says so; what was recorded stays."""
    path = project.folder / "out" / "ledger.db"
    sent: list[int] = []

    def note() -> None:
        sent.append(len(provider.requests))

    with Provider(
        {3: charged_but_lost(breaking(path, "2", note))}, delay=0.01
    ) as provider:
        config = configure_run(
            project, provider.url, 40, limits={"concurrency": concurrency}
        )
        with pytest.raises(LedgerError, match="could not be written"):
            run_to_end(lambda: run_config(config))
        assert 3 <= sent[0] <= len(provider.requests) <= sent[0] + 2 * (concurrency - 1)
    states = dict(ledger(config, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert states.keys() == {"in_flight", "succeeded"}
    assert states["succeeded"] >= 2
    assert sum(states.values()) == len(provider.requests)


def test_no_payload_is_built_before_its_turn(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A8: local images are megabytes, and `concurrency: auto` has a hundred threads that wait for a slot."""
    let_through: list[int] = []
    beginning = Job.beginning
    with Provider(delay=0.05) as provider:
        config = configure_run(
            project,
            provider.url,
            8,
            limits={"concurrency": 8},
            execution={"jobs_per_task": 8},
        )
        with started(config) as (executor, jobs):

            def counted(job: Job) -> bytes:
                let_through.append(executor._lanes.of(job).limiter.sent)
                return beginning(job)

            monkeypatch.setattr(Job, "beginning", counted)
            run_to_end(lambda: executor.process(jobs))
    assert len(let_through) == 8
    assert all(sent >= built for built, sent in enumerate(let_through, 1))


def test_no_more_is_paid_for_than_images_can_be_fetched(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A8: a slow host of images would let a queue grow with the table, and its URLs die a day later."""
    most, waiting = 3, list[int]()
    monkeypatch.setattr("pixmill.execution.image_downloads.MOST_WAITING", most)
    with Provider() as provider:
        gate = threading.Event()

        def slowly(peer: Peer) -> None:
            gate.wait(0.05)
            waiting.append(current[0].progress().images_waiting)
            answer(JPEG)(peer)

        with FaultyServer(slowly) as album:
            provider.body = lambda _, number: _with_url(
                f"{album.url}/{number}.jpg", number
            )
            config = configure_run(
                project,
                provider.url,
                40,
                output={"images": "download", "allow_hosts": ["127.0.0.1"]},
                limits={"concurrency": 2},
            )
            with started(config, hosts=["127.0.0.1"]) as (executor, jobs):
                current = [executor]
                assert run_to_end(lambda: executor.process(jobs)) == ChunkCounts(
                    succeeded=40
                )
    assert len(waiting) == 40
    assert max(waiting) <= most + 2


def _with_url(url: str, number: int) -> bytes:
    body = success(image_urls=[url])
    return json.dumps({**body, "request_id": f"call-{number}"}).encode()


def test_a_bug_in_one_job_hangs_nobody(project: Project) -> None:
    """A10: two chunks wait for one executor; the job with the bug is left, all others are paid for."""

    def bug() -> float:
        raise ZeroDivisionError("jitter")

    with Provider({2: error_response(50500, 500)}) as provider:
        config = configure_run(project, provider.url, 12, limits={"concurrency": 2})
        with started(config, bug) as (executor, jobs), ThreadPoolExecutor(2) as tasks:
            chunks = [
                tasks.submit(executor.process, part) for part in (jobs[:6], jobs[6:])
            ]
            counts = [chunk.result(30) for chunk in chunks]
        check_bill(config, provider.charges())
    assert sum(count.succeeded for count in counts) == 11
    assert sum(count.skipped for count in counts) == 1


def buggy(
    function: Callable[..., Any], is_hit: Callable[..., bool], times: int = 1
) -> Callable[..., Any]:
    """`function` with a bug that it meets so many times where `is_hit`, before it does anything."""
    met: list[object] = []

    def broken(*arguments: Any, **named: Any) -> Any:
        if len(met) < times and is_hit(*arguments):
            met.append(arguments)
            raise MemoryError("on purpose")
        return function(*arguments, **named)

    return broken


THIRD = b"a pet 3"

BUGS = {
    "before the claim": (
        Job,
        "beginning",
        lambda job: THIRD in job.head.encode(),
        "skipped",
    ),
    "in the claim": (Ledger, "claim", lambda *_: True, "skipped"),
    "in the call": (Client, "call", lambda _, body, __: THIRD in body, "in_doubt"),
    "judging the answer": (outcomes, "decide", lambda *_: True, "in_doubt"),
    "making the record": (
        settlement,
        "build_attempt",
        lambda *_: True,
        "in_doubt",
    ),
    "writing the record": (Ledger, "record", lambda *_: True, "in_doubt"),
    "fetching the image": (Downloads, "fetch", lambda *_: True, "succeeded"),
}
"""Where one job meets a bug, and what becomes of it."""


@pytest.mark.parametrize(("owner", "name", "is_hit", "status"), BUGS.values(), ids=BUGS)
def test_a_bug_costs_the_job_that_meets_it_and_no_other(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    is_hit: Callable[..., bool],
    status: str,
) -> None:
    """A10: its state is what is known of it, nothing stays in flight, and the next run pays for nothing twice."""
    with Provider() as provider:
        config = configure_run(project, provider.url, 12, output={"images": "download"})
        monkeypatch.setattr(owner, name, buggy(getattr(owner, name), is_hit))
        monkeypatch.setattr(ImageFetcher, "fetch", lambda *_: JPEG)
        report = run_to_end(lambda: run_config(config))
        rows = check_run(config, report, provider.charges())
        again = run_to_end(lambda: run_config(config))
        check_run(config, again, provider.charges())
    hit = {
        "skipped": "not_attempted",
        "in_doubt": "internal_error",
        "succeeded": "image_pending",
    }
    assert [row["error_code"] for row in rows if row["error_code"]] == [hit[status]]
    assert report[status] == (12 if status == "succeeded" else 1)
    assert report["exit_code"] == 3
    assert again["exit_code"] == 0
    assert again["succeeded"] == (11 if status == "in_doubt" else 12)


def test_many_bugs_end_the_paying(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A10: a program that fails on every answer must not pay for a whole table."""
    with Provider() as provider:
        config = configure_run(project, provider.url, 60, limits={"concurrency": 2})
        decide = buggy(
            outcomes.decide, lambda *of: of[2].code != "internal_error", times=60
        )
        monkeypatch.setattr(outcomes, "decide", decide)
        with pytest.raises(
            PixmillError, match="internal error: MemoryError: on purpose"
        ):
            run_to_end(lambda: run_config(config))
        assert MOST_BUGS <= len(provider.requests) <= MOST_BUGS + 1
        check_bill(config, provider.charges())
    assert dict(ledger(config, "SELECT state, count(*) FROM jobs GROUP BY state")) == {
        "in_doubt": len(provider.requests)
    }


def test_an_input_image_that_changed_is_skipped_and_the_rest_go_on(
    project: Project,
) -> None:
    """I4: the bytes are no longer those that the key stands for, so they are not sent."""
    for at in range(3):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(project.folder / f"{at}.png")
    with Provider() as provider:
        config = configure_run(project, provider.url, 0)
        project.write_rows(
            [{**row, "photo": f"{at}.png"} for at, row in enumerate(project.rows(3))]
        )
        project.config["input"]["columns"] = {"image_file": "photo", "prompt": "text"}
        project.write_config()
        with started(config) as (executor, jobs):
            Image.new("RGB", (8, 8), (0, 0, 9)).save(project.folder / "1.png")
            (project.folder / "2.png").unlink()
            assert run_to_end(lambda: executor.process(jobs)) == ChunkCounts(
                succeeded=1, skipped=2
            )
        assert provider.prompts == ["a pet 0"]


def test_each_chunk_gets_the_counts_of_its_own_jobs(project: Project) -> None:
    faults: dict[int | str, Fault] = {
        "a pet 1": error_response(50215),
        "a pet 4": error_response(50412),
        "a pet 5": error_response(50412),
    }
    with Provider(faults) as provider:
        config = configure_run(project, provider.url, 9)
        with started(config) as (executor, jobs), ThreadPoolExecutor(4) as tasks:
            parts = [jobs[:3], jobs[3:6], jobs[6:], []]
            counts = run_to_end(lambda: list(tasks.map(executor.process, parts)))
        assert len(provider.requests) == 9
    assert counts == [
        ChunkCounts(succeeded=2, failed=1),
        ChunkCounts(succeeded=1, refused=2),
        ChunkCounts(succeeded=3),
        ChunkCounts(),
    ]


def test_closing_skips_what_waits_and_leaves_no_caller_waiting(
    project: Project,
) -> None:
    """I7: the flow failed elsewhere; one job waits out a retry, one a hold, the others their slot."""
    with Provider(every=error_response(50429, 429, Retry_After="600")) as provider:
        config = configure_run(project, provider.url, 9, limits={"concurrency": 2})
        with (
            started(config, lambda: 1.0) as (executor, jobs),
            ThreadPoolExecutor(2) as tasks,
        ):
            chunks = [
                tasks.submit(executor.process, part) for part in (jobs[:5], jobs[5:])
            ]
            while executor.counts.calls < 1:
                threading.Event().wait(0.005)
            run_to_end(executor.close)
            counts = [chunk.result(30) for chunk in chunks]
            with pytest.raises(PixmillError, match="has ended"):
                run_to_end(lambda: executor.process(jobs))
        assert sum(count.skipped for count in counts) == 9
        assert len(provider.requests) == 1


def test_an_interrupted_run_records_what_is_in_flight_and_goes_on_later(
    project: Project,
) -> None:
    """A6: the interrupt comes while calls are in flight; their answers are kept, nothing else is sent."""
    current: list[ActiveRun] = []

    def interrupting(peer: Any) -> None:
        current[0].interrupt("SIGTERM")
        answer(picture("a pet 5", 6))(peer)

    def interrupted(config: str) -> dict[str, Any]:
        with prepare(load_config(config)) as prepared:
            run = prepared.start()
            current.append(run)
            pay_for_chunks(run)
            return run.finish().as_dict()

    with Provider({6: charged_but_lost(interrupting)}, delay=0.02) as provider:
        config = configure_run(project, provider.url, 40)
        report = run_to_end(lambda: interrupted(config))
        check_run(config, report, provider.charges())
        sent = len(provider.requests)
        rest = run_and_check(config, provider.charges)
    assert (report["exit_code"], report["succeeded"], report["skipped"]) == (
        130,
        sent,
        40 - sent,
    )
    assert 6 <= sent <= 6 + 3
    assert (
        rest.report["exit_code"],
        rest.report["succeeded"],
        rest.report["cached"],
    ) == (0, 40, sent)


def test_two_runs_of_one_process_share_the_work(project: Project) -> None:
    """I6f: two configs on one store, from two threads; every key is paid once, whoever takes it."""
    with Provider(delay=0.002) as provider:
        config = configure_run(project, provider.url, 40)
        other = project.folder / "other.yaml"
        other.write_text(Path(config).read_text().replace("name: pets", "name: others"))
        with ThreadPoolExecutor(2) as both:
            reports = list(both.map(run_config, [config, str(other)]))
        assert (
            len(provider.requests) == 40 == sum(report["calls"] for report in reports)
        )
        for name in (config, str(other)):
            again = run_and_check(name, provider.charges)
            assert (
                again.report["exit_code"],
                again.report["succeeded"],
                again.report["calls"],
            ) == (0, 40, 0)


def test_a_machine_without_a_thread_for_calls_is_named_and_nothing_is_sent(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A12: nobody waits for threads that can't be started."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Provider() as provider:
        config = configure_run(project, provider.url, 2)
        with started(config) as (executor, jobs), monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(PixmillError, match="can't start a thread for calls"):
                executor.process(jobs)
        assert provider.requests == []
