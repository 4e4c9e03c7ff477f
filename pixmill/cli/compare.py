"""The command that holds two datasets against each other: compare."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixmill.cli.console import Json, echo, place, print_json
from pixmill.text import amount, in_words, money

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pixmill.datasets.compare import Comparison

SHOWN_PARAMETERS = 20
SHOWN_CHARACTERS = 60
PLAIN_WIDTH = 120


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            parser=place,
            help="A config, a dataset folder, or the name of a dataset.",
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            parser=place,
            help="The same; both may end in @VERSION, such as @2026-10.",
        ),
    ],
    store: Annotated[
        str,
        typer.Option(
            metavar="STORE",
            parser=place,
            help="The store in which a dataset is found by its name.",
        ),
    ] = "out",
    as_json: Json = False,
) -> None:
    """Compare two datasets: rows, parameters, outcomes, cost, latency and images."""
    from pixmill.datasets.compare import compare as compare_sides
    from pixmill.datasets.compare import find_side

    found = compare_sides(find_side(a, store), find_side(b, store))
    echo(found.headline())
    show(found)
    if as_json:
        print_json(found.as_dict())


def show(found: "Comparison") -> None:
    """Print the tables of a comparison on stderr."""
    from rich.console import Console

    width = None if sys.stderr.isatty() else PLAIN_WIDTH
    console = Console(stderr=True, highlight=False, markup=False, width=width)
    for part in _parts(found):
        console.print()
        console.print(part)


def _parts(found: "Comparison") -> "Iterator[RenderableType]":
    yield _figures(found)
    if rows := _rows(found):
        yield rows
    if found.parameters:
        yield _parameters(found)
    if found.pairs:
        yield _outcomes(found)
        yield _images(found)
    if found.images.most_different:
        yield _most_different(found)


def _figures(found: "Comparison") -> "Table":
    a = found.measures_a
    b = found.measures_b
    table = _table("", "A", "B", "B − A")
    table.add_row("dataset", _plain(found.a.label), _plain(found.b.label))
    table.add_row(
        "published", _moment(found.a.published_at), _moment(found.b.published_at)
    )
    for label, before, after in (
        ("rows", a.rows, b.rows),
        ("jobs", a.jobs, b.jobs),
        *_statuses(found),
    ):
        table.add_row(
            label,
            f"{before:,}",
            f"{after:,}",
            _signed(f"{after - before:+,}") if after != before else "",
        )
    for label, name in (("cost", "cost"), ("cost per image", "cost_per_image")):
        table.add_row(label, *_money_cells(found, name))
    for label, name in (
        ("latency, median", "latency_median_ms"),
        ("latency, p95", "latency_p95_ms"),
    ):
        before = getattr(a, name)
        after = getattr(b, name)
        change = (
            _signed(f"{after / before - 1:+.0%}")
            if before and after and after != before
            else ""
        )
        table.add_row(label, _seconds(before), _seconds(after), change)
    _right(table)
    return table


def _statuses(found: "Comparison") -> "Iterator[tuple[str, int, int]]":
    a = found.measures_a
    b = found.measures_b
    for status in dict.fromkeys([*a.statuses, *b.statuses]):
        yield (
            f"  {status.replace('_', ' ')}",
            a.statuses.get(status, 0),
            b.statuses.get(status, 0),
        )
    yield "usable images", a.images, b.images


def _money_cells(found: "Comparison", name: str) -> tuple[str, str, str]:
    a = found.measures_a
    b = found.measures_b
    before = getattr(a, name)
    after = getattr(b, name)
    cells = [
        "unknown" if value is None else money(value, side.currency)
        for side, value in ((a, before), (b, after))
    ]
    if (
        before is None
        or after is None
        or a.currency != b.currency
        or math.isclose(before, after)
    ):
        return cells[0], cells[1], ""
    return (
        cells[0],
        cells[1],
        f"{'+' if after > before else '−'}{amount(abs(after - before))}",
    )


def _rows(found: "Comparison") -> str:
    rows = found.rows
    changes = (
        (rows.added, "added", rows.added_examples),
        (rows.removed, "removed", rows.removed_examples),
    )
    return "\n".join(
        f"{count:,} {'row' if count == 1 else 'rows'} {what}: {_some(examples, count)}"
        for count, what, examples in changes
        if count
    )


def _some(keys: Sequence[str], count: int) -> str:
    return ", ".join(map(_plain, keys)) + (
        f" and {count - len(keys):,} more" if count > len(keys) else ""
    )


def _parameters(found: "Comparison") -> "Table":
    table = _table("parameters that differ", "A", "B")
    for one in found.parameters[:SHOWN_PARAMETERS]:
        table.add_row(_plain(one.path), _value(one.a), _value(one.b))
    if len(found.parameters) > SHOWN_PARAMETERS:
        table.add_row(
            f"and {len(found.parameters) - SHOWN_PARAMETERS} more (--json has them all)"
        )
    return table


def _outcomes(found: "Comparison") -> "Table":
    """The jobs of both sides by how they ended: A down, B across."""
    from rich.text import Text

    present = {status for pair in found.outcomes for status in pair}
    order = [
        status
        for status in (*found.measures_a.statuses, *found.measures_b.statuses)
        if status in present
    ]
    statuses = list(dict.fromkeys(order))
    table = _table(
        f"{found.pairs:,} jobs in both: A ↓ B →",
        *(in_words(status) for status in statuses),
    )
    _right(table)
    for before in statuses:
        cells = []
        for after in statuses:
            count = found.outcomes.get((before, after), 0)
            style = "dim" if before == after or not count else "bold yellow"
            cells.append(Text(f"{count:,}" if count else "·", style))
        table.add_row(in_words(before), *cells)
    return table


def _images(found: "Comparison") -> str:
    images = found.images
    requests = found.requests
    parts = [
        f"{count:,} in {name}"
        for name, count in requests._asdict().items()
        if name != "changed" and count
    ]
    asked = f"requests: {requests.changed:,} of {found.pairs:,} differ" + (
        f" ({', '.join(parts)})" if parts else ""
    )
    lines = [
        asked,
        f"images: {images.same:,} are the same file, {images.different:,} differ",
    ]
    if images.compared:
        spread = f"median {images.distance_median:.0f}, p95 {images.distance_p95:.0f}, most {images.distance_max}"
        lines.append(
            f"  how different they look: {spread}   (bits of 64; unrelated pictures are around 32 apart)"
        )
    if images.note:
        lines.append(f"  {images.note}")
    return "\n".join(lines)


def _most_different(found: "Comparison") -> "Table":
    table = _table("farthest apart: row", "point", "replicate", "distance")
    for pair in found.images.most_different:
        table.add_row(
            _plain(pair.row_key),
            _plain(pair.point_id),
            str(pair.replicate),
            str(pair.distance),
        )
    _right(table)
    return table


def _table(*headers: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        *headers, box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False
    )
    table.columns[0].style = "cyan"
    return table


def _right(table: "Table") -> None:
    for column in table.columns[1:]:
        column.justify = "right"


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return _plain(", ".join(_value(one) for one in value))
    return (
        "–"
        if value is None
        else _plain(
            value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        )
    )


def _seconds(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    return (
        f"{milliseconds:.0f} ms"
        if milliseconds < 1000
        else f"{milliseconds / 1000:.2f} s"
    )


def _moment(published_at: str) -> str:
    return _plain(published_at[:16].replace("T", " ")) + " UTC" if published_at else "–"


def _plain(text: str) -> str:
    """Text of the dataset as a terminal may see it: no control characters, and no longer than people read."""
    shown = "".join(one if one.isprintable() else "�" for one in text)
    return (
        shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 1]}…"
    )
