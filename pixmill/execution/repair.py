"""Bringing back images that were paid for and are gone or damaged, without a paid call:
from URLs that still live.

The ledger first forgets the files that are not what it believes, so that they count as
missing; then whatever is missing is fetched, what dies soonest first, and the dataset
is published anew. What can't be had is listed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET, MANIFEST
from pixmill.datasets.loading import open_dataset, stream_own_columns
from pixmill.datasets.publishing import complete_publication
from pixmill.datasets.refused_dataset import refused_folder
from pixmill.execution.damaged_records import Checked, drop_damaged_records
from pixmill.execution.known_ledger import check_knows_jobs
from pixmill.execution.prepare import prepare
from pixmill.execution.run import ActiveRun
from pixmill.execution.run_summary import EXIT_REFUSED, RunSummary, record_summary
from pixmill.ledger import MissingImages
from pixmill.planning.input_images import InputCounts
from pixmill.signals import EXIT_INTERRUPTED, graceful_shutdown
from pixmill.storage import open_store
from pixmill.storage.atomic_write import publication_lock
from pixmill.storage.integrity import manifest_at, manifest_problem
from pixmill.text import counted

LISTED = 10_000
"""Rows without their image that are listed; beyond them they are counted."""

_WINDOW = 1_000
"""Missing images that are looked up together."""

_COLUMNS = (
    "row_number",
    "row_key",
    "status",
    "error_code",
    "url_expires_at",
    "input_image",
)
_MISSING = ("image_pending", "image_lost")


class MissingImage(NamedTuple):
    """A row whose image is not there: `image_pending` while its URL lives, `image_lost`
    where it is gone for good.
    """

    row_number: int
    row_key: str
    error_code: str
    url_expires_at: str | None


@dataclass
class Repaired:
    """What a repair found and did. `codes` counts the rows without their image by code;
    the first are listed.

    `missing_inputs` counts the rows that are paid for and lack the input image that
    `input.images: keep` wants.
    """

    checked: Checked
    report: RunSummary
    fetched: int
    refusals: tuple[str, ...] = ()
    """What the hosts said that did not give their images, the most frequent first."""
    codes: Counter[str] = field(default_factory=Counter)
    missing_inputs: int = 0
    missing: list[MissingImage] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where nothing is missing any more, 3 where something is, 7 where the gate refused
        the dataset, 130 where it was interrupted.
        """
        if self.report.exit_code in (EXIT_INTERRUPTED, EXIT_REFUSED):
            return self.report.exit_code
        return 3 if self.codes or self.missing_inputs else 0

    def describe(self) -> str:
        """Say how it ended: `12 images fetched, 3 rows without their image`."""
        if self.report.exit_code in (EXIT_INTERRUPTED, EXIT_REFUSED):
            return self.report.reason
        parts = [f"{counted(self.fetched, 'image')} fetched"]
        if self.codes:
            parts.append(f"{counted(self.codes.total(), 'row')} without their image")
        if self.missing_inputs:
            lacking = counted(self.missing_inputs, "row")
            parts.append(f"{lacking} without their input image")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "run_id": self.report.run_id,
            "exit_code": self.exit_code,
            "images": self.checked.images,
            "forgotten": self.checked.forgotten,
            "fetched": self.fetched,
            **{code: self.codes[code] for code in _MISSING},
            "missing_inputs": self.missing_inputs,
            "missing": [row._asdict() for row in self.missing],
            "dataset": self.report.dataset,
            **({"gate": self.report.gate} if self.report.gate else {}),
        }


