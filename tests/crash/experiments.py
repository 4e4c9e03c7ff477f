"""What is done to scenes, each time in a sandbox of its own: kills, kills during recovery, failing calls.

These run in the experiment server, which forks. A result says how often was injected, and all that went wrong.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.bare_ledger import BARE_LEDGER
from tests.crash.billing import Billing
from tests.crash.candidate_runs import CANDIDATE_RUN
from tests.crash.sandboxes import CONCURRENCY, Sandbox, Scene, checking, working
from tests.crash.task_runs import TASK_RUN
from tests.crash.tracing import KILL, Call, Watcher, end_with, watched
from tests.crash.whole_runs import WHOLE_RUNS

SCENES: dict[str, Scene] = {
    "a bare ledger": BARE_LEDGER,
    "a run of tasks": TASK_RUN,
    "a run of candidates": CANDIDATE_RUN,
    **WHOLE_RUNS,
}


class ExperimentContext(NamedTuple):
    """What a warm process has for its experiments: a provider and a folder for sandboxes."""

    provider: Billing
    folder: Path

    def sandbox(self, scene: Scene) -> Sandbox:
        """A new sandbox, in which `scene` may begin."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="sandbox-"))
        sandbox = Sandbox(folder, folder.name, self.provider)
        scene.set_up(sandbox)
        return sandbox


def alone(work: Callable[[], object]) -> int:
    """Do `work` in a forked child that nobody watches; 0 where it returned, 1 where it raised."""
    child = os.fork()
    if child == 0:
        end_with(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_ours(sandbox: Sandbox, call: Call) -> bool:
    """Whether a call is about the store or the network."""
    store = str(sandbox.store)
    return any(path.startswith((store, "socket:")) for path in call.paths)


def at_call(sandbox: Sandbox, number: int, fate: int) -> Watcher:
    """A watcher that gives the `number`-th call of ours, from 1, its `fate`."""
    seen = 0

    def watch(call: Call) -> int:
        nonlocal seen
        seen += is_ours(sandbox, call)
        return fate if seen == number and is_ours(sandbox, call) else 0

    return watch


def kills(
    context: ExperimentContext,
    scene: str,
    first: int,
    step: int,
    last: int | None = None,
) -> dict[str, Any]:
    """Kill the work at its `first` call and at every `step`-th after that, until it ends before it is killed.

    No call after the `last` one, where that is given.
    """
    begun, wrong, killed = time.monotonic(), [], 0
    for number in count(first, step) if last is None else range(first, last + 1, step):
        sandbox = context.sandbox(SCENES[scene])
        code = watched(working(SCENES[scene], sandbox), at_call(sandbox, number, KILL))
        killed += code == -9
        wrong += verdict(
            sandbox,
            SCENES[scene],
            code in (0, -9),
            CONCURRENCY,
            f"killed at call {number}",
        )
        if code != -9:
            break
    return {
        "kills": killed,
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
    }


def kills_twice(
    context: ExperimentContext, scene: str, firsts: Iterable[int], first: int, step: int
) -> dict[str, Any]:
    """Kill the work at each of `firsts`, and its recovery as `kills` does."""
    begun, wrong, killed = time.monotonic(), [], 0
    for number in firsts:
        for second in count(first, step):
            sandbox = context.sandbox(SCENES[scene])
            codes = [
                watched(working(SCENES[scene], sandbox), at_call(sandbox, at, KILL))
                for at in (number, second)
            ]
            killed += codes.count(-9)
            what = f"killed at call {number}, and at call {second} of the recovery"
            wrong += verdict(
                sandbox, SCENES[scene], set(codes) <= {0, -9}, 2 * CONCURRENCY, what
            )
            if codes[1] != -9:
                break
    return {
        "kills": killed,
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
    }


def verdict(
    sandbox: Sandbox, scene: Scene, as_expected: bool, in_flight: int, what: str
) -> list[str]:
    """Let the scene recover; return what is wrong, with what the processes said. The sandbox is kept then."""
    recovered = alone(checking(scene, sandbox, in_flight)) == 0
    if as_expected and recovered:
        shutil.rmtree(sandbox.folder)
        return []
    return [f"{what} ({sandbox.folder}):\n{sandbox.stderr.read_text()[-3000:]}"]


def errors(
    context: ExperimentContext,
    scene: str,
    at: str,
    calls: list[str],
    errno: int,
    for_ever: bool,
    first: int,
    step: int,
) -> dict[str, Any]:
    """Let one of the `calls` on paths that contain `at` fail with `errno`, or all from then on: the `first`, `step`…

    The work has to end with an error then, with no more claims after the first failed call than were being made then.
    The result says what the work was `charged`, and which types were `raised`.
    """
    begun, wrong, injected, charged, raised = time.monotonic(), [], 0, 0, set()
    for number in count(first, step):
        sandbox = context.sandbox(SCENES[scene])
        fault = Fault(sandbox, at, frozenset(calls), errno, number, for_ever)
        code = watched(working(SCENES[scene], sandbox), fault)
        injected += fault.failed > 0
        charged += len(sandbox.provider.charges(sandbox.tag)) if fault.failed else 0
        if code == 1:
            raised.add(sandbox.stderr.read_text().splitlines()[-1].partition(":")[0])
        as_expected = fault.was_heeded(code) if fault.failed else code == 0
        what = f"{fault.failed} calls failed from {number} on, {fault.late} claims after that, exit {code}"
        wrong += verdict(sandbox, SCENES[scene], as_expected, CONCURRENCY, what)
        if not fault.failed:
            break
    return {
        "injected": injected,
        "charged": charged,
        "raised": sorted(raised),
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
    }


class Fault:
    """A watcher that lets calls fail. `failed` of them have; `late` claims were granted since the first."""

    def __init__(
        self,
        sandbox: Sandbox,
        at: str,
        calls: frozenset[str],
        errno: int,
        number: int,
        for_ever: bool,
    ) -> None:
        self._at, self._calls, self._errno = f"{sandbox.store}{at}", calls, errno
        self._number, self._for_ever, self._marks = number, for_ever, str(sandbox.marks)
        self._seen = self.failed = self.late = self._noted = 0

    def __call__(self, call: Call) -> int:
        if self.failed and call.name == "write" and call.paths[0] == self._marks:
            self._noted += 1
            self.late += b'"claim"' in call.data()
        if call.name not in self._calls or not call.paths[-1].startswith(self._at):
            return 0
        self._seen += 1
        if self._seen < self._number or (self.failed and not self._for_ever):
            return 0
        self.failed += 1
        return self._errno

    def was_heeded(self, code: int) -> bool:
        """Whether work that ended with `code` took notice. Closing the ledger may fail: all of it is in its log."""
        closing = not self._noted and not self._at.endswith("/pets")
        return self.late <= CONCURRENCY and (code == 1 or (code == 0 and closing))
