"""Where a run is disturbed: a store, what was acknowledged to whom worked on it, and what is disturbed in it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.ledger import Claim, Ledger
from tests.crash.billing import Billing

CONCURRENCY = 3
"""How many calls may be in flight."""


class Sandbox(NamedTuple):
    """A folder with a store of its own, whose calls stand under `tag` on the provider's bill."""

    folder: Path
    tag: str
    provider: Billing

    @property
    def config(self) -> str:
        return str(self.folder / "pets.yaml")

    @property
    def store(self) -> Path:
        return self.folder / "out"

    @property
    def marks(self) -> Path:
        """What was acknowledged, a JSON line each; not in the store, so that no fault meets it."""
        return self.folder / "marks.jsonl"

    @property
    def stderr(self) -> Path:
        """What the processes that worked here wrote to stderr."""
        return self.folder / "stderr.txt"

    def acknowledged(self, kind: str) -> list[dict[str, Any]]:
        """The acknowledgements of a `kind`: claim, task, record or image."""
        lines = self.marks.read_text().splitlines() if self.marks.exists() else []
        return [mark for mark in map(json.loads, lines) if mark["kind"] == kind]


class Scene(NamedTuple):
    """A situation, the work that is disturbed in it, and what must be true once that was done again undisturbed.

    `check` gets how many calls were in flight at the worst when the work was disturbed; it raises what is wrong.
    `look` is for the moment between.
    """

    set_up: Callable[[Sandbox], object]
    act: Callable[[Sandbox], object]
    check: Callable[[Sandbox, int], object]
    look: Callable[[Sandbox], object] = lambda _: None


def working(scene: Scene, sandbox: Sandbox) -> Callable[[], object]:
    """The work of a scene, to be done in a forked process: it writes down what was acknowledged to it."""

    def work() -> None:
        silence(sandbox)
        note_acknowledgements(sandbox.marks)
        scene.act(sandbox)

    return work


def checking(scene: Scene, sandbox: Sandbox, in_flight: int) -> Callable[[], object]:
    """Looking at what is left, doing the work again and checking, to be done in a forked process."""

    def work() -> None:
        silence(sandbox)
        scene.look(sandbox)
        scene.act(sandbox)
        scene.check(sandbox, in_flight)

    return work


def silence(sandbox: Sandbox) -> None:
    """Let what this process says to stderr go to a file."""
    os.dup2(os.open(sandbox.stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)


def note_acknowledgements(marks: Path) -> None:
    """From now on, write a line to `marks` once a claim, a task, an answer, an image or scores are said to be on
    disk."""
    paper = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    claim, record_task = Ledger.claim, Ledger.record_task
    record, record_image = Ledger.record, Ledger.record_image
    record_scores = Ledger.record_scores

    def note(**values: Any) -> None:
        os.write(paper, (json.dumps(values) + "\n").encode())

    def claimed(self: Ledger, job_key: str, *rest: Any) -> Any:
        granted = claim(self, job_key, *rest)
        if isinstance(granted, Claim):
            note(kind="claim", key=job_key)
        return granted

    def submitted(self: Ledger, job_key: str, *rest: Any, **named: Any) -> None:
        record_task(self, job_key, *rest, **named)
        note(kind="task", key=job_key)

    def recorded(self: Ledger, outcome: Any) -> None:
        record(self, outcome)
        note(
            kind="record",
            key=outcome.job_key,
            state=outcome.state,
            request_id=outcome.request_id,
        )

    def fetched(self: Ledger, job_key: str, *rest: Any, **named: Any) -> None:
        record_image(self, job_key, *rest, **named)
        if named["images"]:
            note(kind="image", key=job_key, images=named["images"])

    def scored(self: Ledger, found: Any) -> None:
        record_scores(self, found)
        note(kind="score", images=[score.sha256 for score in found])

    Ledger.record_scores = scored  # type: ignore[method-assign]
    Ledger.claim, Ledger.record_task = claimed, submitted  # type: ignore[method-assign]
    Ledger.record, Ledger.record_image = recorded, fetched  # type: ignore[method-assign]
