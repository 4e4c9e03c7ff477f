"""Tables on a terminal, for the commands that compare figures: `bill` and `compare`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

PLAIN_WIDTH = 140
"""Columns of a table that is written to a file or a pipe, which have no width of their own."""

SHOWN_CHARACTERS = 60
"""A longer cell is cut off: a prompt would push all figures out of sight."""


def make_table(
    labels: Sequence[str],
    values: Sequence[str],
    justify: Literal["left", "right"] = "right",
) -> "Table":
    """Return a table without rows: columns that say what a row is about, then those of its figures or texts."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for name in labels:
        # A path of a config has no space where it could be broken, and its end says the most.
        table.add_column(name, overflow="fold")
    for name in values:
        table.add_column(name, justify=justify)
    return table


def print_parts(*parts: "RenderableType") -> None:
    """Print tables and text on stderr, each after an empty line."""
    from rich.console import Console

    width = None if sys.stderr.isatty() else PLAIN_WIDTH
    console = Console(stderr=True, highlight=False, markup=False, width=width)
    for part in parts:
        console.print()
        console.print(part)


def clean_cell(text: object) -> str:
    """Return text from outside as a terminal may see it: no control characters, and not too long."""
    shown = "".join(one if one.isprintable() else "�" for one in str(text))
    if len(shown) > SHOWN_CHARACTERS:
        return f"{shown[: SHOWN_CHARACTERS - 1]}…"
    return shown
