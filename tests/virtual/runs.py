"""Runs in the virtual world: the real executor, queue, limiter and ledger, and the promises that are held against them.

The promises are the invariants of the fault catalogue: I1 what was acknowledged stays, I2 nothing is paid twice, I3 the
bill and the ledger agree, I4 every job is in one state, I6 no success is lost, I7 all ends, I8 the limits hold. They
are looked at when a call arrives at the provider, when an outcome is on disk, and when a process has ended.
"""

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pixmill.config.model import Config
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts, RunCounters
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.ledger import Attempt, Ledger, State, queries
from pixmill.ledger.process_owner import this_owner
from pixmill.planning.jobs import Job
from pixmill.tuning import THROTTLES_PER_JOB
from tests.virtual.service import Service, VirtualClient, VirtualImages, Weather
from tests.virtual.threads import Thread
from tests.virtual.world import Process, World

Patience = Callable[[StopSignal], None]
Rows = dict[str, tuple[str, str | None, str | None, int]]
"""By job key: state, owner, output URLs and attempts."""
FEW = 32
SECONDS_FOR_IMAGES = 4.0
STATES = frozenset(map(str, State))


def config_with(**sections: Any) -> Config:
    """A config for runs without a table; `sections` as in YAML."""
    whole = {
        "name": "pets",
        "input": {"path": "pets.csv"},
        "provider": {"kind": "gateway"},
        **sections,
    }
    return Config.model_validate(whole)


def jobs_numbered(count: int) -> list[Job]:
    """Jobs that the provider knows by their number."""
    return [
        Job(
            sha256(b"%d" % at).hexdigest(),
            at + 1,
            "",
            "base",
            "virtual",
            f'{{"prompt":"{at}"',
            at,
        )
        for at in range(count)
    ]


class WatchedLedger(Ledger):
    """A ledger that tells which outcomes it has acknowledged."""

    watch: "Store"

    def record(self, recorded: Attempt) -> None:
        self.watch.answered(recorded)
        super().record(recorded)
        self.watch.acknowledged(recorded)

    def record_task(self, job_key: str, task_id: str, *, lease_seconds: float) -> None:
        super().record_task(job_key, task_id, lease_seconds=lease_seconds)
        self.watch.submitted(job_key, task_id)


