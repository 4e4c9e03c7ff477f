"""Publishing: the dataset of one config, rebuilt from its table and the ledger, put in place by one
rename.

A reader sees the old version or the new one, never a mixture: the new one is written aside with
page checksums, synced and read back first, and still holds the pages of the old one for readers
that began with it (`pixmill.datasets.page_preserving_writer`). The version that it replaces goes to
`history/`.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.datasets.candidate_rows import CandidateRows
from pixmill.datasets.dataset_files import (
    CANDIDATES,
    CONFIG,
    DATASET,
    HISTORY,
    INVALID,
    MANIFEST,
    NEXT,
    RUNS,
    is_intact,
    json_file,
    keep_version,
    published_files,
    utc_now,
)
from pixmill.datasets.gate import Gate, check_gate, gate_of
from pixmill.datasets.invalid_rows import PreviouslyInvalid
from pixmill.datasets.known_outcomes import look_up, open_earlier
from pixmill.datasets.page_preserving_writer import has_same_content
from pixmill.datasets.provenance import package_versions
from pixmill.datasets.published_outcomes import (
    DatasetOrigin,
    origin_of,
)
from pixmill.datasets.refused_dataset import forget_refused, set_aside
from pixmill.datasets.result_table import OutcomeCounts, ResultTable
from pixmill.datasets.row_files import open_files, read_back, write_rows
from pixmill.datasets.score_columns import open_score_columns
from pixmill.datasets.step_back import (
    ShrunkDataset,
    find_shrinkage,
    is_step_back,
)
from pixmill.ledger import Ledger
from pixmill.memory import give_back
from pixmill.planning.plan import Plan, prefetch
from pixmill.storage import open_store
from pixmill.storage.atomic_write import (
    check_writable,
    publication_lock,
    write_file,
)
from pixmill.storage.integrity import hash_of, manifest_at

LOOKS = 3
LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Published:
    """Where the dataset is, what a run makes of it, and whether it is another one than before."""

    path: Path
    rows: int
    counts: OutcomeCounts
    changed: bool
    images_kept: int | None = None
    """How many images the published dataset has where what the run made would have been a step back
    and did not replace it; else `None`."""
    gate: Gate | None = None
    """What the conditions of `quality.gate` came to, None without conditions."""
    refused: Path | None = None
    """The dataset that the run made and that these did not let pass; `path` is what stays."""
    shrunk: ShrunkDataset | None = None
    """How it is smaller than the one before for want of rows, None where it is not."""


class PublishedFile(NamedTuple):
    """What a manifest says of the dataset's file."""

    size: int
    sha256: str


def check_publishable(config: Config) -> None:
    """Raise UserError where the dataset could not be written, before something is paid for that it
    would hold."""
    folder = config.dataset_folder
    check_writable(folder)
    for name in (HISTORY, RUNS):
        if (folder / name).exists():
            check_writable(folder / name)


def publish(
    plan: Plan,
    ledger: Ledger,
    run_id: str,
    *,
    even_a_step_back: bool = False,
    scored_at: str | None = None,
) -> Published:
    """Write the dataset of `plan` from what the ledger knows now, and put it in place.

    One that would be a step back (see `pixmill.datasets.step_back`) leaves what is published as it
    is, unless `even_a_step_back` is wanted; one that does not meet `quality.gate` does so in any
    case, and is set aside. `scored_at` is the revision of the ledger at which all images were looked
    at and none was left without a score. Raises TableError where the table changed since it
    was planned: what was paid is in the ledger, so the next run publishes it. Raises PixmillError
    where what was written does not read back.
    """
    config = plan.config
    folder = plan.config.dataset_folder
    with publication_lock(folder):
        write = partial(_publish, plan, ledger, run_id, even_a_step_back, scored_at)
        published = open_store(config).publish(
            config.name,
            published_files(config),
            config.output.keep_versions,
            write,
        )
        if published.images_kept is None and published.refused is None:
            forget_refused(config)
    # The report comes next, and reads the dataset again.
    give_back()
    return published


def published_folder(config: Config, *, history: bool = False) -> Path:
    """Return the folder of the dataset as it is published now, which is brought here where it is in
    a bucket.

    Earlier versions are brought with `history` only.
    """
    folder = config.dataset_folder
    store = open_store(config)
    store.pull(config.name, published_files(config), history=history)
    for _ in range(LOOKS if config.bucket else 0):
        if not (folder / DATASET).exists() or is_intact(folder):
            break
        # A publication that is under way has put the one file, not yet the other.
        time.sleep(LOOK_SECONDS)
        store.pull(config.name, published_files(config), history=history)
    return folder


