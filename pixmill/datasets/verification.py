"""Whether what was published is still what it was: dataset, history, candidates, images and ledger.

All of it is read again to the last byte, and nothing is written. Publications wait only while
the dataset file and its history are hashed; the rows are then read from the version that was
open at that time, however long its images take.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CANDIDATES, DATASET, HISTORY, MANIFEST
from pixmill.datasets.loading import open_dataset, published_dataset
from pixmill.datasets.schema import own_columns
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
"""Findings that are kept in full.

Beyond them they are only counted, so that a store without images needs no memory.
"""

_PUBLISH = "`pixmill repair` publishes it again, without paying"
_RESTORE = (
    "restore the ledger from a backup before the next run, "
    "which would pay again for what it does not know"
)
_COLUMNS = (
    "row_number",
    "status",
    "job_key",
    "images",
    "input_image",
    "url_expires_at",
)
_COLUMNS_OF_CANDIDATES = (
    "row_number",
    "candidate",
    "status",
    "job_key",
    "file_name",
)
_OPEN = (State.PENDING, State.IN_FLIGHT, State.SUBMITTED)


class Finding(NamedTuple):
    """One thing that is wrong."""

    file: str

    problem: str
    """What kind of thing, in one word."""

    message: str
    """What about the file, to follow its name."""

    remedy: str
    """How to put it right."""

    row_number: int | None = None
    """The first row that it is about."""


@dataclass
class Verified:
    """What was read and what is wrong with it."""

    shown: Callable[[Path], str] = str
    """Returns what a file is called: its path, or its URL."""

    rows: int = 0
    """How many were read; so are the next two."""

    images: int = 0
    versions: int = 0

    problems: Counter[str] = field(default_factory=Counter)
    """How many findings there are of each kind."""

    findings: list[Finding] = field(default_factory=list)
    """The first `LISTED` of them."""

    def add(self, finding: Finding) -> None:
        """Record something wrong."""
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

    @property
    def remedy(self) -> str:
        """How to put it right where it is missing or damaged."""
        if self.is_input:
            return "`pixmill repair` fetches it again where input.images is `keep`"
        if "candidate" in self.row:
            return (
                "`pixmill repair` fetches it while its URL lives, or marks it as lost"
            )
        ends = self.row["url_expires_at"]
        or_lost = "restore the file from a backup, or `pixmill repair` marks it as lost"
        if ends is None:
            return f"it has no URL: {or_lost}"
        until = ends.astimezone().strftime("%Y-%m-%d %H:%M")
        if ends <= datetime.now(UTC):
            return f"its URL expired at {until}: {or_lost}"
        return f"`pixmill repair` fetches it while its URL lives, until {until}"

    def report(self, problem: str, store: Store) -> Finding:
        """Return the finding about what is wrong with it in `store`."""
        name = self.file.name
        number = self.row["row_number"]
        # A foreign name may be any text, control characters included.
        is_foreign = problem == "foreign_name"
        shown = repr(name) if is_foreign else store.display_name(store.folder / name)
        of_row = f"row {number}"
        if "candidate" in self.row:
            of_row += f", candidate {self.row['candidate']}"
        return Finding(
            file=shown,
            problem=problem,
            message=f"{of_row}: {PROBLEMS[problem]}",
            remedy=self.remedy,
            row_number=number,
        )


def verify(
    config: Config,
    on_progress: Callable[[Verified], None] = lambda _: None,
) -> Verified:
    """Read everything that the dataset of `config` depends on, and return what is wrong.

    Nothing is written. `on_progress` is called after each image. The result has `exit_code` (0
    or 3), `problems` and `findings`. Raises UserError where there is no dataset, or
    the ledger is that of a newer pixmill.

        verified = pixmill.verify(load_config("configs/pets.yaml"))
        verified.problems    # Counter() where all is right
    """
    path = published_dataset(config, history=True)
    store = open_store(config)
    folder = path.parent
    found = Verified(store.display_name)
    problems: Sequence[str] = ()
    if isinstance(config.ledger_address, Path):
        problems = integrity(config.ledger_address)
    elif not ledger_exists(config.ledger_address):
        # PostgreSQL checks its own pages.
        problems = ["contains no ledger"]
    for problem in problems:
        found.add(Finding(str(config.ledger_address), "ledger", problem, _RESTORE))
    ledger = None if problems else open_ledger(config.ledger_address, read_only=True)
    try:
        with ExitStack() as held:
            # Not while rows are read, which takes long: runs that publish wait for the lock, and a
            # file that is open stays what it was.
            with publication_lock(folder, shared=True):
                manifest = _check_published(folder, found)
                _check_history(folder, found)
                dataset = held.enter_context(open_dataset(path))
                candidates = _open_candidates(folder, dataset, held, found)
            images = _ImageCheck(store, found, on_progress)
            counts = _check_rows(dataset, ledger, found, images)
            _check_counts(folder / MANIFEST, manifest, counts, found)
            if candidates:
                _check_candidates(folder, candidates, ledger, found, images)
    except UserError as error:
        found.add(Finding(store.display_name(path), "damaged", str(error), _PUBLISH))
    finally:
        if ledger:
            ledger.close()
    return found


def _check_published(
    folder: Path,
    found: Verified,
) -> dict[str, Any]:
    """Check the dataset file against its manifest and return that."""
    path = folder / MANIFEST
    problem: str | None = "is missing or can't be read"
    manifest = manifest_at(path)
    if "sha256" in manifest:
        path = folder / DATASET
        problem = manifest_problem(path, manifest)
    if problem:
        found.add(Finding(found.shown(path), "manifest", problem, _PUBLISH))
    return manifest


def _check_history(folder: Path, found: Verified) -> None:
    for path in sorted((folder / HISTORY).glob("*.parquet")):
        found.versions += 1
        problem = _version_problem(path)
        if problem:
            found.add(
                Finding(
                    file=found.shown(path),
                    problem="history",
                    message=problem,
                    remedy="nothing reads it: remove it and its .json",
                )
            )


def _version_problem(path: Path) -> str | None:
    """Say what is wrong with an earlier version, or return None.

    By its manifest, or by its pages where a killed run wrote none.
    """
    manifest = manifest_at(path.with_suffix(".json"))
    if "sha256" in manifest:
        return manifest_problem(path, manifest)
    try:
        with open_dataset(path) as version:
            for _ in version.iter_batches(BATCH_ROWS):
                # Reading checks the checksum of each page.
                pass
    except UserError as error:
        return str(error)
    return None


class _ImageCheck:
    """Reads image files, each once, however many rows name it."""

    def __init__(
        self, store: Store, found: Verified, on_progress: Callable[[Verified], None]
    ) -> None:
        self._store = store
        self._found = found
        self._on_progress = on_progress
        self._seen = set[int]()
        """Hashes of names, which need less memory than the names."""

    def check(self, images: Iterable[_RowImage], pool: ThreadPoolExecutor) -> None:
        """Record what is wrong with the files of `images`."""
        new = []
        for image in images:
            name = hash(image.file.name)
            if name not in self._seen:
                self._seen.add(name)
                new.append(image)
        problems = pool.map(self._store.problem, [image.file for image in new])
        for image, problem in zip(new, problems, strict=True):
            self._found.images += 1
            if problem:
                self._found.add(image.report(problem, self._store))
            self._on_progress(self._found)


def _check_rows(
    dataset: pq.ParquetFile,
    ledger: Ledger | None,
    found: Verified,
    images: _ImageCheck,
) -> Counter[str]:
    """Check the images that rows name and what the ledger says of their jobs.

    Returns how many rows have each status.
    """
    own = own_columns(dataset.schema_arrow)
    names = [own[name] for name in _COLUMNS]
    statuses = Counter[str]()
    with ThreadPoolExecutor(THREADS) as pool:
        # All columns, so that every page is read, with its checksum.
        for batch in dataset.iter_batches(BATCH_ROWS):
            needed = batch.select(names).rename_columns(_COLUMNS)
            rows = needed.to_pylist()
            statuses.update(row["status"] for row in rows)
            # Once is enough: what can't be read would be found again with every batch.
            if ledger and not _compare_with_ledger(ledger, rows, found):
                ledger = None
            images.check(_images_of(rows), pool)
            found.rows += len(rows)
    return statuses


def _open_candidates(
    folder: Path, dataset: pq.ParquetFile, held: ExitStack, found: Verified
) -> pq.ParquetFile | None:
    """Open the list of candidates, until `held` ends; None where there is none or it is damaged."""
    path = folder / CANDIDATES
    last = [name.removeprefix("pixmill_") for name in dataset.schema_arrow.names[-2:]]
    # Made without `quality.until`, a dataset has no candidates: the list came with another one.
    if last != ["accepted", "candidate"]:
        return None
    try:
        return held.enter_context(open_dataset(path))
    except UserError as error:
        found.add(Finding(found.shown(path), "damaged", str(error), _PUBLISH))
        return None


def _check_candidates(
    folder: Path,
    candidates: pq.ParquetFile,
    ledger: Ledger | None,
    found: Verified,
    images: _ImageCheck,
) -> None:
    """Check the candidates that are not in the dataset as its rows are checked."""
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for batch in candidates.iter_batches(BATCH_ROWS):
                # Of one that doesn't say whether it is kept nothing else reads the picture.
                is_kept = pc.fill_null(batch["kept"], False)
                others = batch.filter(pc.invert(is_kept))
                rows = others.select(_COLUMNS_OF_CANDIDATES).to_pylist()
                if ledger and not _compare_with_ledger(ledger, rows, found):
                    ledger = None
                pictures = [
                    _RowImage(NamedImage(row["file_name"], None), row)
                    for row in rows
                    if row["file_name"]
                ]
                images.check(pictures, pool)
        except (pa.ArrowException, OSError) as error:
            shown = found.shown(folder / CANDIDATES)
            found.add(Finding(shown, "damaged", str(error), _PUBLISH))


def _images_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[_RowImage]:
    """Yield the image files that rows of the dataset name."""
    for row in rows:
        for output in row["images"] or ():
            yield _RowImage(NamedImage(output["file_name"], output["bytes"]), row)
        if row["input_image"]:
            yield _RowImage(NamedImage(row["input_image"], None), row, is_input=True)


def _compare_with_ledger(
    ledger: Ledger,
    rows: Sequence[Mapping[str, Any]],
    found: Verified,
) -> bool:
    """Compare `rows` with the ledger; return whether it could be read to the end."""
    try:
        outcomes = ledger.outcomes([row["job_key"] for row in rows])
        known = pa.concat_tables(
            [part.select(["state", "images"]) for part in outcomes]
        )
    except LedgerError as error:
        found.add(Finding(str(ledger.address), "ledger", str(error), _RESTORE))
        return False
    states = known["state"].to_pylist()
    stored = known["images"].to_pylist()
    for row, state, images in zip(rows, states, stored, strict=True):
        finding = _find_disagreement(str(ledger.address), row, state, images)
        if finding:
            found.add(finding)
    return True


def _find_disagreement(
    ledger: str,
    row: Mapping[str, Any],
    state: str | None,
    images: Any,
) -> Finding | None:
    """Return what is wrong between a row and its job's record in the ledger.

    That the ledger knows more is not a fault: a run may be under way.
    """
    number = row["row_number"]
    status = row["status"]
    # An invalid row has no job, and one that was skipped says nothing of its job.
    if row["job_key"] is None or status == "skipped":
        return None
    if state is None:
        message = f"has no record of the job of row {number}, {status}"
        return Finding(ledger, "not_in_ledger", message, _RESTORE, number)
    if state in _OPEN:
        return None
    if state != status:
        message = f"row {number} is {status} in the dataset, {state} here"
        return Finding(ledger, "outdated", message, _PUBLISH, number)
    if row.get("images") is not None and row["images"] != images:
        message = f"row {number} has other images in the dataset than here"
        return Finding(ledger, "outdated", message, _PUBLISH, number)
    return None


def _check_counts(
    path: Path,
    manifest: Mapping[str, Any],
    statuses: Counter[str],
    found: Verified,
) -> None:
    """Compare what the manifest counts with the rows themselves."""
    if not manifest:
        # Its absence is a finding already.
        return
    counts = manifest.get("counts")
    recorded = dict(counts) if isinstance(counts, dict) else {}
    recorded["rows"] = manifest.get("rows")
    for name, count in {"rows": found.rows, **statuses}.items():
        if recorded.get(name) != count:
            message = f"says {recorded.get(name)} {name}, the dataset has {count:,}"
            found.add(Finding(found.shown(path), "manifest", message, _PUBLISH))
