"""Runs of asynchronous operations in the virtual world, and what must hold of their tasks beside all else.

T1: no second submit where a `task_id` is on disk and its task has not ended. T2: no result that lives is given up or
left. T3: only submits whose answer is not on disk are in doubt. T4: no poll before the `task_id` is on disk. T5: the
limits hold for each operation, and `poll_qps` for all polls. Numbers as in `tests.virtual.runs` are those of the fault
catalogue.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from pixmill.config.model import Config
from pixmill.ledger import Attempt, Ledger, State
from pixmill.planning.jobs import Job
from tests.virtual.runs import Rows, Store, jobs_numbered
from tests.virtual.service import Service
from tests.virtual.task_service import TaskService, virtual_client
from tests.virtual.world import Process

FIRST, SECOND = "virtual_first", "virtual_second"
"""Two operations that nobody has registered."""


class TaskStore(Store):
    """A store whose jobs are asynchronous; every `operations`-th one is of the same operation."""

    operations: tuple[str, ...] = (FIRST,)
    service: TaskService

    def __init__(self, *about: Any) -> None:
        self._recent_submits: dict[tuple[Process, str], deque[float]] = {}
        self._recent_polls: dict[Process, deque[float]] = {}
        self._told: dict[str, str] = {}
        """By job key: its task whose id is on disk, until what became of it is."""
        self.on_disk: dict[str, tuple[str, int]] = {}
        """By id: the job key and the number of the claim of each task that was ever on disk."""
        super().__init__(*about)
        self.service.on_poll = self._poll_arrives

    def _make_jobs(self, count: int) -> list[Job]:
        return [
            self._as_task(job, self.operations[at % len(self.operations)])
            for at, job in enumerate(jobs_numbered(count))
        ]

    def _as_task(self, job: Job, req_key: str) -> Job:
        head = f'{job.head},"req_key":"{req_key}"'
        return job._replace(req_key=req_key, head=head, result_options="{}")

    def _make_service(self, weather: Callable[[float], Any]) -> Service:
        return TaskService(self.world, weather)

    def _make_client(self) -> Any:
        deadline = self.config.limits.timeout_seconds
        return virtual_client(self.world, self.service, deadline)

    def _pending(self, ledger: Ledger, config: Config) -> list[Job]:
        """What a plan would do: tasks that nobody waits for come first."""
        found = ledger.known(
            [job.key for job in self.jobs],
            max_runs=config.retry.max_runs,
            retry_doubt=config.in_doubt == "retry",
        )
        elsewhere = (State.IN_FLIGHT, State.SUBMITTED)
        out, to_pay = [], []
        for job, state, again, is_out in zip(
            self.jobs, found.states, found.again, found.unattended, strict=True
        ):
            if is_out:
                out.append(job._replace(has_task=True))
            elif state in (None, State.PENDING, *elsewhere) or again:
                to_pay.append(job)
        return [*out, *to_pay]

    # What must hold

    def _call_arrives(self, process: Process, job: str) -> None:
        key = self._keys[job]
        if key in self._told:
            self.world.fail(
                f"T1: job {job} is submitted again, and its task {self._told[key]} is on disk"
            )
        super()._call_arrives(process, job)

    def _poll_arrives(self, process: Process, task_id: str) -> None:
        if task_id not in self.on_disk:
            self._note_unheard(task_id)
        # Who was given up while it was frozen may have found no place for its id.
        if task_id not in self.on_disk and not process.freezes:
            self.world.fail(f"T4: {task_id} is asked for, and its id is not on disk")
        recent = self._recent_polls.setdefault(process, deque())
        self._count_recent(recent, self.config.limits.poll_qps, "polls")

    def _note_unheard(self, task_id: str) -> None:
        """Note a task whose id was committed by a process that died before it heard of that."""
        on_record = self._look.execute(
            "SELECT job_key, attempts FROM jobs WHERE claim_task = ?", (task_id,)
        ).fetchone()
        if on_record:
            self.on_disk[task_id] = on_record

    def _within_limits(self, process: Process) -> None:
        if process.freezes:
            return
        limits = self.config.limits
        for req_key in self.operations:
            submitting = self.service.submitting[process, req_key]
            out = submitting + len(self._own_tasks(process, req_key))
            if out > self.config.concurrency:
                self.world.fail(
                    f"T5: {out} tasks of {req_key} of {process.name} are out"
                )
            if submitting > 1 and (process, req_key) not in self.service.proven:
                self.world.fail(
                    f"I1f: {process.name} submits a second task of {req_key}, and nobody has answered the first"
                )
        job = self.service.sent[-1][1]
        lane = process, self.jobs[int(job)].req_key
        recent = self._recent_submits.setdefault(lane, deque())
        self._count_recent(recent, limits.qps, f"submits of {lane[1]}")

    def _own_tasks(self, process: Process, req_key: str) -> list[str]:
        """The tasks that work, and that `process` has been told of and has not left."""
        most = self.config.limits.task_timeout_seconds
        told = set(self._told.values())
        return [
            task.task_id
            for task in self.service.working(req_key)
            if task.process is process
            and task.task_id in told
            and self.world.now - task.began < most
        ]

    def _count_recent(self, recent: deque[float], qps: float, what: str) -> None:
        process = self.world.here
        recent.append(self.world.now)
        while recent[0] <= self.world.now - 1:
            recent.popleft()
        if len(recent) > qps * 1.1 + 1 and not process.freezes:
            self.world.fail(f"T5: {len(recent)} {what} by {process.name} in a second")

    def submitted(self, job_key: str, task_id: str) -> None:
        row = self._look.execute(
            "SELECT claim_task, attempts FROM jobs WHERE job_key = ?", (job_key,)
        ).fetchone()
        if row[0] == task_id:
            self._told[job_key] = task_id
            self.on_disk[task_id] = job_key, row[1]
        elif not self.world.here.freezes:
            self.world.fail(f"T1: {task_id} was said to be on disk, and is not")

    def answered(self, recorded: Attempt) -> None:
        super().answered(recorded)
        task_id = recorded.task_id
        if task_id is None:
            return
        if recorded.state is State.IN_DOUBT:
            if recorded.code != "task_not_found":
                self.world.fail(f"T3: {task_id} is in doubt by {recorded.code}")
            if self.service.is_known(task_id):
                self.world.fail(f"T2: {task_id} is given up, and its result lives")
        # From here on it has ended, as somebody has been told.
        if self._told.get(recorded.job_key) == task_id:
            del self._told[recorded.job_key]

    def _longest_call(self) -> float:
        """A signal waits for tasks as long as any run does, and for the last poll of each."""
        limits = self.config.limits
        last_poll = limits.poll_seconds * 1.1 + 35
        return limits.task_timeout_seconds + last_poll + super()._longest_call()

    def _held(self, rows: Rows) -> set[str]:
        out = "SELECT job_key FROM jobs WHERE claim_task IS NOT NULL"
        return super()._held(rows) | {key for (key,) in self._look.execute(out)}

    def balance(self) -> None:
        """I3, and T3: no claim whose task was on disk was ever put into doubt because its process died."""
        super().balance()
        died = self._look.execute(
            "SELECT job_key, attempt FROM attempts WHERE code = 'process_died' AND id NOT IN "
            "(SELECT supersedes FROM attempts WHERE supersedes IS NOT NULL)"
        )
        doubted = set(died) & set(self.on_disk.values())
        if doubted:
            self.world.fail(f"T3: tasks on disk were put into doubt: {doubted}")

    def left_out(self) -> Counter[str]:
        """How many tasks are on disk whose end is not, by their fate."""
        out = "SELECT claim_task FROM jobs WHERE claim_task IS NOT NULL"
        return Counter(
            self.service.tasks[task_id].fate for (task_id,) in self._look.execute(out)
        )
