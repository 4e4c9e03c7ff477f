"""A run of what was published already: where nothing changed since, it need not be made
again to know what it is.

A publication that read a ledger nobody wrote to meanwhile leaves a note of all that it
was made of and of what it made. The next run holds the note against what is there now.
Whatever differs, or can't be compared, is a reason to read the table and the ledger as
always.
"""

import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET, PUBLISHED
from pixmill.datasets.gate import gate_of
from pixmill.datasets.provenance import code_and_config, file_stamp, is_built_in
from pixmill.datasets.publishing import Published, last_manifest, publish
from pixmill.datasets.schema import OutcomeCounts
from pixmill.ledger import Ledger, queries
from pixmill.ledger.revision import revision_of
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.plan import Plan, Selection
from pixmill.planning.planned_state import PlannedState
from pixmill.planning.planner import make_plan
from pixmill.planning.row_checks import InvalidRow, RowProblem
from pixmill.quality.image_scorers import own_scorers
from pixmill.storage.atomic_write import write_file
from pixmill.storage.integrity import hash_of, manifest_at
from pixmill.tables import InputTable, open_table

NOTE = ".published.json"
_NO_HASHES: Mapping[str, str] = {}


class Unchanged(NamedTuple):
    """What a note says was published, and what the files of the dataset were when that
    was found to be true.
    """

    published: Published
    stamps: Mapping[str, tuple[int, ...]]


class Planned(NamedTuple):
    """A plan, the revision of the ledger before it was made, and what makes publishing
    it needless, if anything.
    """

    plan: Plan
    revision: str | None
    unchanged: Unchanged | None = None


def plan_run(
    config: Config, ledger: Ledger, selection: Selection | None = None
) -> Planned:
    """Return the plan of a run as `make_plan` does, without a look at a row where it is
    known from a note.
    """
    # Whether what a run of it finds is all in its config, its table and its ledger.
    can_be_noted = (
        config.input.images == "url"
        and not config.input.local_images
        and not config.bucket
        # What is known of candidates is in no note.
        and config.quality.until is None
        and is_built_in(config)
    )
    revision = None
    if can_be_noted and selection is None:
        revision = ledger.read(revision_of)
    if revision:
        recalled = _recall(config, ledger, revision)
        if recalled:
            return recalled
    return Planned(make_plan(config, ledger, selection), revision)


def publish_plan(
    planned: Planned,
    ledger: Ledger,
    run_id: str,
    *,
    whatever: bool = False,
    scored_at: str | None = None,
) -> Published:
    """Publish a plan as `publish` does, but for one that is published as it is; leave a
    note for the next run, unless that has something left to score as there is no `scored_at`.
    """
    config = planned.plan.config
    folder = config.dataset_folder
    if planned.unchanged and ledger.read(revision_of) == planned.revision:
        # The note was compared when the plan was made, and a person may have thought
        # about it for an hour.
        planned.plan.table.check_unchanged()
        if _stamps(folder) == planned.unchanged.stamps:
            return planned.unchanged.published
    made = publish(planned.plan, ledger, run_id, whatever=whatever, scored_at=scored_at)
    is_final = scored_at is not None and _is_final(planned.plan, made)
    if planned.revision and is_final and not ledger.read(queries.has_claims):
        # Nobody wrote from before the plan until now, this run neither: all was read
        # from one state of the ledger.
        # The dataset was hashed when it was written.
        files = _hashes(folder, {DATASET: last_manifest(config).get("sha256", "")})
        if files and ledger.read(revision_of) == planned.revision:
            _note(planned, made, files)
    return made


def _is_final(plan: Plan, made: Published) -> bool:
    """Whether the next run would find nothing to do, whenever it comes."""
    counts = made.counts
    undone = (
        plan.to_do
        or plan.again
        or plan.has_images_to_fetch
        or counts.left
        or counts.elsewhere
        or counts.still_running
    )
    is_left = made.stays is not None or made.refused is not None
    odd = plan.conflicts or plan.bad_images or is_left
    return not undone and not odd


