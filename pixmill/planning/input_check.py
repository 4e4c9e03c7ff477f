"""The look at a plan's input images before it is agreed to: what is bad makes its rows invalid, and nothing is paid.

`input.images: check` looks at what would be paid for; `keep` at the images of all valid rows, so that every pair of
input and output is complete. Image files of this machine need no look, but are kept as well.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pixmill.ledger import Ledger
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.schema import now_micros
from pixmill.planning.input_images import (
    DEADLINE_SECONDS,
    THREADS,
    InputCounts,
    InputImages,
    stored,
)
from pixmill.planning.jobs import JobBatch, LocalImage
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from pixmill.storage import Store, open_store
from pixmill.storage.image_decoding import ImageError, inspect
from pixmill.storage.image_fetcher import INPUTS, ImageFetcher

log = logging.getLogger(__name__)


def review_inputs(
    plan: Plan,
    ledger: Ledger,
    limit: int | None,
    on_progress: Callable[[InputCounts], None],
) -> Plan:
    """Ask for the input images of `plan` that no answer is known of; return the plan as it is with the answers.

    With a `limit` as in `Plan.pending_jobs` only those of the jobs that it lets through matter. `on_progress` hears
    how far the look is. Raises LedgerError, and PixmillError where an image can't be stored.
    """
    config = plan.config
    if config.input.images == "url":
        return plan
    if config.input.local_images:
        if config.input.images == "keep":
            _keep_files(plan, ledger, limit)
        return plan
    fetcher = ImageFetcher(
        INPUTS,
        allow_hosts=config.output.allow_hosts,
        connections=THREADS,
        deadline=DEADLINE_SECONDS,
    )
    images = InputImages(open_store(config), ledger, fetcher)
    try:
        return _reviewed(plan, ledger, images, limit, on_progress)
    finally:
        images.close()


def _reviewed(
    plan: Plan,
    ledger: Ledger,
    images: InputImages,
    limit: int | None,
    on_progress: Callable[[InputCounts], None],
) -> Plan:
    """Look and plan again until there is no news: where a bad image takes a row away, another moves up."""
    keep = plan.config.input.images == "keep"
    seen = set[int]()
    total = InputCounts()
    while True:
        more = None if limit is None else limit + sum(total.problems.values())
        urls = _new_urls(plan, more, seen)
        hear = partial(_tell, on_progress, total)
        counts = images.check_all(urls, keep=keep, on_progress=hear)
        total = total.plus(counts)
        if not counts.asked or not (counts.problems or plan.bad_images):
            log.info(
                "input images: %d looked at, %d bad",
                total.asked,
                sum(total.problems.values()),
            )
            return plan
        plan = make_plan(plan.config, ledger, plan.selection)


def _tell(
    on_progress: Callable[[InputCounts], None], before: InputCounts, now: InputCounts
) -> None:
    on_progress(before.plus(now))


def _new_urls(plan: Plan, limit: int | None, seen: set[int]) -> Iterator[str]:
    """Yield each URL that matters and is not in `seen`; by its hash, so that a million of them are no burden."""
    for jobs, row in _rows(plan, limit):
        for url in (sources[row] for sources in jobs.images.sources):
            if hash(url) not in seen:
                seen.add(hash(url))
                yield url


def _rows(plan: Plan, limit: int | None) -> Iterator[tuple[JobBatch, int]]:
    """Yield the rows whose images matter: each batch with a position in it."""
    wanted = _wanted(plan, limit)
    for jobs in plan.batches(wanted):
        start = jobs.rows.first_row - 1
        here = wanted[start : start + len(jobs.row_keys)] & jobs.taken.reshape(
            -1, len(jobs.slots)
        ).any(axis=1)
        for row in np.flatnonzero(here).tolist():
            if row not in jobs.problems or start + row + 1 in plan.bad_images:
                yield jobs, row


def _wanted(plan: Plan, limit: int | None) -> NDArray[np.bool_]:
    """Mark the rows that would be paid for if their images are good; with `keep` also all that are paid for."""
    pending = np.asarray(plan.pending.reshape(-1, len(plan.maker.slots)).any(axis=1))
    pending[[number - 1 for number in plan.bad_images]] = True
    end = len(pending) if limit is None else _end(plan, limit)
    wanted = ~pending if plan.config.input.images == "keep" else np.zeros_like(pending)
    wanted[:end] |= pending[:end]
    return wanted


def _end(plan: Plan, limit: int) -> int:
    """How many rows there are up to the last one that `limit` lets through."""
    positions = np.flatnonzero(plan.pending)
    if limit >= len(positions):
        return len(plan.pending) // len(plan.maker.slots)
    return int(positions[limit - 1]) // len(plan.maker.slots) + 1 if limit else 0


def _keep_files(plan: Plan, ledger: Ledger, limit: int | None) -> None:
    store = open_store(plan.config)
    for jobs, row in _rows(plan, limit):
        for file in jobs.images.files[row] if row not in jobs.problems else ():
            name = ledger.kept_inputs([file.source])[0]
            if name is None or not store.holds(name):
                try:
                    ledger.record_input(_kept(store, file))
                except (
                    ImageError
                ) as error:  # of a row that was paid for before anybody looked
                    number = jobs.rows.first_row + row
                    log.warning("row %d: %s is not kept: %s", number, file.path, error)


def _kept(store: Store, file: LocalImage) -> InputImage:
    data = file.content()
    name = stored(store, data)
    return InputImage(
        file.source,
        now_micros(),
        None,
        None,
        name,
        file.sha256,
        *inspect(data),
        bytes=len(data),
    )
