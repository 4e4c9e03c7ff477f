"""What a view shows: the page of a store, and of each dataset the report's page, a part of its jobs at a time."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from markupsafe import Markup

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CANDIDATES
from pixmill.datasets.publishing import published_folder
from pixmill.datasets.report.columns import columns_of
from pixmill.datasets.report.image_links import Pictures
from pixmill.datasets.report.job_data import Chunks
from pixmill.datasets.report.page import (
    Served,
    describe_page,
    input_folders,
    load_template,
    page_style,
    render_page,
)
from pixmill.datasets.report.rejected import NONE_REJECTED, read_rejected
from pixmill.datasets.report.summary import Summary, summarize
from pixmill.errors import PixmillError
from pixmill.execution.status import PastRun
from pixmill.storage import open_store
from pixmill.text import counted
from pixmill.view.cards import make_card
from pixmill.view.live_jobs import LiveJobs, as_dataset
from pixmill.view.pictures import LaterThumbnails, PagePlaces, PictureSources
from pixmill.view.store_ledgers import StoreLedgers
from pixmill.view.stored_datasets import DatasetFinder, StoredDataset

PAGE_JOBS = 1_000
"""Jobs of a page: it is there at once, and what changes of it every second is small."""


class _DatasetFigures(NamedTuple):
    """The figures of one version of a dataset's file."""

    version: tuple[int, int]
    summary: Summary


class _OpenPage(NamedTuple):
    """A file with the jobs of a page, and where they are."""

    file: pq.ParquetFile
    start: int
    """Index in the file of the first of them."""
    most: int
    """They are so many at most."""
    size: int
    """Jobs of a full page; while a run goes on, rows."""
    total: int
    """Jobs of all pages; while a run goes on, rows."""


class _LiveRun(NamedTuple):
    """The jobs of the last run of a dataset that somebody looked at."""

    run_id: str
    jobs: LiveJobs