def repair(
    config: Config,
    on_progress: Callable[[Checked], None] = lambda _: None,
    on_inputs: Callable[[InputCounts], None] = lambda _: None,
) -> Repaired:
    """Fetch the images that `config` paid for and that are missing, publish, and return
    what is still missing.

    `on_progress` is called with the files hashed so far, `on_inputs` with the input
    images checked so far, where they are kept. Call it in the main thread: the first
    Ctrl-C ends the fetching and publishes. Raises UserError where there is no ledger or
    no folder of images, TableError, LedgerError, and PixmillError where images can't be
    stored.
    """
    # Refused before a ledger is made: an empty one would forget every image.
    check_knows_jobs(config)
    open_store(config).clear_parts()
    # First, so that damaged files count as missing when the run is planned.
    checked = drop_damaged_records(config, on_progress)
    with (
        # A limit of 0: it pays for nothing.
        prepare(config, 0, on_inputs) as prepared,
        graceful_shutdown(prepared.interrupt),
    ):
        run = prepared.start()
        run.fetch_missing(_soonest_first(run))
        # What is published now must not keep the damaged file as its earlier version.
        with _damaged_dataset_aside(config):
            report = run.finish()
        # The dataset does not have all candidates; the plan that was made last knows of each.
        missing = report.images_missing
        if run.plan.candidates:
            missing = run.plan.images_missing
        repaired = Repaired(
            checked,
            report,
            prepared.plan.images_missing - missing,
            tuple(text for text, _ in run.image_refusals.seen.most_common()),
        )
        _list_missing(config, repaired)
        # As `status` shows it: that calls went well is no word about a repair, which makes none.
        ending = report._replace(
            exit_code=repaired.exit_code, reason=f"repair: {repaired.describe()}"
        )
        record_summary(config, run.ledger, ending)
    return repaired


# Fetching


def _soonest_first(run: ActiveRun) -> Iterator[MissingImages]:
    """Yield what is missing and may be had, by the ends of the URLs. Between the passes
    only keys are kept.
    """
    # Keys and instants of a million images are 72 MB; the URLs would be a gigabyte.
    keys = [np.zeros(0, "S64")]
    ends = [np.zeros(0, np.int64)]
    position = 0
    if run.plan.has_images_to_fetch:
        for jobs in run.plan.batches():
            # Rows that ask for the same share one image.
            first = run.plan.first[position : position + len(jobs.keys)]
            position += len(jobs.keys)
            asked = [
                key for key, is_first in zip(jobs.keys, first, strict=True) if is_first
            ]
            found = [
                (missing.job_key, missing.expires_at)
                for missing in run.ledger.missing_images(asked)
            ]
            keys.append(np.array([key for key, _ in found], "S64"))
            ends.append(np.array([ends_at for _, ends_at in found], np.int64))
    by_end = np.concatenate(keys)[np.argsort(np.concatenate(ends), kind="stable")]
    for start in range(0, len(by_end), _WINDOW):
        window = [key.decode() for key in by_end[start : start + _WINDOW].tolist()]
        yield from sorted(
            run.ledger.missing_images(window), key=lambda images: images.expires_at
        )


@contextmanager
def _damaged_dataset_aside(config: Config) -> Iterator[None]:
    """Take a dataset that is not what its manifest says out of the way, or it would
    become a version in `history/`.

    It comes back if the body fails.
    """
    folder = config.dataset_folder
    path = folder / DATASET
    away = folder / f"damaged.{DATASET}"
    with publication_lock(folder, shared=True):
        complete_publication(config)
        manifest = manifest_at(folder / MANIFEST)
        if path.exists() and manifest_problem(path, manifest):
            path.replace(away)
    try:
        yield
    finally:
        if away.exists() and not path.exists():
            away.replace(path)
        away.unlink(missing_ok=True)


def _list_missing(config: Config, repaired: Repaired) -> None:
    """Read from the dataset that the repair made which rows are without their image."""
    folder = config.dataset_folder
    if repaired.report.has_refused_dataset:
        # The published one is of before, or there never was one.
        folder = refused_folder(config)
    with open_dataset(folder / DATASET) as dataset:
        for rows in stream_own_columns(dataset, _COLUMNS):
            paid = rows.filter(pc.equal(rows["status"], "succeeded"))
            if config.input.images == "keep":
                repaired.missing_inputs += paid["input_image"].null_count
            for row in paid.filter(
                pc.is_in(paid["error_code"], pa.array(_MISSING))
            ).to_pylist():
                repaired.codes[row["error_code"]] += 1
                if len(repaired.missing) < LISTED:
                    ends = (
                        row["url_expires_at"].isoformat()
                        if row["url_expires_at"]
                        else None
                    )
                    repaired.missing.append(
                        MissingImage(
                            row["row_number"], row["row_key"], row["error_code"], ends
                        )
                    )
