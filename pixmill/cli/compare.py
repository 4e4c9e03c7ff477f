"""The command `compare`: two datasets beside each other."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixmill.cli.console import Json, echo, place, print_json
from pixmill.cli.tables import clean_cell, make_table, print_parts
from pixmill.local_paths import given_path
from pixmill.text import amount, counted, in_words, to_minute

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pixmill.datasets.compare import Comparison

SHOWN_PARAMETERS = 20
"""Parameters that are listed; `--json` has them all."""

SIDES = ("A", "B")


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
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=given_path,
            help="Write a page with the pictures of both side by side to this folder.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two datasets: parameters, outcomes, cost and images."""
    from pixmill.datasets.compare import compare as compare_sides
    from pixmill.datasets.compare import find_side, write_page

    found = compare_sides(find_side(a, store), find_side(b, store))
    echo(found.headline())
    print_parts(*_parts(found))
    said = found.as_dict()
    if out is not None:
        page = write_page(found, out)
        echo(f"open {page}")
        said["page"] = str(page)
    elif found.images.different:
        echo("--out FOLDER writes a page with the pictures side by side")
    if as_json:
        print_json(said)


def _parts(found: "Comparison") -> "Iterator[RenderableType]":
    yield _measures_table(found)
    rows = _describe_rows(found)
    if rows:
        yield rows
    if found.parameters:
        yield _parameters_table(found)
    if found.pairs:
        yield _outcomes_table(found)
        yield _describe_images(found)
    if found.images.most_different:
        yield _most_different_table(found)


def _measures_table(found: "Comparison") -> "Table":
    a = found.measures_a
    b = found.measures_b
    table = make_table(("",), (*SIDES, "B − A"))
    table.add_row("dataset", clean_cell(found.a.label), clean_cell(found.b.label))
    published = (
        f"{clean_cell(to_minute(side.published_at))} UTC" if side.published_at else "–"
        for side in (found.a, found.b)
    )
    table.add_row("published", *published)
    counts = [("rows", a.rows, b.rows), ("jobs", a.jobs, b.jobs)]
    for status in dict.fromkeys([*a.statuses, *b.statuses]):
        label = f"  {in_words(status)}"
        counts.append((label, a.statuses.get(status, 0), b.statuses.get(status, 0)))
    counts.append(("usable images", a.images, b.images))
    for label, count_a, count_b in counts:
        change = "" if count_a == count_b else _with_minus(f"{count_b - count_a:+,}")
        table.add_row(label, f"{count_a:,}", f"{count_b:,}", change)
    table.add_row("cost", *_money_cells(found, a.cost, b.cost))
    if not (a.simulated and b.simulated):
        cells = _money_cells(found, a.cost_per_image, b.cost_per_image)
        table.add_row("cost per image", *cells)
    for label, before, after in (
        ("latency, median", a.latency_median_ms, b.latency_median_ms),
        ("latency, p95", a.latency_p95_ms, b.latency_p95_ms),
    ):
        change = ""
        if before and after and after != before:
            change = _with_minus(f"{after / before - 1:+.0%}")
        table.add_row(label, _seconds(before), _seconds(after), change)
    return table


def _money_cells(
    found: "Comparison", before: float | None, after: float | None
) -> tuple[str, str, str]:
    """Return the cells of two amounts and of their difference, which is empty where they can't be compared."""
    a = found.measures_a
    b = found.measures_b
    cell_a = a.describe_cost(before)
    cell_b = b.describe_cost(after)
    if before is None or after is None or a.currency != b.currency:
        return cell_a, cell_b, ""
    # Sums of floats: the same prices in another order differ in the last digit.
    if math.isclose(before, after):
        return cell_a, cell_b, ""
    sign = "+" if after > before else "−"
    return cell_a, cell_b, f"{sign}{amount(abs(after - before))}"


def _describe_rows(found: "Comparison") -> str:
    """Say which jobs and rows only one side has; empty where both have the same."""
    rows = found.rows
    lines = []
    if found.only_a or found.only_b:
        lines.append(
            f"jobs without a partner: {found.only_a:,} of A, {found.only_b:,} of B"
        )
    if rows.added:
        keys = _list_keys(rows.added_examples, rows.added)
        lines.append(f"{counted(rows.added, 'row')} added: {keys}")
    if rows.removed:
        keys = _list_keys(rows.removed_examples, rows.removed)
        lines.append(f"{counted(rows.removed, 'row')} removed: {keys}")
    return "\n".join(lines)


def _list_keys(keys: Sequence[str], count: int) -> str:
    listed = ", ".join(map(clean_cell, keys))
    more = count - len(keys)
    return f"{listed} and {more:,} more" if more > 0 else listed


def _parameters_table(found: "Comparison") -> "Table":
    from pixmill.datasets.compare.parameters import value_text

    table = make_table(("parameters that differ",), SIDES, justify="left")
    for one in found.parameters[:SHOWN_PARAMETERS]:
        values = (clean_cell(value_text(value)) for value in (one.a, one.b))
        table.add_row(clean_cell(one.path), *values)
    # Two configs that have little in common differ in hundreds of them.
    more = len(found.parameters) - SHOWN_PARAMETERS
    if more > 0:
        table.add_row(f"and {more} more (--json has them all)")
    return table


def _outcomes_table(found: "Comparison") -> "Table":
    """Return the jobs that both sides have by how they ended: A down, B across."""
    from rich.text import Text

    # Only those that occur, as each is a row and a column.
    present = {status for pair in found.outcomes for status in pair}
    ordered = dict.fromkeys([*found.measures_a.statuses, *found.measures_b.statuses])
    statuses = [status for status in ordered if status in present]
    heading = f"{counted(found.pairs, 'job')} in both: A ↓ B →"
    table = make_table((heading,), [in_words(status) for status in statuses])
    for before in statuses:
        cells = []
        for after in statuses:
            count = found.outcomes.get((before, after), 0)
            # What changed is what a person looks for.
            changed = bool(count) and before != after
            style = "bold magenta" if changed else ""
            cells.append(Text(f"{count:,}" if count else "·", style))
        table.add_row(in_words(before), *cells)
    return table


def _describe_images(found: "Comparison") -> str:
    images = found.images
    requests = found.requests
    differ = f"requests: {requests.changed:,} of {found.pairs:,} differ"
    parts = [
        f"{count:,} in {name}"
        for name, count in requests._asdict().items()
        if name != "changed" and count
    ]
    if parts:
        differ += f" ({', '.join(parts)})"
    lines = [
        differ,
        f"images: {images.same:,} are the same file, {images.different:,} differ",
    ]
    if images.compared:
        spread = (
            f"median {images.distance_median:.0f}, p95 {images.distance_p95:.0f}, "
            f"most {images.distance_max}"
        )
        scale = "bits of 64; unrelated images differ in around 32"
        lines.append(f"  how different they look: {spread}   ({scale})")
    if images.note:
        lines.append(f"  {images.note}")
    return "\n".join(lines)


def _most_different_table(found: "Comparison") -> "Table":
    figures = ("point", "replicate", "distance")
    table = make_table(("most different images: row",), figures)
    for pair in found.images.most_different:
        table.add_row(
            clean_cell(pair.row_key),
            clean_cell(pair.point_id),
            str(pair.replicate),
            str(pair.distance),
        )
    return table


def _with_minus(text: str) -> str:
    """Return a signed number with the minus that is as wide as a plus."""
    return text.replace("-", "−")


def _seconds(milliseconds: float | None) -> str:
    """Return a latency: `240 ms`, `1.24 s`. Two digits after the point, as two sides are compared."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s"
