"""The look at a plan's input images before it is agreed to: what is bad makes its rows invalid, and nothing is paid.

`input.images: check` looks at what would be paid for; `keep` at the images of all valid rows, so that every pair of
input and output is complete. Image files of this machine need no look, but are kept as well.
"""

import logging
from collections.abc import Callable, Iterator

import numpy as np

from pixmill.ledger import Ledger
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.schema import now_micros
from pixmill.planning.input_images import (
    DEADLINE_SECONDS,
    THREADS,
    InputCounts,
    InputImageChecker,
    store_image,
)
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from pixmill.storage import open_store
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
    images = InputImageChecker(open_store(config), ledger, fetcher)
    try:
        return _look_until_settled(plan, ledger, images, limit, on_progress)
    finally:
        images.close()


def _look_until_settled(
    plan: Plan,
    ledger: Ledger,
    images: InputImageChecker,
    limit: int | None,
    on_progress: Callable[[InputCounts], None],
) -> Plan:
    """Look at the images that matter to `plan` and plan again, until a look finds nothing that changes the plan.

    A bad image takes its row away and another moves up. Of three rows with `limit` 1, row 1 is looked at and is bad;
    the next plan pays for row 2 instead, which is good; so row 3 is never asked for.
    """
    keep = plan.config.input.images == "keep"
    seen = set[int]()
    total = InputCounts()
    while True:
        bad = sum(total.problems.values())
        # As many more as were bad so far: one at a time, many bad images would take as many passes over the table.
        reach = None if limit is None else limit + bad
        urls = _new_urls(plan, reach, seen)

        def tell(now: InputCounts, before: InputCounts = total) -> None:
            on_progress(before.plus(now))

        counts = images.check_all(urls, keep=keep, on_progress=tell)
        total = total.plus(counts)
        # Images that were bad before may be good by now, which changes the plan as well.
        if not counts.asked or not (counts.problems or plan.bad_images):
            bad = sum(total.problems.values())
            log.info("%d input images checked, %d of them not usable", total.asked, bad)
            return plan
        plan = make_plan(plan.config, ledger, plan.selection)


def _new_urls(
    plan: Plan,
    limit: int | None,
    seen: set[int],
) -> Iterator[str]:
    """Yield each URL that matters and is not in `seen`, and add it."""
    for jobs, row in _jobs_to_look_at(plan, limit):
        for url in (sources[row] for sources in jobs.images.sources):
            # A hash takes a tenth of a URL, and there may be millions. Where two URLs had one hash, the second would
            # not be looked at, as with `input.images: url`.
            if hash(url) not in seen:
                seen.add(hash(url))
                yield url


def _jobs_to_look_at(
    plan: Plan,
    limit: int | None,
) -> Iterator[tuple[JobBatch, int]]:
    """Yield the rows whose images matter: each batch with a position in it.

    They are those that would be paid for if their images are good; with `keep` also all that are paid for.
    """
    variants = len(plan.expander.variants)
    pending = np.asarray(plan.pending.reshape(-1, variants).any(axis=1))
    pending[[number - 1 for number in plan.bad_images]] = True
    end = len(pending)
    positions = np.flatnonzero(plan.pending)
    if limit == 0:
        end = 0
    elif limit is not None and limit < len(positions):
        # With the row of the last job that it lets through.
        end = int(positions[limit - 1]) // variants + 1
    wanted = np.zeros_like(pending)
    if plan.config.input.images == "keep":
        wanted = ~pending
    wanted[:end] |= pending[:end]
    for jobs in plan.batches(wanted):
        start = jobs.rows.first_row - 1
        has_entry = jobs.in_dataset.reshape(-1, variants).any(axis=1)
        here = wanted[start : start + len(jobs.row_keys)] & has_entry
        for row in np.flatnonzero(here).tolist():
            # Rows with another problem stay invalid, whatever their image is.
            if row not in jobs.problems or start + row + 1 in plan.bad_images:
                yield jobs, row


def _keep_files(
    plan: Plan,
    ledger: Ledger,
    limit: int | None,
) -> None:
    store = open_store(plan.config)
    for jobs, row in _jobs_to_look_at(plan, limit):
        for file in jobs.images.files[row] if row not in jobs.problems else ():
            name = ledger.kept_inputs([file.source])[0]
            if name is not None and store.exists(name):
                continue
            try:
                data = file.content()
                image = InputImage(
                    file.source,
                    now_micros(),
                    None,  # no problem
                    None,
                    store_image(store, data),
                    file.sha256,
                    *inspect(data),
                    bytes=len(data),
                )
            except ImageError as error:
                # Of a row that was paid for before anybody looked: the run goes on without a copy.
                number = jobs.rows.first_row + row
                log.warning("row %d: %s is not kept: %s", number, file.path, error)
            else:
                ledger.record_input(image)
