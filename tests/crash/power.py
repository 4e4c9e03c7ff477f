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
from tests.crash.experiments import SCENES, Nursery, alone
from tests.crash.places import CONCURRENCY, Place, Scene, silence, working
from tests.crash.promises import check_kept
from tests.crash.tracing import Call, watched


class Trace(NamedTuple):
    """What a store held (folders: `None`); changes to it, and to the lists of what was acknowledged and paid."""

    before: dict[str, bytes | None]
    changes: list[tuple[bool, Change]]

    def add(self, place: Place, call: Call) -> int:
        """Take a call down, as a watcher that lets it go."""
        path = call.paths[-1]
        in_store = path.startswith(str(place.store))
        if (in_store or path.startswith(str(place.folder))) and not path.endswith(
            ("-shm", "said.txt")
        ):
            self.changes.append(
                (in_store, change(call, str(place.store if in_store else place.folder)))
            )
        return 0

    def leave(self, place: Place, random: Random) -> int:
        """Leave in `place` what a power loss at a random moment leaves; return how many changes came before."""
        moment = random.randrange(len(self.changes) + 1)
        disk, outside = Disk(self.before), defaultdict(bytes)
        for in_store, what in self.changes[:moment]:
            if in_store:
                disk.apply(what)
            elif what.data:
                outside[what.path] += what.data
        for path, data in disk.after_loss(random).items():
            _write(place.store / path, data)
        for path, data in outside.items():
            _write(place.folder / path, data)
        return moment


def power_losses(
    nursery: Nursery, scene: str, seeds: int, recover: bool
) -> dict[str, Any]:
    """Do the work once, then lose power at `seeds` moments of it; look at what is left, and let it `recover`."""
    begun, place = time.monotonic(), nursery.place(SCENES[scene])
    trace = Trace(_content(place.store), [])
    code = watched(working(SCENES[scene], place), lambda call: trace.add(place, call))
    found = place.folder / "found.json"

    def look() -> None:
        silence(place)
        wrong = [
            each
            for seed in range(seeds)
            if (each := _wrong(nursery, SCENES[scene], trace, seed, recover))
        ]
        found.write_text(json.dumps(wrong))

    looked = alone(look) == 0
    wrong = (
        json.loads(found.read_text())
        if looked and code == 0
        else [place.said.read_text()]
    )
    return {
        "losses": seeds,
        "changes": len(trace.changes),
        "syncs": sum(what.name == "sync" for _, what in trace.changes),
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _wrong(
    nursery: Nursery, scene: Scene, trace: Trace, seed: int, recover: bool
) -> str | None:
    """What is wrong after the power loss of a `seed`."""
    with tempfile.TemporaryDirectory(dir=nursery.folder, prefix="lost-") as folder:
        place = Place(Path(folder), Path(folder).name, nursery.provider)
        moment = trace.leave(place, Random(seed))
        try:
            scene.look(place)
            ledger = open_ledger(place.store / "ledger.db")
            assert ledger
            ledger.close()
            check_kept(place)
            if recover:
                scene.act(place)
                scene.check(place, CONCURRENCY)
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
