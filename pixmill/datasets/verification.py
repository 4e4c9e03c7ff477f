"""Whether what was published is still what it was: dataset, history, candidates, images and ledger.

All of it is read again to the last byte, and nothing is written. Publications wait only while
the dataset file and its history are hashed; the rows are then read from the version that was
open at that time, however long its images take.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CANDIDATES, MANIFEST
from pixmill.datasets.findings import PUBLISH_AGAIN, Finding, Verified
from pixmill.datasets.image_checks import ImageCheck, RowImage, images_of
from pixmill.datasets.loading import open_dataset, published_dataset
from pixmill.datasets.manifest_checks import (
    check_counts,
    check_history,
    check_published,
)
from pixmill.datasets.schema import our_columns
from pixmill.errors import LedgerError, UserError
from pixmill.ledger import Ledger, State, ledger_exists, open_ledger
from pixmill.ledger.sqlite import integrity
from pixmill.storage import open_store
from pixmill.storage.atomic_write import publication_lock
from pixmill.storage.integrity import (
    THREADS,
    NamedImage,
)

BATCH_ROWS = 2_000

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
                manifest = check_published(folder, found)
                check_history(folder, found)
                dataset = held.enter_context(open_dataset(path))
                candidates = _open_candidates(folder, dataset, held, found)
            images = ImageCheck(store, found, on_progress)
            counts = _check_rows(dataset, ledger, found, images)
            check_counts(folder / MANIFEST, manifest, counts, found)
            if candidates:
                _check_candidates(folder, candidates, ledger, found, images)
    except UserError as error:
        found.add(
            Finding(store.display_name(path), "damaged", str(error), PUBLISH_AGAIN)
        )
    finally:
        if ledger:
            ledger.close()
    return found


def _check_rows(
    dataset: pq.ParquetFile,
    ledger: Ledger | None,
    found: Verified,
    images: ImageCheck,
) -> Counter[str]:
    """Check the images that rows name and what the ledger says of their jobs.

    Returns how many rows have each status.
    """
    own = our_columns(dataset.schema_arrow)
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
            images.check(images_of(rows), pool)
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
        found.add(Finding(found.shown(path), "damaged", str(error), PUBLISH_AGAIN))
        return None


def _check_candidates(
    folder: Path,
    candidates: pq.ParquetFile,
    ledger: Ledger | None,
    found: Verified,
    images: ImageCheck,
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
                    RowImage(NamedImage(row["file_name"], None), row)
                    for row in rows
                    if row["file_name"]
                ]
                images.check(pictures, pool)
        except (pa.ArrowException, OSError) as error:
            shown = found.shown(folder / CANDIDATES)
            found.add(Finding(shown, "damaged", str(error), PUBLISH_AGAIN))


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
        return Finding(ledger, "outdated", message, PUBLISH_AGAIN, number)
    if row.get("images") is not None and row["images"] != images:
        message = f"row {number} has other images in the dataset than here"
        return Finding(ledger, "outdated", message, PUBLISH_AGAIN, number)
    return None
