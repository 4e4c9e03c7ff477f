"""Whether what was published is still what it was: dataset, history, images and ledger, read again to the last byte.

Nothing is written. Publications wait only while the dataset file and its history are hashed; the rows are then read
from the version that was open at that time, however long its images take.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.loading import opened, own_columns, published_dataset
from pixmill.datasets.publishing import DATASET, MANIFEST
from pixmill.errors import LedgerError, UserError
from pixmill.ledger import Ledger, State, ledger_exists, open_ledger
from pixmill.ledger.sqlite import integrity
from pixmill.storage import Store, open_store
from pixmill.storage.atomic_write import publication_lock
from pixmill.storage.integrity import (
    PROBLEMS,
    THREADS,
    NamedImage,
    manifest_at,
    manifest_problem,
)

BATCH_ROWS = 2_000
LISTED = 10_000
"""Findings that are kept in full; beyond them they are counted, so that a store without images needs no memory."""

_PUBLISH = "`pixmill repair` publishes it again, without paying"
_RESTORE = "restore the ledger from a backup before the next run, which would pay again for what it does not know"
_COLUMNS = (
    "row_number",
    "status",
    "job_key",
    "images",
    "input_image",
    "url_expires_at",
)
_OPEN = (State.PENDING, State.IN_FLIGHT)


class Finding(NamedTuple):
    """One thing that is wrong: the file, what about it, and how to put it right. `row_number` is its first row."""

    file: str
    problem: str
    message: str
    remedy: str
    row_number: int | None = None


@dataclass
class Verified:
    """What was read and what is wrong with it: `problems` counts all findings, of which the first are listed.

    `shown` says what a file is called.
    """

    shown: Callable[[Path], str] = str
    rows: int = 0
    images: int = 0
    versions: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Take note of something wrong."""
        self.problems[finding.problem] += 1
        if len(self.findings) < LISTED:
            self.findings.append(finding)

    @property
    def exit_code(self) -> int:
        """0 where all is right, else 3."""
        return 3 if self.problems else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "exit_code": self.exit_code,
            "rows": self.rows,
            "images": self.images,
            "versions": self.versions,
            "wrong": self.problems.total(),
            "problems": dict(self.problems),
            "findings": [finding._asdict() for finding in self.findings],
        }


class _RowImage(NamedTuple):
    """An image file and the first row that names it."""

    file: NamedImage
    row: Mapping[str, Any]
    is_input: bool = False


def verify(
    config: Config, on_progress: Callable[[Verified], None] = lambda _: None
) -> Verified:
    """Read everything that the dataset of `config` depends on, and return what is wrong; nothing is written.

    `on_progress` is called after each image. The result has `exit_code` (0 or 3), `problems` and `findings`.

    Raises UserError where there is no dataset, or the ledger is that of a newer pixmill.
    """
    path = published_dataset(config, history=True)
    store = open_store(config)
    folder = path.parent
    found = Verified(store.display_name)
    ledger = _sound_ledger(config.ledger_address, found)
    try:
        with ExitStack() as held:
            with publication_lock(folder, shared=True):
                manifest = _check_published(folder, found)
                _check_history(folder, found)
                dataset = held.enter_context(opened(path))
            counts = _check_rows(store, dataset, ledger, found, on_progress)
            _check_counts(folder / MANIFEST, manifest, counts, found)
    except UserError as error:
        found.add(Finding(store.display_name(path), "damaged", str(error), _PUBLISH))
    finally:
        if ledger:
            ledger.close()
    return found


def _check_published(folder: Path, found: Verified) -> dict[str, Any]:
    """Check the dataset file against its manifest and return that."""
    path = folder / MANIFEST
    manifest = manifest_at(path)
    if "sha256" not in manifest:
        found.add(
            Finding(
                found.shown(path), "manifest", "is missing or can't be read", _PUBLISH
            )
        )
    elif problem := manifest_problem(folder / DATASET, manifest):
        found.add(Finding(found.shown(folder / DATASET), "manifest", problem, _PUBLISH))
    return manifest


def _check_history(folder: Path, found: Verified) -> None:
    for path in sorted((folder / "history").glob("*.parquet")):
        found.versions += 1
        if problem := _version_problem(path):
            found.add(
                Finding(
                    found.shown(path),
                    "history",
                    problem,
                    "nothing reads it: remove it and its .json",
                )
            )


def _version_problem(path: Path) -> str | None:
    """Check by its manifest, or by its pages where a killed run wrote none."""
    manifest = manifest_at(path.with_suffix(".json"))
    if "sha256" in manifest:
        return manifest_problem(path, manifest)
    try:
        with opened(path) as version:
            for _ in version.iter_batches(BATCH_ROWS):
                pass
    except UserError as error:
        return str(error)
    return None


def _sound_ledger(address: Path | str, found: Verified) -> Ledger | None:
    """Open the ledger for reading; `None`, with findings, where it can't be relied on."""
    if isinstance(address, Path):
        problems = integrity(address)
    else:
        problems = [] if ledger_exists(address) else ["contains no ledger"]
    for problem in problems:
        found.add(Finding(str(address), "ledger", problem, _RESTORE))
    return None if problems else open_ledger(address, read_only=True)


