"""One export from the published dataset to its place: what all formats share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.export.dataset_card import card_beside, write_card_beside
from pixmill.datasets.export.embedded_parquet import write_embedded
from pixmill.datasets.export.imagefolder import write_imagefolder
from pixmill.datasets.export.picks import read_picks
from pixmill.datasets.export.samples import Exported, Samples
from pixmill.datasets.export.selection import Selection, select
from pixmill.datasets.export.tables import (
    write_csv,
    write_jsonl,
    write_parquet,
    write_raw_csv,
    write_table,
)
from pixmill.datasets.export.webdataset import write_shards
from pixmill.datasets.loading import is_damage, open_dataset, published_dataset
from pixmill.errors import UserError
from pixmill.storage.atomic_write import atomic_write

Format = Literal[
    "parquet", "csv", "jsonl", "imagefolder", "webdataset", "contact-sheet"
]

TABLE_WRITERS = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_jsonl}
EMBEDDED = "embedded parquet"
"""Parquet with the images in it, which is a folder as images are."""

FOLDER_WRITERS = {
    "imagefolder": write_imagefolder,
    "webdataset": write_shards,
    EMBEDDED: write_embedded,
}


@dataclass(frozen=True)
class Choice:
    """What to export, and how."""

    where: str | None = None
    """A condition over columns; None takes all rows."""

    picks: str | None = None
    """A table of picks, as the report writes it: only its rows; None takes all."""

    splits: tuple[str, ...] = ()
    """Shares such as `val=0.02`; the rest is `train`."""

    split_by: str | None = None
    """The column whose value decides the split; None is the row key."""

    sides: tuple[str | None, str | None] = (None, None)
    """What goes across and down a contact sheet: an axis, or `row`; None for the next axis."""

    raw_cells: bool = False
    """Whether cells of CSV stay as they are, also those that a spreadsheet would run."""

    embed_images: bool = False
    """Whether Parquet has the images in it."""

    readable_names: bool = False
    """Whether images are named by row key, point and seed."""


EVERYTHING = Choice()


def export(
    config: Config,
    kind: Format,
    out: Path,
    choice: Choice = EVERYTHING,
) -> Exported:
    """Write the dataset of `config` to `out`: a file for a table or contact sheets, a new folder for images.

    A Parquet file gets a dataset card beside it. CSV cells of text that a spreadsheet would run
    as a formula get a leading apostrophe, unless `choice` wants them raw; nested values are
    JSON, bytes Base64. What goes wrong
    half-way leaves `out` as it was. Raises UserError where there is no dataset yet, the choice
    makes no sense, no image would be exported, or `out` can't be written.
    """
    source = published_dataset(config)
    with open_dataset(source) as dataset:
        selection = select(
            dataset.schema_arrow,
            choice.where,
            choice.splits,
            choice.split_by,
        )
        if choice.picks is not None:
            selection = selection._replace(picks=read_picks(choice.picks, dataset))
        if out.exists() and out.samefile(source):
            raise UserError(f"{out} is the dataset itself", hint="name another file")
        try:
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
            if kind in TABLE_WRITERS and not choice.embed_images:
                return _export_table(dataset, selection, config, kind, out, choice)
            if kind == "contact-sheet":
                # Drawing is not for exports of tables.
                from pixmill.datasets.export.contact_sheets import write_contact_sheets

                return write_contact_sheets(
                    dataset, selection, config, out.absolute(), choice.sides
                )
            samples = Samples(
                dataset, selection, config, has_readable_names=choice.readable_names
            )
            write_folder = FOLDER_WRITERS[EMBEDDED if choice.embed_images else kind]
            return write_folder(samples, out.absolute())
        except OSError as error:
            if is_damage(error):
                # Of the dataset, not of what is written: `open_dataset` says so.
                raise
            raise UserError(
                f"{out} can't be written: {error.strerror or error}"
            ) from None


def _export_table(
    dataset: pq.ParquetFile,
    selection: Selection,
    config: Config,
    kind: Format,
    out: Path,
    choice: Choice,
) -> Exported:
    """Write the selected rows to the file `out`, with a card where it is Parquet."""
    if not out.name or out.is_dir():
        raise UserError(f"{out} is a folder", hint="name a file")
    has_card = kind == "parquet"
    if has_card:
        # Raises where there can't be one, before anything is written.
        card_beside(out)
    write = TABLE_WRITERS[kind]
    if kind == "csv" and choice.raw_cells:
        write = write_raw_csv
    with atomic_write(out) as path:
        done = write_table(dataset, selection, path, write)
        # Before the table is in its place: where there can't be a card, there is no table, either.
        if has_card:
            write_card_beside(dataset, config, out, done)
    return done
