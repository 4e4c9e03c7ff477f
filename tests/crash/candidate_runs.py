"""The scene of a run that draws candidates: killed between its rounds, scores and pictures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from pixmill.config.loading import load_config
from pixmill.datasets.verification import verify
from pixmill.ledger import State
from pixmill.quality import image_scorers
from pixmill.quality.scorer_source import ScorerSource, load_scorer
from pixmill.quality.worker import scorer_answers
from tests.crash.durability import check_kept
from tests.crash.sandboxes import Sandbox, Scene
from tests.crash.whole_runs import carried_out, check_readable, write
from tests.pixmill.run_checks import check_run, ledger

CANDIDATES = 3

ROWS = 4
"""Row 4 is good at its first candidate, row 1 at its second, row 2 at its third, and row 3 has too few."""

SCORER = """
import json, os

def good(image, job):
    paper = os.open({marks!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(paper, (json.dumps({{"kind": "scored", "key": job["job_key"]}}) + "\\n").encode())
    os.close(paper)
    return float(job["replicate"] >= job["row_number"] % {rows})
"""


class ScorerInThisProcess:
    """Asks a scorer in this process: whoever is watched can't start another one."""

    batch = 1
    given_up = None

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments

    def ask(self, pictures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what the scorer finds."""
        if not pictures:
            return []
        answer = scorer_answers(load_scorer(ScorerSource(*self._arguments[1:])))
        return [found for picture in pictures for found in answer([picture])]

    def close(self) -> None:
        """Nothing is open."""


def set_up(sandbox: Sandbox) -> None:
    """Write a table, and a config that asks for candidates of each row until one is good."""
    project = write(sandbox, ROWS)
    scorer = sandbox.folder / "scorer.py"
    scorer.write_text(SCORER.format(marks=str(sandbox.marks), rows=ROWS))
    until = {"where": "score_good > 0.5", "candidates": CANDIDATES, "keep": "good"}
    project.write_config(
        quality={"scorers": {"good": f"{scorer}:good"}, "until": until}
    )


def draw(sandbox: Sandbox) -> None:
    """Carry the config out."""
    image_scorers.WorkerProcess = ScorerInThisProcess  # type: ignore[attr-defined]
    carried_out(sandbox.config)


def check(sandbox: Sandbox, in_flight: int) -> None:
    """No candidate is paid for or scored twice, and each row has had as many as it needs; a further run finds nothing
    to do."""
    report = carried_out(sandbox.config)
    rows = check_run(sandbox.config, report, sandbox.provider.charges(sandbox.tag))
    assert (report["calls"], report["images_missing"]) == (0, 0)
    listed = pq.read_table(sandbox.store / "pets" / "candidates.parquet").to_pylist()
    statuses = {each["job_key"]: each["status"] for each in listed}
    for mark in sandbox.acknowledged("record"):
        if mark["state"] == State.SUCCEEDED:
            assert statuses[mark["key"]] == "succeeded"
    check_kept(sandbox)
    check_scored_once(sandbox)
    doubtful = {each["row_number"] for each in listed if each["status"] == "in_doubt"}
    assert len(doubtful) <= in_flight
    for row in rows:
        number = row["row_number"]
        drawn = sum(each["row_number"] == number for each in listed)
        good_at = number % ROWS
        if number in doubtful:
            # Nobody knows whether it was charged: a person decides whether there is another one.
            assert drawn <= min(good_at + 1, CANDIDATES)
            continue
        is_good = good_at < CANDIDATES
        assert drawn == min(good_at + 1, CANDIDATES)
        assert (row["accepted"], row["candidate"]) == (is_good, good_at * is_good)
    assert verify(load_config(sandbox.config)).findings == []


def check_scored_once(sandbox: Sandbox) -> None:
    """No image is scored once it is said to be on disk that it was; one is scored by one process at most then."""
    hashes = {
        key: json.loads(images)[0]["sha256"]
        for key, images in ledger(
            sandbox.config, "SELECT job_key, images FROM jobs WHERE images NOTNULL"
        )
    }
    on_disk: set[str] = set()
    for mark in map(json.loads, sandbox.marks.read_text().splitlines()):
        if mark["kind"] == "score":
            on_disk |= set(mark["images"])
        elif mark["kind"] == "scored":
            assert hashes[mark["key"]] not in on_disk, "scored twice"
    [(scores, images)] = ledger(
        sandbox.config, "SELECT count(*), count(DISTINCT sha256) FROM scores"
    )
    assert scores == images == len(set(hashes.values()))


CANDIDATE_RUN = Scene(
    set_up=set_up,
    act=draw,
    check=check,
    look=lambda sandbox: check_readable(sandbox, 0, ROWS),
)
