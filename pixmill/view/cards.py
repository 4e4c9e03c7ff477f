"""The cards of the page of a store: each dataset with its last runs, its money and some pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pixmill.datasets.report.image_links import STORED
from pixmill.execution.status import PastRun
from pixmill.ledger.records import OUTCOMES
from pixmill.text import counted, in_words
from pixmill.view.pictures import PictureSources
from pixmill.view.sample_images import newest_images, published_images
from pixmill.view.store_ledgers import StoreLedgers
from pixmill.view.stored_datasets import StoredDataset

SHOWN_PICTURES = 6


class OutcomeShare(NamedTuple):
    """A part of a bar of outcomes."""

    status: str
    percent: float

    text: str
    """`12 succeeded`."""


class Card(NamedTuple):
    """One dataset on the page of the store."""

    key: str
    """How addresses name it."""

    name: str
    is_simulated: bool

    state: str
    """`running`, `good`, `problems` or `none`."""

    headline: str
    """How far its run is, or how the last one ended."""

    shares: tuple[OutcomeShare, ...]
    """Of what is published."""

    money: str
    """What was ever spent on it."""

    runs: tuple[str, ...]
    """The last ones, a line for each."""

    pictures: tuple[str, ...]
    """Addresses of thumbnails."""


def make_card(
    dataset: StoredDataset,
    ledgers: StoreLedgers,
    sources: PictureSources,
) -> Card:
    """Return the card of a dataset, and let its pictures be asked for."""
    runs = ledgers.last_runs(dataset)
    under_way = ledgers.run_under_way(dataset, runs)
    shares = _share_outcomes(dataset)
    if under_way:
        state = "running"
        progress = ledgers.progress_of(dataset, under_way)
        headline = progress.describe(dataset, under_way)
    elif not shares:
        state = "none"
        headline = "nothing published yet"
    else:
        summary = runs[0].summary if runs else None
        state = "problems" if summary and summary["exit_code"] else "good"
        headline = summary["reason"] if summary else "published"
    return Card(
        key=dataset.key,
        name=dataset.config.name,
        is_simulated=dataset.config.simulated,
        state=state,
        headline=headline,
        shares=shares,
        money=ledgers.spent_on(dataset),
        runs=tuple(
            f"{run.when} · {counted(run.calls, 'call')} · {run.outcome}" for run in runs
        ),
        pictures=_choose_pictures(dataset, ledgers, under_way, sources),
    )


def _share_outcomes(dataset: StoredDataset) -> tuple[OutcomeShare, ...]:
    """Return how the jobs of what is published ended, without outcomes that none has."""
    counts = dataset.manifest.get("counts", {})
    found = {name: counts[name] for name in OUTCOMES if counts.get(name)}
    jobs = sum(found.values())
    return tuple(
        OutcomeShare(name, 100 * count / jobs, f"{count:,} {in_words(name)}")
        for name, count in found.items()
    )


def _choose_pictures(
    dataset: StoredDataset,
    ledgers: StoreLedgers,
    run: PastRun | None,
    sources: PictureSources,
) -> tuple[str, ...]:
    """Return the addresses of thumbnails: of the newest images of a run under way, or of published ones."""
    names: Sequence[str] = ()
    if run is not None:
        ledger = ledgers.open(dataset.config)
        names = newest_images(ledger, run.run_id, SHOWN_PICTURES)
    if not names:
        names = published_images(dataset.file, SHOWN_PICTURES)
    addresses = []
    for name in names:
        # What a damaged file says about an image is not followed.
        if STORED.fullmatch(name):
            digest = Path(name).stem
            sources.add(digest, name)
            thumbnail = f"thumbs/{digest[:2]}/{digest}.webp"
            addresses.append(f"{dataset.key}/store/{thumbnail}")
    return tuple(addresses)