class Store:
    """A ledger file, the provider's service and the jobs, with all that must hold between them."""

    def __init__(
        self,
        world: World,
        path: Path,
        config: Config,
        weather: Callable[[float], Weather],
        jobs: int,
    ) -> None:
        self.world, self.path, self.config = world, path, config
        self.jobs = self._make_jobs(jobs)
        self.service = self._make_service(weather)
        self.service.on_call = self._call_arrives
        self.images_failing = 0.1
        self.counts: dict[str, ChunkCounts] = {}
        self._runs = 0
        self._urls: dict[str, str | None] = {}
        self._keys = {str(at): job.key for at, job in enumerate(self.jobs)}
        self._recent: dict[Process, deque[float]] = {}
        self._arrived: Counter[str] = Counter()
        self._of_job: Counter[tuple[str, str]] = Counter()
        self._of_run: Counter[str] = Counter()
        self._faults: Counter[tuple[str, str]] = Counter()
        self._signals: dict[Process, float] = {}
        self.left: Counter[str] = Counter()
        self._run_of: dict[Process, tuple[str, Config]] = {}
        self._look = sqlite3.connect(path, isolation_level=None)
        self._open: list[Ledger] = []

    def _make_jobs(self, count: int) -> list[Job]:
        return jobs_numbered(count)

    def _make_service(self, weather: Callable[[float], Weather]) -> Service:
        return Service(self.world, weather)

    def _make_client(self) -> Any:
        deadline = self.config.limits.timeout_seconds
        return VirtualClient(self.world, self.service, deadline)

    # A run

    def run(
        self,
        config: Config | None = None,
        *,
        chunks: int = 2,
        patience: Patience | None = None,
    ) -> None:
        """Do what `pixmill run` does from plan to end, in the process that this thread belongs to."""
        config = config or self.config
        self._runs += 1
        run_id = f"run-{self._runs}"
        self._run_of[self.world.here] = run_id, config
        ledger = WatchedLedger(self.path)
        ledger.watch = self
        self._open.append(ledger)
        pending = self._pending(ledger, config)
        ledger.begin_run(run_id, config.name)
        if pending:
            self.counts[run_id] = self._pay(
                ledger, run_id, config, pending, chunks, patience
            )
        ledger.finish_run(run_id, {})
        self._nothing_left_in_flight(run_id)
        ledger.close()

    def _pending(self, ledger: Ledger, config: Config) -> list[Job]:
        """What a plan would pay for: nobody knows it, it is wanted again, or somebody else may be at it."""
        retry_doubt = config.in_doubt == "retry"
        found = ledger.known(
            [job.key for job in self.jobs],
            max_runs=config.retry.max_runs,
            retry_doubt=retry_doubt,
        )
        return [
            job
            for job, state, again in zip(
                self.jobs, found.states, found.again, strict=True
            )
            if state in (None, State.PENDING, State.IN_FLIGHT) or again
        ]

    def _pay(
        self,
        ledger: Ledger,
        run_id: str,
        config: Config,
        jobs: Sequence[Job],
        chunks: int,
        patience: Patience | None,
    ) -> ChunkCounts:
        world = self.world
        stop = StopSignal()
        downloads = Downloads(
            self.path.parent,  # type: ignore[arg-type]
            run_id,
            ledger,
            VirtualImages(world, self.images_failing),  # type: ignore[arg-type]
            stop,
        )
        downloads._store = downloads._fetcher  # type: ignore[assignment]
        executor = ThreadExecutor(
            config,
            run_id,
            ledger=ledger,
            client=self._make_client(),
            downloads=downloads,
            stop=stop,
            counts=RunCounters(config, len(jobs)),
            jitter=world.random.random,
        )
        counts: list[ChunkCounts] = []
        tasks = [
            Thread(
                target=lambda part: counts.append(executor.process(part)),
                args=(jobs[at::chunks],),
                name=f"chunk-{at}",
            )
            for at in range(chunks)
        ]
        for task in tasks:
            task.start()
        if patience:
            Thread(target=patience, args=(stop,), name="signal").start()
        for task in tasks:
            task.join()
        executor.close()
        self._ended_in_time()
        downloads.close()
        self._stopped_for_good_reason(
            stop, config, ledger.read(queries.calls_of, run_id)
        )
        total = ChunkCounts(*map(sum, zip(*counts, strict=True)))
        if sum(total) != len(jobs):
            world.fail(f"I4: {len(jobs)} jobs ended as {total}")
        return total

    # What must hold

    def _rows(self, only: str | None = None) -> Rows:
        """All jobs of the ledger; where there are many, mostly `only` one: looking at all takes too long."""
        all_of_them = (
            only is None
            or len(self.jobs) <= FEW
            or self.world.random.random() < FEW / len(self.jobs) / 2
        )
        which = ("", ()) if all_of_them else (" WHERE job_key = ?", (only,))
        rows = self._look.execute(
            f"SELECT job_key, state, owner, output_urls, attempts FROM jobs{which[0]}",
            which[1],
        )
        return {
            key: (state, owner, urls, attempts)
            for key, state, owner, urls, attempts in rows
        }

    def _call_arrives(self, process: Process, job: str) -> None:
        key = self._keys[job]
        rows = self._rows(key)
        self._arrived[key] += 1
        state, owner, _, attempts = rows.get(key, ("", None, None, 0))
        given_up = process.freezes and owner != this_owner()
        if not given_up and (state == "" or owner is None or owner != this_owner()):
            self.world.fail(
                f"I3: a call for job {job} arrives, and the ledger holds no intent of it ({state})"
            )
        if self._arrived[key] > attempts:
            self.world.fail(
                f"I3: call {self._arrived[key]} for job {job} arrives, the ledger knows {attempts}"
            )
        self._paid_once(job)
        self._within_limits(process)
        self._bounded(process, key)
        self._still_there(rows)

    def _paid_once(self, job: str) -> None:
        drawn_again = min(self.service.reroll_seed[job], self.config.retry.rerolls)
        allowed = (
            1 if self.config.in_doubt == "hold" else self.config.retry.max_runs
        ) + drawn_again
        if self.service.bill[job] > allowed:
            self.world.fail(
                f"I2: job {job} was paid {self.service.bill[job]} times, at most {allowed} are allowed"
            )

    def _within_limits(self, process: Process) -> None:
        limits = self.config.limits
        if process.freezes:
            return
        if self.service.in_flight[process] > self.config.concurrency:
            self.world.fail(
                f"I8: {self.service.in_flight[process]} calls of {process.name} are in flight"
            )
        if process not in self.service.answered and self.service.in_flight[process] > 1:
            self.world.fail(
                f"I1f: {process.name} sends a second call, and nobody has answered the first"
            )
        recent = self._recent.setdefault(process, deque())
        recent.append(self.world.now)
        while recent[0] <= self.world.now - 1:
            recent.popleft()
        if len(recent) > limits.qps * 1.1 + 1:
            self.world.fail(
                f"I8: {len(recent)} calls of {process.name} within a second"
            )

    def _bounded(self, process: Process, key: str) -> None:
        run_id, config = self._run_of[process]
        self._of_job[run_id, key] += 1
        self._of_run[run_id] += 1
        calls, most = (
            self._of_run[run_id],
            config.retry.max_attempts + config.retry.rerolls + THROTTLES_PER_JOB,
        )
        if self._of_job[run_id, key] > most:
            self.world.fail(
                f"I7: {self._of_job[run_id, key]} calls for one job in {run_id}"
            )
        if calls > (config.budget.max_calls or calls):
            self.world.fail(
                f"E15: call {calls} of {run_id} is over the budget of {config.budget.max_calls}"
            )

    def answered(self, recorded: Attempt) -> None:
        """A call has ended: where nobody could take this process for dead, its claim is still its own."""
        key = recorded.job_key
        _, owner, _, _ = self._rows(key)[key]
        if owner != this_owner() and all(
            process.host == "here" for process in self.world.processes
        ):
            self.world.fail(
                f"H3: a claim on {key[:8]} was taken away from a process that lives"
            )
        # The run that asks: the one that submitted a task may have been another.
        run_id, _ = self._run_of[self.world.here]
        self._faults[run_id, key] += recorded.verdict == "retry"
        if self._faults[run_id, key] > self.config.retry.max_attempts:
            self.world.fail(
                f"I7: {self._faults[run_id, key]} faults for one job in {run_id}"
            )

    def progress(self) -> tuple[int, int]:
        """How many calls were made, and how many answers are on disk: also polls bring some."""
        (answers,) = self._look.execute("SELECT count(*) FROM attempts").fetchone()
        return self.service.calls.total(), answers

    def submitted(self, job_key: str, task_id: str) -> None:
        """A task is on disk: from now on nobody may submit its job again before it has ended."""

    def acknowledged(self, recorded: Attempt) -> None:
        """An outcome is on disk: from now on a success has to stay."""
        if recorded.state is State.SUCCEEDED:
            self._urls[recorded.job_key] = recorded.output_urls
        self._still_there(self._rows(recorded.job_key))

    def _still_there(self, rows: Rows) -> None:
        for key, (state, _, urls, _) in rows.items():
            if key in self._urls and (state, urls) != (
                State.SUCCEEDED,
                self._urls[key],
            ):
                self.world.fail(f"I1, I6: {key[:8]} had succeeded, and is {state} now")
        for state, owner, _, _ in rows.values():
            if state not in STATES or (state == State.IN_FLIGHT and owner is None):
                self.world.fail(f"I4: a job is {state}, owned by {owner}")

    def _stopped_for_good_reason(
        self, stop: StopSignal, config: Config, calls: int
    ) -> None:
        allowed = config.budget.max_calls
        if (
            stop.reason
            and stop.reason.code == StopCode.BUDGET
            and allowed is not None
            and calls < allowed
        ):
            self.world.fail(
                f"E15: stopped by its budget of {allowed} calls after {calls}"
            )

    def stop(self, stop: StopSignal) -> None:
        """Do what a signal does."""
        self._signals.setdefault(self.world.here, self.world.now)
        stop.stop(StopReason(StopCode.INTERRUPTED, "by signal"))

    def _ended_in_time(self) -> None:
        """After a signal only calls in flight and their images are waited for."""
        process = self.world.here
        longest = self._longest_call() + 2 + SECONDS_FOR_IMAGES
        late = self.world.now - self._signals.get(process, self.world.now)
        if late > longest and not process.freezes:
            self.world.fail(f"A6: it took {late:.1f} s to end after a signal")

    def _longest_call(self) -> float:
        return self.service.longest

    def _nothing_left_in_flight(self, run_id: str) -> None:
        own = this_owner()
        left = [
            key[:8] for key, (_, owner, _, _) in self._rows().items() if owner == own
        ]
        if left:
            self.world.fail(
                f"A6: {run_id} has ended, and calls of it were not recorded: {left}"
            )

    def balance(self) -> None:
        """I3: what the provider has on its bill is what the ledger says, within what the ledger calls unknown."""
        query = (
            "SELECT job_key, sum(charged = 'yes'), sum(charged = 'unknown'), count(*) FROM attempts "
            "WHERE id NOT IN (SELECT supersedes FROM attempts WHERE supersedes IS NOT NULL) GROUP BY 1"
        )
        known = {key: sums for key, *sums in self._look.execute(query)}
        rows = self._rows()
        held = self._held(rows)
        if lost := self._urls.keys() - rows.keys():
            self.world.fail(f"I1: the ledger has lost {lost}")
        for job, key in self._keys.items():
            yes, unknown, calls = known.get(key, (0, 0, 0))
            billed = self.service.bill[job]
            if not yes <= billed <= yes + unknown + (key in held):
                self.world.fail(
                    f"I3: job {job} is billed {billed} times; the ledger says {yes} to {yes + unknown}"
                )
            if calls + (key in held) > (rows[key][3] if key in rows else 0):
                self.world.fail(
                    f"I3: {calls} calls for job {job} in the ledger, more than claims"
                )
            if self.service.calls[job] > calls + (key in held):
                self.world.fail(
                    f"I3: {self.service.calls[job]} calls for job {job}, {calls} in the ledger"
                )

    def _held(self, rows: Rows) -> set[str]:
        """The jobs with a call whose end is not on record."""
        return {key for key, (_, owner, _, _) in rows.items() if owner}

    def states(self) -> Counter[str]:
        """How many jobs are in each state."""
        return Counter(state for state, *_ in self._rows().values())

    def close(self) -> None:
        """Let go of the file, also for the processes that died."""
        self.left = self.states()
        self._look.close()
        for ledger in self._open:
            ledger.database.close()
