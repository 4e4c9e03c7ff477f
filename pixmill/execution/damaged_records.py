"""Letting the ledger forget the image files that are gone or damaged, so that they
count as missing and are fetched.

What the ledger forgets is where a file was, never that it was paid for.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Config
from pixmill.errors import PixmillError
from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.bulk_lookup import IMAGES
from pixmill.ledger.input_images import InputImage
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import prefetch
from pixmill.planning.planner import make_plan
from pixmill.storage import Store, open_store
from pixmill.storage.integrity import THREADS, NamedImage


@dataclass
class Checked:
    """How many image files were hashed, and how many of them the ledger forgot for
    being gone or damaged.
    """

    images: int = 0
    forgotten: int = 0


def drop_damaged_records(
    config: Config, on_progress: Callable[[Checked], None]
) -> Checked:
    """Let the ledger forget the files, among those of the config's jobs, that are gone
    or not what was stored.
    """
    checked = Checked()
    with (
        closing(open_ledger(config.ledger_address)) as ledger,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for was_forgotten in _checks(config, ledger, pool):
            checked.images += 1
            checked.forgotten += was_forgotten
            on_progress(checked)
    return checked


def _checks(config: Config, ledger: Ledger, pool: ThreadPoolExecutor) -> Iterator[bool]:
    """Check files batch by batch; yield for each job's images, and each input image,
    whether it was forgotten.
    """
    plan = make_plan(config, ledger)
    seen = set[int]()
    position = 0
    files = _RecordedFiles(open_store(config), ledger)
    for jobs, known in prefetch(plan.batches(), partial(_look_up_images, ledger)):
        first = plan.first[position : position + len(jobs.keys)]
        position += len(jobs.keys)
        columns = known.append_column("key", pa.array(jobs.keys, pa.string()))
        believed = columns.filter(
            pc.and_(pa.array(first), pc.is_valid(known["images"]))
        ).to_pylist()
        yield from pool.map(files.forget_output, believed)
        if config.input.images != "url":
            # By the hashes of their sources: a million of these as text would be 100 MB.
            fresh = {
                source
                for column in jobs.images.sources
                for source in column
                if hash(source) not in seen
            }
            seen.update(map(hash, fresh))
            inputs = ledger.inputs(list(fresh)).values()
            kept = [image for image in inputs if image.file_name]
            yield from pool.map(files.forget_input, kept)


def _look_up_images(ledger: Ledger, jobs: JobBatch) -> pa.Table:
    """What the ledger has of the images of each position. Those that wait for the store
    may be on another machine.
    """
    names = ["images", "output_urls", "image_error"]
    known = pa.concat_tables(part.select(names) for part in ledger.outcomes(jobs.keys))
    # An error says that the store did not take the files yet.
    stored = pc.if_else(
        pc.is_valid(known["image_error"]), pa.scalar(None, IMAGES), known["images"]
    )
    return known.set_column(0, "images", stored)


class _RecordedFiles:
    """Compares what the ledger believes with the files themselves."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def forget_output(self, job: dict[str, Any]) -> bool:
        """Make the images of a job missing if one of them is wrong; return whether it was."""
        wrong = any(
            self._is_wrong(NamedImage(image["file_name"], image["bytes"]))
            for image in job["images"]
        )
        if wrong:
            code = "image_pending" if job["output_urls"] else "image_lost"
            urls = job["output_urls"] or ()
            self._ledger.record_image(
                job["key"], "repair", urls, images=None, error=code, download_ms=0.0
            )
        return wrong

    def forget_input(self, image: InputImage) -> bool:
        """Forget where an input image is if its file is wrong; return whether it was."""
        wrong = self._is_wrong(NamedImage(image.file_name or "", image.bytes))
        if wrong:
            self._ledger.record_input(image._replace(file_name=None))
        return wrong

    def _is_wrong(self, image: NamedImage) -> bool:
        problem = self._store.problem(image)
        if problem is None:
            return False
        # A store that is not mounted has no images at all, and none of them is lost.
        if problem == "missing":
            self._store.check_present()
        # It may be whole: who can't read a file knows nothing of it.
        if problem == "unreadable":
            path = self._store.folder / image.name
            raise PixmillError(
                f"{path} can't be read",
                hint="fix the disk or the permissions and run it again; no image was marked as "
                "lost",
            )
        return not self._store.restore(image.name)
