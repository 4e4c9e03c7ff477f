"""What the ledger and the images keep of what was acknowledged: looked at in a store that nobody works on."""

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import NamedTuple

from tests.crash.sandboxes import Sandbox


class Job(NamedTuple):
    """A job as the ledger has it; `images` is a JSON list."""

    state: str
    request_id: str | None
    images: str | None


def jobs(sandbox: Sandbox) -> dict[str, Job]:
    """The jobs by key; the whole file is checked as well."""
    with closing(sqlite3.connect(sandbox.store / "ledger.db")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = ledger.execute(
            "SELECT job_key, state, request_id, images FROM jobs"
        ).fetchall()
    return {key: Job(*values) for key, *values in rows}


def check_kept(sandbox: Sandbox) -> None:
    """I1: every acknowledged claim, answer and image is there."""
    there = jobs(sandbox)
    for mark in sandbox.acknowledged("claim"):
        assert mark["key"] in there, "an acknowledged claim is gone"
    for mark in sandbox.acknowledged("record"):
        job = there[mark["key"]]
        assert (job.state, job.request_id) == (mark["state"], mark["request_id"]), (
            "an acknowledged answer is gone"
        )
    for mark in sandbox.acknowledged("image"):
        images = json.loads(there[mark["key"]].images or "[]")
        assert images == json.loads(mark["images"]), (
            "an acknowledged image is not in the ledger"
        )
        for image in images:
            path = sandbox.store / image["file_name"]
            assert path.exists(), "the file of an acknowledged image is gone"
            assert sha256(path.read_bytes()).hexdigest() == image["sha256"], (
                "an acknowledged image is torn"
            )
