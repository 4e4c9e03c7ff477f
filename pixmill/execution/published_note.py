"""The note of a publication: where nothing changed since, its dataset need not be made again.

A publication that read a ledger nobody wrote to meanwhile leaves a note of all that it
was made of and of what it made. The next run compares the note with what is there now.
Whatever differs, or can't be compared, is a reason to read the table and the ledger as
always.
"""

import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET, PUBLISHED
from pixmill.datasets.gate import gate_of
from pixmill.datasets.provenance import code_and_config, file_stamp
from pixmill.datasets.publishing import Published, last_manifest
from pixmill.datasets.result_table import OutcomeCounts
from pixmill.ledger import Ledger, queries
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.plan import Plan
from pixmill.planning.plan_costs import PlanCosts
from pixmill.planning.planned_state import PlannedState
from pixmill.planning.row_checks import InvalidRow, RowProblem
from pixmill.quality.image_scorers import own_scorers
from pixmill.storage.atomic_write import write_file
from pixmill.storage.integrity import hash_of, manifest_at
from pixmill.tables import InputTable, open_table

NOTE = ".published.json"
_NO_HASHES: Mapping[str, str] = {}


class UnchangedDataset(NamedTuple):
    """The published dataset, where a note says that a run of now would make it again."""

    plan: Plan
    """What that run would do: nothing."""
    published: Published
    stamps: Mapping[str, tuple[int, ...]]
    """What its files were when the note was found to be true, as `stamp_files` returns it."""


def write_note(
    plan: Plan, revision: str, published: Published, hashes: Mapping[str, str]
) -> None:
    """Write down what the `published` dataset was made of, at that `revision` of the ledger, and the
    `hashes` of its files.
    """
    counts = published.counts
    note = {
        "revision": revision,
        "made_of": _digest_inputs(plan.config, plan.table, revision),
        "files": hashes,
        "rows": published.rows,
        "counts": {
            "status": counts.status,
            "cached": counts.cached,
            "images_missing": counts.images_missing,
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


def find_unchanged(
    config: Config, ledger: Ledger, revision: str
) -> UnchangedDataset | None:
    """Return the dataset that the note describes where it is of just what is here now, with the
    ledger at that `revision`; else `None`. Raises LedgerError, and TableError where the table can't be read.
    """
    folder = config.dataset_folder
    note = manifest_at(folder / NOTE)
    # A claim is a job whose outcome may come at any moment.
    if not note or ledger.read(queries.has_claims):
        return None
    # It is a part of `made_of` as well: where somebody wrote, no file has to be hashed to know it.
    if note.get("revision") != revision:
        return None
    source = config.input
    table = open_table(
        source.path, encoding=source.encoding, delimiter=source.delimiter
    )
    stamps = stamp_files(folder)
    # The files are hashed while the table is: that needs no interpreter lock.
    with ThreadPoolExecutor(1) as beside:
        hashes = beside.submit(hash_files, folder)
        if note.get("made_of") != _digest_inputs(config, table, revision):
            return None
        # Stamps before and after: a file that changed while it was hashed is not known.
        if note.get("files") != hashes.result() or stamps != stamp_files(folder):
            return None
    table.check_unchanged()
    try:
        plan = _read_plan(config, table, note["plan"])
        counts = OutcomeCounts(**note["counts"])
        counts.status = Counter(counts.status)
        gate = gate_of(last_manifest(config))
        published = Published(
            folder / DATASET, note["rows"], counts, changed=False, gate=gate
        )
    except (KeyError, TypeError, ValueError):
        # Not a note of this version after all, or one that somebody has edited.
        return None
    return UnchangedDataset(plan, published, stamps)


def _read_plan(config: Config, table: InputTable, noted: Mapping[str, Any]) -> Plan:
    examples = {
        reason: tuple(
            InvalidRow(row, RowProblem(*problem), *cells)
            for row, problem, *cells in shown
        )
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
        costs=PlanCosts(has_prices=config.budget.highest_price is not None),
        call_seconds=noted["call_seconds"],
    )


def _digest_inputs(config: Config, table: InputTable, revision: str) -> str:
    """Return a digest of all that decides what a dataset is. Raises TableError where
    the table can't be read.
    """
    image_folders: list[tuple[str, int]] = []
    with suppress(OSError), os.scandir(config.store_path / "images") as entries:
        # With the instants at which a file last came or went there.
        image_folders = sorted(
            (entry.name, entry.stat().st_mtime_ns) for entry in entries
        )
    parts = {
        **code_and_config(config),
        "table": [[str(path) for path in table.files], table.sha256()],
        "ledger": [str(config.ledger_address), revision],
        "scorers": own_scorers(config.quality),
        "images": image_folders,
    }
    return sha256(
        json.dumps(parts, sort_keys=True, allow_nan=False).encode()
    ).hexdigest()


def hash_files(folder: Path, known: Mapping[str, str] = _NO_HASHES) -> dict[str, str]:
    """Return the SHA-256 of each file of the dataset in `folder`, nothing where one is missing.

    Files with `known` hashes are not read.
    """
    try:
        return {name: known.get(name) or hash_of(folder / name) for name in PUBLISHED}
    except OSError:
        return {}


def stamp_files(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file of the dataset is edited or replaced; nothing
    where one is missing.
    """
    try:
        return {name: file_stamp(folder / name) for name in PUBLISHED}
    except OSError:
        return {}
