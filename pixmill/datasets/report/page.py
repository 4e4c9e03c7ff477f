"""The page itself: one file with style, scripts, figures and jobs, put in place by one rename.

Everything that came from outside (prompts, ids, names of columns, messages) passes through the
template's autoescaping. Jobs are in the page as text that the script parses, never inside a
script; the content security policy lets nothing run but the scripts whose hashes it names, and
nothing be loaded but image files.
"""

import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CANDIDATES, DATASET, MANIFEST
from pixmill.datasets.gate import gate_of, in_figures
from pixmill.datasets.loading import published_dataset
from pixmill.datasets.report import charts
from pixmill.datasets.report.columns import DatasetColumns, columns_of
from pixmill.datasets.report.image_links import PicturePlaces, Pictures, ReportPaths
from pixmill.datasets.report.job_data import Chunks
from pixmill.datasets.report.origin import describe_origin
from pixmill.datasets.report.rejected import (
    NONE_REJECTED,
    RejectedCandidates,
    read_rejected,
)
from pixmill.datasets.report.summary import Summary, summarize
from pixmill.datasets.report.thumbnails import Thumbnails
from pixmill.errors import TableError, UserError
from pixmill.storage import open_store
from pixmill.storage.atomic_write import atomic_write, publication_lock
from pixmill.storage.integrity import manifest_at
from pixmill.tables.discovery import find_image_folders
from pixmill.text import counted, duration

PAGE = "index.html"
MOST_JOBS = 20_000
"""Jobs in one page: a browser opens so many at once. The figures are always about all jobs."""

SCRIPTS = (
    "jobs.js",
    "memory.js",
    "parts.js",
    "dimensions.js",
    "grid.js",
    "filters.js",
    "gallery.js",
    "spreads.js",
    "dialog.js",
    "page.js",
)
"""In the order in which they are run."""


# Every page of ours ends its title with it; the policy before it is long.
_TITLE_END = "· pixmill</title>".encode()
_HEAD_BYTES = 8_192


def page_of(config: Config) -> Path:
    """Return where the report of `config` is, or will be."""
    return page_beside(config.dataset_folder / DATASET)


def page_beside(dataset: Path) -> Path:
    """Return where the report of a dataset file is, or will be."""
    return dataset.parent / "report" / PAGE


def check_page(page: Path) -> None:
    """Raise UserError where `page` is a file that is not a page of ours, which must stay."""
    try:
        with page.open("rb") as file:
            is_ours = _TITLE_END in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    if not is_ours:
        raise UserError(
            f"{page} exists already, and is not a page of pixmill",
            hint="name another folder",
        )


def write_report(
    config: Config,
    folder: Path | None = None,
    source: Path | None = None,
    is_hurried: Callable[[], bool] = lambda: False,
) -> Path:
    """Write the report of a dataset of `config` and return its page.

    It is that in the file `source`, by default the published one. The page goes to `folder`, by
    default `report/` beside the dataset; no thumbnail is made any more
    once it `is_hurried`. Raises UserError where there is no dataset, where it is damaged, or
    where the page can't be written.
    """
    source = source or published_dataset(config)
    store = open_store(config)
    page = folder / PAGE if folder else page_beside(source)
    # Not resolved: links from the page go by the path that a browser sees.
    target = Path(os.path.abspath(page))  # noqa: PTH100
    try:
        # What is in the store is ours to replace, whoever wrote there.
        if folder:
            check_page(target)
        with publication_lock(target.parent):
            with (
                pq.ParquetFile(source, page_checksum_verification=True) as dataset,
                Thumbnails(store, is_hurried) as thumbnails,
                atomic_write(target) as path,
                path.open("w", encoding="utf-8") as file,
            ):
                manifest = manifest_at(source.parent / MANIFEST)
                candidates = source.parent / CANDIDATES
                rejected = read_rejected(candidates, dataset, MOST_JOBS)
                text = page_text(
                    config, dataset, thumbnails, target.parent, manifest, rejected
                )
                file.writelines(text)
            if folder is None:
                store.push(page.relative_to(store.folder).as_posix())
    except pa.ArrowException as error:
        raise UserError(
            f"{source} is damaged: {error}", hint="`pixmill run` publishes it again"
        ) from None
    except OSError as error:
        raise UserError(
            f"the report can't be written to {target.parent}: {error.strerror or error}"
        ) from None
    return target