def _note(planned: Planned, made: Published, files: Mapping[str, str]) -> None:
    plan = planned.plan
    note = {
        "revision": planned.revision,
        "made_of": _made_of(plan.config, plan.table, planned.revision),
        "files": files,
        "rows": made.rows,
        "counts": {
            "status": made.counts.status,
            "cached": made.counts.cached,
            "images_missing": made.counts.images_missing,
        },
        "plan": {
            "rows": plan.rows,
            "jobs": plan.jobs,
            "reasons": plan.reasons,
            "examples": {
                reason: list(shown) for reason, shown in plan.examples.items()
            },
            "states": {state.name: number for state, number in plan.states.items()},
            "images_missing": plan.images_missing,
            "images_lost": plan.images_lost,
            "long_prompts": plan.long_prompts,
            "notes": plan.notes,
            "positions": len(plan.first),
            "first": b64encode(np.packbits(plan.first).tobytes()).decode(),
            "call_seconds": plan.call_seconds,
        },
    }
    write_file(
        plan.config.dataset_folder / NOTE, json.dumps(note, allow_nan=False).encode()
    )


def _recall(config: Config, ledger: Ledger, revision: str) -> Planned | None:
    """Return what the note says where it is of just what is here now."""
    folder = config.dataset_folder
    note = manifest_at(folder / NOTE)
    # A claim is a job whose outcome may come at any moment.
    if not note or ledger.read(queries.has_claims):
        return None
    # A part of `made_of` as well: where somebody wrote, no file has to be hashed to know it.
    if note.get("revision") != revision:
        return None
    source = config.input
    table = open_table(
        source.path, encoding=source.encoding, delimiter=source.delimiter
    )
    stamps = _stamps(folder)
    # The files are hashed while the table is: that needs no interpreter lock.
    with ThreadPoolExecutor(1) as beside:
        files = beside.submit(_hashes, folder)
        if note.get("made_of") != _made_of(config, table, revision):
            return None
        # Stamps before and after: a file that changed while it was hashed is not known.
        if note.get("files") != files.result() or stamps != _stamps(folder):
            return None
    table.check_unchanged()
    try:
        plan = _plan(config, table, note["plan"])
        counts = OutcomeCounts(**note["counts"])
        counts.status = Counter(counts.status)
        gate = gate_of(last_manifest(config))
        made = Published(
            folder / DATASET, note["rows"], counts, changed=False, gate=gate
        )
    except (KeyError, TypeError, ValueError):
        # Not a note of this version after all, or one that somebody has edited.
        return None
    return Planned(plan, revision, Unchanged(made, stamps))


def _plan(config: Config, table: InputTable, noted: Mapping[str, Any]) -> Plan:
    examples = {
        reason: tuple(InvalidRow(row, RowProblem(*problem)) for row, problem in shown)
        for reason, shown in noted["examples"].items()
    }
    size = noted["positions"]
    marks = np.frombuffer(b64decode(noted["first"]), np.uint8)
    return Plan(
        config=config,
        table=table,
        expander=JobExpander(config, table),
        rows=noted["rows"],
        jobs=noted["jobs"],
        reasons=noted["reasons"],
        examples=examples,
        states={PlannedState[name]: number for name, number in noted["states"].items()},
        images_missing=noted["images_missing"],
        images_lost=noted["images_lost"],
        long_prompts=noted["long_prompts"],
        notes=noted["notes"],
        first=np.unpackbits(marks, count=size).astype(np.bool_),
        # Nothing is pending and nothing is looked up again: that is why it was noted.
        pending=np.zeros(size, np.bool_),
        conflicts=frozenset(),
        bad_images={},
        places=np.zeros(size, np.uint32),
        call_seconds=noted["call_seconds"],
    )


def _made_of(config: Config, table: InputTable, revision: str | None) -> str:
    """Return a digest of all that decides what a dataset is. Raises TableError where
    the table can't be read.
    """
    parts = {
        **code_and_config(config),
        "table": [[str(path) for path in table.files], table.sha256()],
        "ledger": [str(config.ledger_address), revision],
        "scorers": own_scorers(config.quality),
        "images": _image_folders(config.store_path / "images"),
    }
    return sha256(
        json.dumps(parts, sort_keys=True, allow_nan=False).encode()
    ).hexdigest()


def _image_folders(images: Path) -> list[tuple[str, int]]:
    """The folders of the store's images and when a file last came or went there."""
    try:
        with os.scandir(images) as entries:
            return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries)
    except OSError:
        return []


def _hashes(folder: Path, known: Mapping[str, str] = _NO_HASHES) -> dict[str, str]:
    """Return the SHA-256 of each file of a dataset, those that are `known` first; nothing where one is missing."""
    try:
        return {name: known.get(name) or hash_of(folder / name) for name in PUBLISHED}
    except OSError:
        return {}


def _stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file of the dataset is edited or replaced; nothing
    where one is missing.
    """
    try:
        return {name: file_stamp(folder / name) for name in PUBLISHED}
    except OSError:
        return {}
