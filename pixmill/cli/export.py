"""The command `export`: the dataset in a form that other programs read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pixmill.cli.console import (
    ConfigPath,
    Force,
    Json,
    Overrides,
    echo,
    place,
    print_json,
)
from pixmill.errors import UserError
from pixmill.local_paths import given_path
from pixmill.text import counted, in_words

if TYPE_CHECKING:
    from pixmill.datasets.export import Choice, Exported, Format

Where = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION", help="Only rows for which this holds: 'param_scale > 2'."
    ),
]
Picks = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE", parser=place, help="Only the picks of the report's picks.csv."
    ),
]
Across = Annotated[
    str | None,
    typer.Option(
        metavar="AXIS",
        help="What goes across a contact sheet: an axis of the sweep, or row.",
    ),
]
Down = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="What goes down a contact sheet."),
]
Split = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=SHARE",
        help="Split off a share, such as val=0.02; the rest is train. Repeatable.",
    ),
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Rows of equal value here stay together. Default: the row key.",
    ),
]


EmbedImages = Annotated[
    bool,
    typer.Option(
        "--embed-images",
        help="Parquet with the images in it, as Hugging Face shows them: a folder.",
    ),
]
ReadableNames = Annotated[
    bool,
    typer.Option(
        "--readable-names",
        help="Name images by row key, point and seed, not by their content.",
    ),
]
RawCells = Annotated[
    bool,
    typer.Option(
        "--raw-cells",
        help="CSV for programs: no apostrophe before cells that look like a formula.",
    ),
]


# Without `shardshuffle` the library warns of its default.
_READ_BY = {
    "imagefolder": 'datasets.load_dataset("imagefolder", data_dir="{out}")',
    "webdataset": 'webdataset.WebDataset(sorted(glob.glob("{out}/train-*.tar")), '
    "shardshuffle=False)",
    "embedded parquet": 'datasets.load_dataset("{out}")',
}


_ENDINGS: "dict[str, Format]" = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".png": "contact-sheet",
    ".pdf": "contact-sheet",
}
"""Formats by what their files end in."""


def export(
    config: ConfigPath,
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            parser=given_path,
            help="The file to write, or the new folder for images.",
        ),
    ],
    form: Annotated[
        Literal["parquet", "csv", "jsonl", "imagefolder", "webdataset", "contact-sheet"]
        | None,
        typer.Option(
            "--format",
            help="What to write. Default: what PATH ends in, .parquet, .csv, .jsonl, or .png or "
            ".pdf for contact sheets; with any other ending parquet.",
        ),
    ] = None,
    where: Where = None,
    picks: Picks = None,
    across: Across = None,
    down: Down = None,
    split: Split = None,
    split_by: SplitBy = None,
    embed_images: EmbedImages = False,
    readable_names: ReadableNames = False,
    raw_cells: RawCells = False,
    force: Force = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write the dataset as a table, for training or as contact sheets."""
    from pixmill.config.loading import load_config
    from pixmill.datasets.export import Choice
    from pixmill.datasets.export import export as write
    from pixmill.datasets.export.dataset_card import card_beside
    from pixmill.datasets.export.formats import EMBEDDED
    from pixmill.datasets.export.targets import check_target

    choice = Choice(
        where,
        picks,
        tuple(split or ()),
        split_by,
        sides=(across, down),
        raw_cells=raw_cells,
        embed_images=embed_images,
        readable_names=readable_names,
    )
    kind = _choose_format(form, out)
    _check_fit(choice, kind)
    settings = load_config(config, overrides or ())
    check_target(settings, config, out, overwrite=force)
    has_card_beside = kind == "parquet" and not embed_images
    if has_card_beside:
        check_target(settings, config, card_beside(out), overwrite=force)
    done = write(settings, kind, out, choice)
    print_exported(done, EMBEDDED if embed_images else kind, out)
    if has_card_beside:
        echo(f"  {card_beside(out)} says what it is: counts, costs, operation, config")
    if as_json:
        counts = done.as_dict()
        print_json({"rows": done.rows, "format": kind, "out": str(out), **counts})


def _choose_format(form: "Format | None", out: Path) -> "Format":
    """Return the format to write: `form`, or what `out` ends in. Raises UserError where they differ."""
    ending = out.suffix.lower()
    of_ending = _ENDINGS.get(ending)
    if form and of_ending and form != of_ending:
        raise UserError(
            f"--out {out} ends in {ending}, which is {of_ending}, and --format is {form}",
            hint="leave --format out, or name another file",
        )
    return form or of_ending or "parquet"


def _check_fit(choice: "Choice", kind: str) -> None:
    """Raise UserError where an option is about another format than `kind`."""
    if choice.raw_cells and kind != "csv":
        raise UserError(
            "--raw-cells is about CSV", hint="--format csv, or without --raw-cells"
        )
    if choice.embed_images and kind != "parquet":
        raise UserError(
            "--embed-images is about Parquet",
            hint="--format parquet, or without --embed-images",
        )
    if choice.readable_names and kind not in _READ_BY and not choice.embed_images:
        raise UserError(
            f"--readable-names is about images, and {kind} has none",
            hint="--format imagefolder or webdataset, or --embed-images",
        )
    if any(choice.sides) and kind != "contact-sheet":
        raise UserError(
            "--across and --down are about contact sheets",
            hint="--format contact-sheet, or without them",
        )


def print_exported(done: "Exported", kind: str, out: Path) -> None:
    """Print what was written, what was left out and why, and how it is read."""
    wrote = f"wrote {done.rows:,} rows to {out}"
    if kind == "contact-sheet":
        wrote = f"drew {counted(done.rows, 'picture')} to {out}"
    if kind in _READ_BY:
        # A row without its image makes no sample.
        wrote = f"wrote {done.rows:,} samples to {out}"
    if len(done.splits) > 1:
        wrote += f" ({_list_counts(done.splits)})"
    echo(wrote)
    if done.left_out and kind == "contact-sheet":
        # A job without an image has its place on a sheet.
        echo(f"  not drawn: {_list_counts(done.left_out)}")
    elif done.left_out:
        echo(f"  left out, as they have no image: {_list_counts(done.left_out)}")
    if done.without_input:
        echo(f"  without an input image: {done.without_input:,}")
    if done.columns_left_out:
        names = ", ".join(done.columns_left_out)
        echo(f"  without the columns of bytes, lists or objects: {names}")
    if done.disarmed:
        # A prompt with an apostrophe before it is another prompt: who runs the file again has to know.
        cells = f"{counted(done.disarmed, 'cell')} that a spreadsheet would run as a formula"
        echo(
            f"  an apostrophe was put before {cells}; --raw-cells leaves them as they are"
        )
    if kind in _READ_BY:
        echo(f"read it with: {_READ_BY[kind].format(out=out)}")


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {in_words(name)}" for name, count in counts.items())
