"""Losing power: work is done once while its calls are written down; then the disk is what it could be at any moment.

SIGKILL can't show a missing sync, as what was written survives in memory; here it is gone.
"""

import json
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pixmill.ledger import open_ledger
from tests.crash.disk import Change, Disk, change
from tests.crash.durability import check_kept
from tests.crash.experiments import SCENES, ExperimentContext, alone
from tests.crash.sandboxes import CONCURRENCY, Sandbox, Scene, silence, working
from tests.crash.tracing import Call, watched


class Trace(NamedTuple):
    """What a store held (folders: `None`); changes to it, and to the lists of what was acknowledged and paid."""

    before: dict[str, bytes | None]
    changes: list[tuple[bool, Change]]

    def add(self, sandbox: Sandbox, call: Call) -> int:
        """Take a call down, as a watcher that lets it go."""
        path = call.paths[-1]
        in_store = path.startswith(str(sandbox.store))
        if (in_store or path.startswith(str(sandbox.folder))) and not path.endswith(
            ("-shm", "stderr.txt")
        ):
            self.changes.append(
                (
                    in_store,
                    change(call, str(sandbox.store if in_store else sandbox.folder)),
                )
            )
        return 0

    def leave(self, sandbox: Sandbox, random: Random) -> int:
        """Leave in `sandbox` what a power loss at a random moment leaves; return how many changes came before."""
        moment = random.randrange(len(self.changes) + 1)
        disk, outside = Disk(self.before), defaultdict(bytes)
        for in_store, what in self.changes[:moment]:
            if in_store:
                disk.apply(what)
            elif what.data:
                outside[what.path] += what.data
        for path, data in disk.after_loss(random).items():
            _write(sandbox.store / path, data)
        for path, data in outside.items():
            _write(sandbox.folder / path, data)
        return moment


def power_losses(
    context: ExperimentContext, scene: str, seeds: int, recover: bool
) -> dict[str, Any]:
    """Do the work once, then lose power at `seeds` moments of it; look at what is left, and let it `recover`."""
    begun, sandbox = time.monotonic(), context.sandbox(SCENES[scene])
    trace = Trace(_content(sandbox.store), [])
    code = watched(
        working(SCENES[scene], sandbox), lambda call: trace.add(sandbox, call)
    )
    found = sandbox.folder / "found.json"

    def look() -> None:
        silence(sandbox)
        wrong = [
            each
            for seed in range(seeds)
            if (each := _wrong(context, SCENES[scene], trace, seed, recover))
        ]
        found.write_text(json.dumps(wrong))

    looked = alone(look) == 0
    wrong = (
        json.loads(found.read_text())
        if looked and code == 0
        else [sandbox.stderr.read_text()]
    )
    return {
        "losses": seeds,
        "changes": len(trace.changes),
        "syncs": sum(what.name == "sync" for _, what in trace.changes),
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _wrong(
    context: ExperimentContext, scene: Scene, trace: Trace, seed: int, recover: bool
) -> str | None:
    """What is wrong after the power loss of a `seed`."""
    with tempfile.TemporaryDirectory(dir=context.folder, prefix="lost-") as folder:
        sandbox = Sandbox(Path(folder), Path(folder).name, context.provider)
        moment = trace.leave(sandbox, Random(seed))
        try:
            scene.look(sandbox)
            ledger = open_ledger(sandbox.store / "ledger.db")
            assert ledger
            ledger.close()
            check_kept(sandbox)
            if recover:
                scene.act(sandbox)
                scene.check(sandbox, CONCURRENCY)
        except Exception:
            files = sorted(
                str(path.relative_to(folder))
                for path in Path(folder).rglob("*")
                if path.is_file()
            )
            return f"power lost after {moment} changes, seed {seed}, files {files}:\n{traceback.format_exc()}"
    return None


def _content(folder: Path) -> dict[str, bytes | None]:
    paths = folder.rglob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
