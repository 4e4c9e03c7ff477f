"""The look at a plan's input images before it is agreed to: what is bad makes its rows invalid, and nothing is paid.

`input.images: check` looks at what would be paid for; `keep` at the images of all valid rows, so that every pair of
input and output is complete. Image files of this machine need no look, but are kept as well.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pixmill.images import ImageStore, inspect
from pixmill.input_images import DEADLINE_SECONDS, THREADS, InputCounts, InputFetcher, InputImages
from pixmill.jobs import JobBatch, LocalImage
from pixmill.ledger import Ledger
from pixmill.ledger.inputs import InputImage
from pixmill.ledger.schema import now_micros
from pixmill.plan import Plan


def review_inputs(plan: Plan, ledger: Ledger, on_progress: Callable[[InputCounts], None]) -> bool:
    """Ask for the input images of `plan` that no answer is known of; return whether there is news, so to plan again.

    Raises LedgerError, and PixmillError where an image can't be stored.
    """
    config = plan.config
    if config.input.images == "url" or not plan.distinct:
        return False
    keep = config.input.images == "keep"
    if config.input.local_images:
        return keep and _keep_files(plan, ledger)
    fetcher = InputFetcher(allow_hosts=config.image_hosts, connections=THREADS, deadline=DEADLINE_SECONDS)
    images = InputImages(config.store_path, ledger, fetcher)
    try:
        counts = images.check_all(_urls(plan, all_valid=keep), keep=keep, on_progress=on_progress)
    finally:
        images.close()
    return counts.asked > 0


def _urls(plan: Plan, *, all_valid: bool) -> Iterator[str]:
    """Yield each URL once; by its hash, so that a million of them are no burden."""
    seen: set[int] = set()
    for jobs, rows in _rows(plan, all_valid=all_valid):
        for row in rows:
            for url in jobs.images.sources(row):
                if hash(url) not in seen:
                    seen.add(hash(url))
                    yield url


def _rows(plan: Plan, *, all_valid: bool) -> Iterator[tuple[JobBatch, list[int]]]:
    """Yield batches with the positions of the rows whose images matter."""
    wanted = plan.first if all_valid else plan.pending
    position = 0
    for jobs in plan.batches():
        here = wanted[position : position + len(jobs.keys)].reshape(-1, len(jobs.slots)).any(axis=1)
        position += len(jobs.keys)
        yield jobs, np.flatnonzero(here).tolist()


def _keep_files(plan: Plan, ledger: Ledger) -> bool:
    store, news = ImageStore(plan.config.store_path), False
    for jobs, rows in _rows(plan, all_valid=True):
        files = {file.source: file for row in rows for file in jobs.images.files[row]}
        known = ledger.inputs(list(files))
        for source, file in files.items():
            if source not in known or not _is_there(plan.config.store_path, known[source]):
                ledger.record_input(_kept(store, file))
                news = True
    return news


def _kept(store: ImageStore, file: LocalImage) -> InputImage:
    data = file.content()
    name = store.save(data).file_name
    return InputImage(file.source, now_micros(), None, None, name, file.sha256, *inspect(data), bytes=len(data))


def _is_there(store: Path, image: InputImage) -> bool:
    return image.file_name is not None and (store / image.file_name).is_file()