def page_text(
    config: Config,
    dataset: pq.ParquetFile,
    thumbnails: Thumbnails,
    folder: Path,
    manifest: Mapping[str, Any] = MappingProxyType({}),
    rejected: RejectedCandidates = NONE_REJECTED,
) -> Iterator[str]:
    """Yield the page of `dataset`, which `manifest` describes, for a file in `folder`."""
    columns = columns_of(dataset.schema_arrow, config)
    summary = summarize(dataset, columns)
    places = ReportPaths(config.store_path, folder, input_folders(config))
    pictures = Pictures(columns, places, thumbnails)
    chunks = Chunks(columns, summary.axes, pictures, rejected)
    about = describe_page(config, columns, summary, places)
    yield from render_page(
        config, summary, about, chunks.read(dataset, MOST_JOBS), manifest, rejected
    )


class Served(NamedTuple):
    """What a page has that a server sends, beside what one on disk has."""

    home: str
    """The address of the page of the whole store."""

    number: int
    """Of the page, from 1: it shows a part of the jobs."""

    pages: int

    first: int
    """Index of the first job that it shows; of a live page, of the row."""

    last: int
    """Index behind the last one."""

    total: int
    """All jobs that there are; of a live page, all rows, as it is not known yet how many jobs rows
    have that turn out to be invalid."""

    is_live: bool
    """Whether a run goes on, whose jobs it shows as they end."""

    script: Markup
    """One of its own, which may ask the server: it is run last."""

    image_origin: str = ""
    """Where images come from beside the server itself: a bucket."""


def render_page(
    config: Config,
    summary: Summary,
    about: Mapping[str, Any],
    chunks: Iterable[str],
    manifest: Mapping[str, Any] = MappingProxyType({}),
    rejected: RejectedCandidates = NONE_REJECTED,
    served: Served | None = None,
) -> Iterator[str]:
    """Yield the page with these figures and these jobs; `served` is of one that is not a file."""
    scripts = [_asset(name) for name in SCRIPTS]
    if served:
        scripts.append(served.script)
    yield from load_template("page.html.j2").generate(
        name=config.name,
        summary=summary,
        about=json.dumps(about, ensure_ascii=False, allow_nan=False),
        chunks=chunks,
        served=served,
        shown=min(summary.jobs, MOST_JOBS),
        throughput=charts.throughput(summary.last_run) if summary.last_run else None,
        latency=charts.latency_rows(summary.latency),
        failures=charts.failure_rows(summary.failures),
        costs=charts.cost_tables(summary.axis_costs),
        scores=[charts.score_chart(score) for score in summary.scores],
        shares=charts.shares(summary.status),
        charts=charts,
        gate=gate_of(manifest),
        rejected=charts.reason_rows(rejected.reasons),
        origin=describe_origin(config, summary, manifest),
        has_price=config.budget.highest_price is not None,
        in_figures=in_figures,
        counted=counted,
        duration=duration,
        style=page_style() + _asset("figures.css") + _asset("print.css"),
        scripts=scripts,
        csp_hash=_csp_hash,
    )


def describe_page(
    config: Config,
    columns: DatasetColumns,
    summary: Summary,
    places: PicturePlaces,
) -> dict[str, Any]:
    """Return what the script has to know besides the jobs themselves."""
    axes = [
        {
            "path": axis.path,
            "labels": [value.label for value in axis.values],
            "texts": [value.text for value in axis.values],
        }
        for axis in summary.axes
    ]
    return {
        "name": config.name,
        "store": places.store_link,
        "axes": axes,
        "scores": [
            {"name": score.name, "flags": score.flag is not None}
            for score in columns.scores
        ],
        "spreads": charts.spreads(summary),
        "own": list(columns.own),
        "read": list(columns.read),
        "images": list(columns.images),
    }


def input_folders(config: Config) -> tuple[Path, ...]:
    """Return the folders that image files of rows are relative to."""
    try:
        return find_image_folders(config.input)
    except TableError:
        # The table is gone; the dataset is still there to be looked at.
        return ()


def compare_page(**figures: Any) -> str:
    """Return the page of two datasets, from what its template names."""
    return load_template("compare.html.j2").render(
        **figures,
        style=page_style() + _asset("figures.css") + _asset("compare.css"),
        script=_asset("compare.js"),
        csp_hash=_csp_hash,
    )


@cache
def load_template(name: str, package: str = "pixmill.datasets.report") -> Template:
    """Return a template of the assets of `package`, which escapes all that is put into it."""
    environment = Environment(
        loader=PackageLoader(package, "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def page_style() -> Markup:
    """Return the style of all pages."""
    return _asset("report.css")


def _asset(name: str) -> Markup:
    """Return a file of ours, which may be in the page as it is."""
    file = files("pixmill.datasets.report").joinpath("assets", name)
    return Markup(file.read_text(encoding="utf-8"))  # noqa: S704


def _csp_hash(text: str) -> str:
    """Return the hash by which the content security policy knows a script or a style."""
    digest = sha256(text.encode()).digest()
    return "sha256-" + b64encode(digest).decode()