def _publish(
    plan: Plan,
    ledger: Ledger,
    run_id: str,
    even_a_step_back: bool,
    scored_at: str | None,
) -> Published:
    folder = plan.config.dataset_folder
    plan.table.check_unchanged()
    complete_publication(plan.config)
    known_invalid = PreviouslyInvalid(folder / INVALID)
    scores = open_score_columns(plan, ledger)
    results = ResultTable(plan.config, plan.expander, plan.table.schema, run_id, scores)
    # Before the first look-up: what is written from here on is a change to the next publication.
    origin = origin_of(plan.config, ledger, scored_at=scored_at, scores=scores.lasting)
    with open_files(plan) as files, ThreadPoolExecutor(1) as opening:
        # Hashing the file needs no interpreter, which prepares the first batches meanwhile.
        earlier = opening.submit(open_earlier, plan, ledger, origin)
        batches = prefetch(plan.batches(), partial(look_up, plan, ledger, earlier))
        candidates = CandidateRows(plan, run_id, scores) if plan.candidates else None
        dataset = files.dataset
        rows, new_invalid = write_rows(
            results, batches, plan.first, files, known_invalid, candidates
        )
        plan.table.check_unchanged()
        current = folder / DATASET
        new_file = _examine(dataset, current, rows, results.schema)
        results.counts.new["invalid"] = new_invalid
        manifest = manifest_at(folder / MANIFEST)
        # A damaged version is neither kept nor a reason to leave the new one out.
        was_intact = new_file.current_is_intact
        published = current if was_intact else None
        gate = check_gate(plan.config, dataset, published, gate_of(manifest))
        new = Published(current, rows, results.counts, changed=False, gate=gate)
        new_manifest = _manifest(plan, run_id, new, new_file.written, origin)
        is_wanted = even_a_step_back or not was_intact
        if not is_wanted and is_step_back(plan, new.counts, dataset, current, manifest):
            files.discard()
            return replace(new, images_kept=manifest["counts"]["succeeded"])
        if gate and gate.failed:
            refused = set_aside(
                plan.config, dataset, files.invalid, files.candidates, new_manifest
            )
            return replace(new, refused=refused)
        if new_file.equals_current:
            # Equal content may have been written to other pages, and readers of the version that is
            # published are not disturbed.
            new_manifest["bytes"] = current.stat().st_size
            new_manifest["sha256"] = manifest["sha256"]
            dataset.unlink()
        else:
            # There before the dataset: a publication that is killed between the dataset and its
            # manifest is completed from this.
            write_file(folder / NEXT, json_file(new_manifest))
            open_store(plan.config).push(f"{plan.config.name}/{NEXT}")
            if was_intact:
                keep_version(folder, plan.config.output.keep_versions)
    _put_companions(plan, json_file(new_manifest))
    shrunk = find_shrinkage(plan, new.counts, manifest)
    return replace(new, changed=not new_file.equals_current, shrunk=shrunk)


class _ExaminedFile(NamedTuple):
    """A dataset that was written and reads back."""

    written: PublishedFile

    current_is_intact: bool
    """Whether the one that is published is what its manifest says."""

    equals_current: bool
    """Whether that one is, and has the same content."""


def _examine(
    dataset: Path, current: Path, rows: int, schema: pa.Schema
) -> _ExaminedFile:
    """Read a new `dataset` of so many `rows` back, and compare it with the `current` one.

    Raises PixmillError where it does not read back.
    """
    # Hashing needs no interpreter, so both files are hashed while the new one is read back.
    with ThreadPoolExecutor(2) as beside:
        whether_intact = beside.submit(is_intact, current.parent)
        whether_equal = beside.submit(has_same_content, current, dataset)
        digest = beside.submit(hash_of, dataset)
        read_back(dataset, rows, schema)
    written = PublishedFile(dataset.stat().st_size, digest.result())
    is_sound = whether_intact.result()
    return _ExaminedFile(written, is_sound, is_sound and whether_equal.result())


def _put_companions(plan: Plan, manifest: bytes) -> None:
    """Put manifest and config beside a dataset that is there, and remove what does not belong to it."""
    folder = plan.config.dataset_folder
    write_file(folder / MANIFEST, manifest)
    (folder / NEXT).unlink(missing_ok=True)
    if not plan.candidates and (folder / CANDIDATES).exists():
        # Of a config that has none any more, they would be about another dataset.
        open_store(plan.config).remove(f"{plan.config.name}/{CANDIDATES}")
    write_file(folder / CONFIG, plan.config.to_yaml().encode())


def complete_publication(config: Config) -> None:
    """Put the manifest in place that a publication did not come to, where it was killed behind its
    dataset.

    Without its manifest that version would count as damaged, and would not become one of
    `history/`.
    """
    folder = config.dataset_folder
    was_killed = config.bucket or (folder / NEXT).exists()
    if not was_killed or not (folder / DATASET).exists() or is_intact(folder):
        return
    if config.bucket:
        open_store(config).download(f"{config.name}/{NEXT}")
    if manifest_at(folder / NEXT).get("sha256") == hash_of(folder / DATASET):
        (folder / NEXT).replace(folder / MANIFEST)


def last_manifest(config: Config) -> dict[str, Any]:
    """Return the manifest of the dataset that is published now, empty where there is none."""
    return manifest_at(config.dataset_folder / MANIFEST)


def write_run_report(config: Config, run_id: str, report: Mapping[str, Any]) -> None:
    """Write `runs/<run_id>.json`: what the run said, and when."""
    folder = config.dataset_folder / RUNS
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{run_id}.json", json_file({**report, "at": utc_now()}))
    open_store(config).push(f"{config.name}/{RUNS}/{run_id}.json")


def _manifest(
    plan: Plan,
    run_id: str,
    made: Published,
    file: PublishedFile,
    origin: DatasetOrigin | None,
) -> dict[str, Any]:
    return {
        "name": plan.config.name,
        "run_id": run_id,
        "published_at": utc_now(),
        "rows": made.rows,
        "bytes": file.size,
        "sha256": file.sha256,
        "counts": {
            **made.counts.status,
            "cached": made.counts.cached,
            "images_missing": made.counts.images_missing,
        },
        "input": {
            "path": plan.config.input.path,
            "rows": plan.rows,
            "sha256": plan.table.sha256(),
        },
        "origin": origin._asdict() if origin else None,
        "gate": made.gate.as_dict() if made.gate else None,
        "packages": package_versions(),
    }