class Site:
    """Makes the pages of the store in `folder`. From any number of threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets = DatasetFinder(folder)
        self.sources = PictureSources()
        self._lock = threading.Lock()
        # Held for moments only: every request needs it, and the figures of a dataset may take
        # seconds. Two requests may work them out twice.
        self._figures: dict[str, _DatasetFigures] = {}
        self._live: dict[str, _LiveRun] = {}
        self._ledgers = StoreLedgers()

    def close(self) -> None:
        """Close the ledgers."""
        self._ledgers.close()

    def index_page(self) -> str:
        """Return the page of the store."""
        datasets = list(self.datasets.list())
        cards = [make_card(of, self._ledgers, self.sources) for of in datasets]
        origins = {_image_origin(dataset.config) for dataset in datasets}
        style = page_style() + _asset("index.css")
        # Who looks in the morning wants to see what is at work, then what is wrong.
        order = {"running": 0, "problems": 1, "good": 2, "none": 3}
        cards.sort(key=lambda card: order[card.state])
        return load_template("index.html.j2", "pixmill.view").render(
            store=str(self.folder),
            cards=cards,
            is_live=any(card.state == "running" for card in cards),
            style=style,
            style_hash=b64encode(sha256(style.encode()).digest()).decode(),
            image_origins=" ".join(sorted(origins)),
            now=f"{datetime.now().astimezone():%H:%M:%S}",
            counted=counted,
        )

    def dataset_page(self, dataset: StoredDataset, number: int) -> Iterator[str]:
        """Yield a page of a dataset, from 1 on. Raises PixmillError where it can't be read."""
        config = dataset.config
        run = self._ledgers.run_under_way(dataset)
        with self._open_page(dataset, run, number) as page:
            file = page.file
            columns = columns_of(file.schema_arrow, config)
            # Of a run under way the figures are about the page: counting all would slow it.
            summary = (
                summarize(file, columns) if run else self._figures_of(dataset, file)
            )
            places = PagePlaces(input_folders(config), self.sources)
            with LaterThumbnails(open_store(config), self.sources) as thumbnails:
                pictures = Pictures(columns, places, thumbnails)
                # Of a run under way nobody has decided yet which candidates are kept.
                rejected = NONE_REJECTED
                if run is None:
                    candidates = dataset.file.with_name(CANDIDATES)
                    rejected = read_rejected(candidates, file, page.most, page.start)
                chunks = Chunks(columns, summary.axes, pictures, rejected)
                about = describe_page(config, columns, summary, places)
                about["run"] = run.run_id if run else None
                served = Served(
                    home="../../",
                    number=number,
                    pages=max(1, -(-page.total // page.size)),
                    first=(number - 1) * page.size,
                    last=min(page.total, number * page.size),
                    total=page.total,
                    is_live=run is not None,
                    script=_asset("live.js"),
                    image_origin=_image_origin(config),
                )
                manifest = {} if run else dataset.manifest
                texts = chunks.read(file, page.most, page.start)
                yield from render_page(
                    config, summary, about, texts, manifest, rejected, served
                )

    def live_state(
        self,
        dataset: StoredDataset,
        number: int,
        seen: int,
    ) -> str:
        """Return as JSON how far the run of a dataset is, and the jobs of a page where calls have
        ended since the one `seen`.

        `run` is null once none is under way.
        """
        run = self._ledgers.run_under_way(dataset)
        if run is None:
            return json.dumps({"run": None}, allow_nan=False)
        progress = self._ledgers.progress_of(dataset, run)
        state: dict[str, Any] = {
            "run": run.run_id,
            "seen": progress.last_attempt,
            "words": progress.describe(dataset, run),
            "share": progress.share_done(dataset),
        }
        text = json.dumps(state, allow_nan=False)
        config = dataset.config
        live = self._live_jobs_of(dataset, run)
        ledger = self._ledgers.open(config)
        if not live.has_changed(number, ledger, run.run_id, seen):
            return text
        with self._open_page(dataset, run, number) as page:
            file = page.file
            columns = columns_of(file.schema_arrow, config)
            axes = summarize(file, columns).axes
            places = PagePlaces(input_folders(config), self.sources)
            with LaterThumbnails(open_store(config), self.sources) as thumbnails:
                pictures = Pictures(columns, places, thumbnails)
                of_page = Chunks(columns, axes, pictures)
                chunks = of_page.read(file, page.most, page.start)
                # They are JSON already.
                return f'{text[:-1]}, "chunks": [{",".join(chunks)}]}}'

    @contextmanager
    def _open_page(
        self,
        dataset: StoredDataset,
        run: PastRun | None,
        number: int,
    ) -> Iterator[_OpenPage]:
        """Yield the jobs of a page."""
        if run is None:
            # Another machine may have published since.
            if dataset.config.bucket:
                published_folder(dataset.config)
            if not dataset.file.exists():
                raise PixmillError("nothing is published yet")
            with pq.ParquetFile(dataset.file) as file:
                start = (number - 1) * PAGE_JOBS
                total = file.metadata.num_rows
                yield _OpenPage(
                    file,
                    start=start,
                    most=PAGE_JOBS,
                    size=PAGE_JOBS,
                    total=total,
                )
            return
        live = self._live_jobs_of(dataset, run)
        jobs = live.read_page(number, self._ledgers.open(dataset.config))
        with as_dataset(jobs) as file:
            # The run may have ended since: then there are no other pages to come.
            rows = int(dataset.running.get("rows", live.page_rows))
            yield _OpenPage(
                file,
                start=0,
                most=jobs.num_rows,
                size=live.page_rows,
                total=rows,
            )

    def _live_jobs_of(
        self,
        dataset: StoredDataset,
        run: PastRun,
    ) -> LiveJobs:
        known = self._live.get(dataset.key)
        if known is None or known.run_id != run.run_id:
            new = _LiveRun(
                run.run_id,
                LiveJobs(dataset.config, PAGE_JOBS),
            )
            with self._lock:
                # Unless another request was first: it knows which pages are unfinished.
                known = self._live.get(dataset.key)
                if known is None or known.run_id != run.run_id:
                    known = new
                    self._live[dataset.key] = new
        return known.jobs

    def _figures_of(
        self,
        dataset: StoredDataset,
        file: pq.ParquetFile,
    ) -> Summary:
        """Return the figures of a whole dataset, counted once for each version of its file."""
        stat = dataset.file.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        known = self._figures.get(dataset.key)
        if known is None or known.version != version:
            columns = columns_of(file.schema_arrow, dataset.config)
            known = _DatasetFigures(version, summarize(file, columns))
            with self._lock:
                self._figures[dataset.key] = known
        return known.summary


def _image_origin(config: Config) -> str:
    """Return where a browser is sent for images of a bucket, as a content security policy names it."""
    if config.bucket is None:
        return ""
    link = open_store(config).signed_link("images/00/origin") or ""
    scheme, _, rest = link.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if rest else ""


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Yield the site of a store, whose ledgers are closed in the end."""
    with closing(Site(folder)) as site:
        yield site


def icon() -> str:
    """Return the icon of all pages, as SVG."""
    return _asset("icon.svg")


@cache
def _asset(name: str) -> Markup:
    """Return a file of ours, which may be in a page as it is."""
    file = files("pixmill.view").joinpath("assets", name)
    return Markup(file.read_text(encoding="utf-8"))  # noqa: S704