def _check_rows(
    store: Store,
    dataset: pq.ParquetFile,
    ledger: Ledger | None,
    found: Verified,
    on_progress: Callable[[Verified], None],
) -> Counter[str]:
    """Check the images that rows name and what the ledger says of their jobs; return how many have each status."""
    own = own_columns(dataset.schema_arrow)
    statuses = Counter[str]()
    seen = set[int]()
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in dataset.iter_batches(
            BATCH_ROWS
        ):  # all columns: every page is read, with its checksum
            rows = (
                batch.select([own[name] for name in _COLUMNS])
                .rename_columns(_COLUMNS)
                .to_pylist()
            )
            statuses.update(row["status"] for row in rows)
            ledger = _agreeing(ledger, rows, found)
            images = list(_named_once(rows, seen))
            problems = pool.map(store.problem, [image.file for image in images])
            for image, problem in zip(images, problems, strict=True):
                found.images += 1
                if problem:
                    found.add(_wrong(store, image, problem))
                on_progress(found)
            found.rows += len(rows)
    return statuses


def _named_once(
    rows: Sequence[Mapping[str, Any]], seen: set[int]
) -> Iterator[_RowImage]:
    """Yield the image files that `rows` name and no row before did; by the hash of the name, which is smaller."""
    for row in rows:
        images = [
            _RowImage(NamedImage(of["file_name"], of["bytes"]), row)
            for of in row["images"] or ()
        ]
        if row["input_image"]:
            images.append(
                _RowImage(NamedImage(row["input_image"], None), row, is_input=True)
            )
        for image in images:
            if hash(image.file.name) not in seen:
                seen.add(hash(image.file.name))
                yield image


def _wrong(store: Store, image: _RowImage, problem: str) -> Finding:
    name = image.file.name
    number = image.row["row_number"]
    path = (
        repr(name)
        if problem == "foreign_name"
        else store.display_name(store.folder / name)
    )  # it may be any text
    return Finding(
        path, problem, f"row {number}: {PROBLEMS[problem]}", _remedy(image), number
    )


def _remedy(image: _RowImage) -> str:
    if image.is_input:
        return "`pixmill repair` fetches it again where input.images is `keep`"
    ends = image.row["url_expires_at"]
    or_lost = "restore the file from a backup, or `pixmill repair` marks it as lost"
    if ends is None:
        return f"it has no URL: {or_lost}"
    until = ends.astimezone().strftime("%Y-%m-%d %H:%M")
    if ends <= datetime.now(UTC):
        return f"its URL expired at {until}: {or_lost}"
    return f"`pixmill repair` fetches it while its URL lives, until {until}"


def _agreeing(
    ledger: Ledger | None, rows: Sequence[Mapping[str, Any]], found: Verified
) -> Ledger | None:
    """Compare `rows` with the ledger; return `None` in its place where it can't be read to the end."""
    if ledger is None:
        return None
    try:
        outcomes = ledger.outcomes([row["job_key"] for row in rows])
        known = pa.concat_tables(
            [part.select(["state", "images"]) for part in outcomes]
        )
    except LedgerError as error:
        found.add(Finding(str(ledger.address), "ledger", str(error), _RESTORE))
        return None
    for row, state, images in zip(
        rows, known["state"].to_pylist(), known["images"].to_pylist(), strict=True
    ):
        if problem := _disagreement(row, state, images):
            found.add(Finding(str(ledger.address), *problem, row["row_number"]))
    return ledger


def _disagreement(
    row: Mapping[str, Any], state: str | None, images: Any
) -> tuple[str, str, str] | None:
    """What is wrong between a row and the ledger. That the ledger knows more is no fault: a run may be going on."""
    if row["job_key"] is None or row["status"] == "skipped":
        return None
    if state is None:
        return (
            "not_in_ledger",
            f"has no record of the job of row {row['row_number']}, {row['status']}",
            _RESTORE,
        )
    if state in _OPEN:
        return None
    if state != row["status"]:
        return (
            "outdated",
            f"row {row['row_number']} is {row['status']} in the dataset, {state} here",
            _PUBLISH,
        )
    if row["images"] is not None and row["images"] != images:
        return (
            "outdated",
            f"row {row['row_number']} has other images in the dataset than here",
            _PUBLISH,
        )
    return None


def _check_counts(
    path: Path, manifest: Mapping[str, Any], statuses: Counter[str], found: Verified
) -> None:
    """Hold what the manifest counts against the rows themselves."""
    said = manifest.get("counts")
    counted = {"rows": found.rows, **statuses}
    for name, count in counted.items():
        told = (
            manifest.get("rows")
            if name == "rows"
            else said.get(name)
            if isinstance(said, dict)
            else None
        )
        if manifest and told != count:
            found.add(
                Finding(
                    found.shown(path),
                    "manifest",
                    f"says {told} {name}, the dataset has {count:,}",
                    _PUBLISH,
                )
            )
