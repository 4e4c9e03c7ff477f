"""The commands that look after a ledger: `ledger backup` and `ledger stats`."""

from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import Force, Json, echo, print_json
from pixmill.cli.store_argument import (
    StorePath,
    find_store,
    open_store_ledger,
)
from pixmill.local_paths import given_path
from pixmill.text import in_words, to_minute

ledger = typer.Typer(
    help="Look after the ledger of a store: backup, stats.", no_args_is_help=True
)


@ledger.command("backup")
def backup(
    store: StorePath,
    out: Annotated[
        Path, typer.Option(metavar="FILE", parser=given_path, help="The file to write.")
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a consistent copy of the ledger, also while runs are active. Images are not included."""
    from pixmill.ledger.backup import back_up

    # Opened read-only: a path without a ledger is an error, and no ledger is made there.
    with open_store_ledger(find_store(store)) as source:
        copy = back_up(source, out, overwrite=force)
    echo(f"wrote {copy.path}: {format_bytes(copy.bytes)}, checked")
    echo(f"  {copy.jobs:,} jobs, {copy.attempts:,} calls, {copy.runs:,} runs")
    if as_json:
        print_json({**copy._asdict(), "path": str(copy.path)})


@ledger.command("stats")
def stats(store: StorePath, as_json: Json = False) -> None:
    """Show the sizes of ledger and images and what the ledger holds."""
    from pixmill.ledger.stats import read_stats

    given = find_store(store)
    with open_store_ledger(given) as source:
        figures = {
            "ledger": str(source.address),
            **source.read(source.database.sizes),
            **given.image_sizes(),
            **source.read(read_stats),
        }
    size = format_bytes(figures["ledger_bytes"])
    if figures["log_bytes"]:
        size += f" and {format_bytes(figures['log_bytes'])} of write-ahead log"
    echo(f"{figures['ledger']}: {size}, schema {figures['schema_version']}")
    if "images" in figures:
        image_bytes = format_bytes(figures["images_bytes"])
        echo(f"  {figures['images']:,} image files: {image_bytes}")
    jobs = f"  {figures['jobs']:,} jobs"
    if figures["states"]:
        states = (
            f"{count:,} {in_words(state)}" for state, count in figures["states"].items()
        )
        jobs += f": {', '.join(states)}"
    echo(jobs)
    calls = f"  {figures['attempts']:,} calls in {figures['runs']:,} runs"
    if figures["first"]:
        first = to_minute(figures["first"])
        last = to_minute(figures["last"])
        calls += f", from {first} to {last} UTC"
    echo(calls)
    if as_json:
        print_json(figures)


def format_bytes(number: float) -> str:
    """Return bytes for people: `512 B`, `1.4 MB`."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:,.1f} TB"
