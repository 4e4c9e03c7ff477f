"""From winner to dataset: a sweep's config becomes one for the full table, with a point's parameters or with picks.

Its requests are those of the sweep to the letter, seeds included: what the sweep paid for is cached in the full run.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pixmill.config.field_types import NAME_CHARACTERS
from pixmill.config.model import Config, Input
from pixmill.config.yaml_writer import write_yaml
from pixmill.errors import UserError
from pixmill.request.canonical_json import canonical_value
from pixmill.request.model import Request, Sweep
from pixmill.request.prompt_template import parse_template
from pixmill.request.registry import did_you_mean, requested_operation
from pixmill.request.sweep import Axis, Point, SweepPoints, make_points
from pixmill.request.sweep.points import BASE, text_of
from pixmill.tables import InputTable, as_text, open_table
from pixmill.tables.spreadsheets import Dialect, dialect_of

SHOWN_POINTS = 20
SHOWN_CHARACTERS = 60
SUGGESTED_FROM = 10_000
"""Ids that a mistyped one is compared with: a sweep may have a million."""

_OF_A_TABLE = {"encoding", "delimiter", "where"}
"""Keys of `input` that say how one table is read: picks are another."""


class Promotion(NamedTuple):
    """A config for the full table, where it comes from in one line, and what people should know of it."""

    config: Config
    title: str
    notes: tuple[str, ...]

    def to_yaml(self) -> str:
        """The config as YAML under its title: what its owner wrote and what came from the sweep, no secret."""
        said = self.config.model_dump(mode="json", exclude_unset=True)
        defaults = {name: field.default for name, field in Config.model_fields.items()}
        # Sections that say nothing would hide what the config is about.
        kept = {
            name: value
            for name, value in said.items()
            if name in ("version", "store") or value not in ({}, defaults[name])
        }
        return f"# {self.title}\n" + write_yaml(kept, width=120)


def promote_point(
    config: Config,
    point_id: str,
    name: str | None = None,
) -> Promotion:
    """Return `config` with the parameters of one point; it is called `<name>-<point id>` unless it gets a `name`.

    Under seed policy `per_job` the point stays a sweep of one: a seed depends on its id. Raises UserError where there
    is no such point.
    """
    sweep = make_points(config.sweep, config.request)
    point = _find_point(sweep, point_id)
    if config.seed.policy == "per_job" and point.id != BASE:
        # Its id is in the seeds, and the plain request has another one.
        item = {}
        for path, value in point.values.items():
            label = point.labels[path]
            has_label = label != text_of(value)
            item[path] = {"label": label, "value": value} if has_label else value
        changed: dict[str, Any] = {"sweep": Sweep(groups=({"list": [item]},))}
    else:
        changed = {"sweep": Sweep(), "request": _request(config, sweep, point)}
    named = name or _add_suffix(config.name, point.id)
    return Promotion(
        config.model_copy(update={"name": named, **changed}),
        f"Point {point.id} of a sweep: {_describe(point)}",
        tuple(_point_notes(config, sweep, point)),
    )


def promote_picks(
    config: Config,
    path: str,
    name: str | None = None,
) -> Promotion:
    """Return `config` for the rows of a table of picks, each with the parameters that it was picked with.

    The table is as the report writes it: `row_key`, `point_id`, a column per axis, and the columns that the request
    reads. The config is called `<name>-picks` unless it gets a `name`. Raises UserError where the requests of the sweep
    can't be made from the table, TableError where it can't be read.
    """
    sweep = make_points(config.sweep, config.request)
    if config.seed.policy == "per_job":
        raise UserError(
            "under seed.policy: per_job seeds depend on the point, so that picks would be paid "
            "for again",
            hint="promote one point with --point, or sweep with seed.policy: per_row",
        )
    # Stars are often edited in a spreadsheet, which saves in a dialect of its own.
    dialect = dialect_of(path)
    table = open_table(path, encoding=dialect.encoding, delimiter=dialect.delimiter)
    rows = config.input.row_key or ("row_key",)
    _require_columns(
        table, path, [*rows, "point_id", *(axis.path for axis in sweep.axes)]
    )
    request = config.request.model_copy(update=_req_key_of_picks(table, path, sweep))
    fields = [axis for axis in sweep.axes if axis.kind == "field"]
    _refuse_untyped(table, path, fields, request)
    source = _picks_input(config.input, table, path, fields, rows, dialect)
    if "pick" in table.schema.names:
        # A table of picks may have candidates that a person does not want.
        source = source.model_copy(update={"where": "not (pick == 'reject')"})
    named = name or _add_suffix(config.name, "picks")
    notes = list(_replicates_note(config))
    if config.input.local_images:
        notes.append(
            "input images are files beside the table: put the picks into its folder"
        )
    return Promotion(
        config.model_copy(
            update={
                "name": named,
                "input": source,
                "request": request,
                "sweep": Sweep(),
            }
        ),
        "Picks of a sweep: each row with its own parameters",
        tuple(notes),
    )


def _add_suffix(
    name: str,
    suffix: str,
) -> str:
    return f"{name[: NAME_CHARACTERS - 1 - len(suffix)]}-{suffix}"


def _find_point(
    sweep: SweepPoints,
    point_id: str,
) -> Point:
    found = next((point for point in sweep.points if point.id == point_id), None)
    if found:
        return found
    known = [point.id for point in sweep.points[:SUGGESTED_FROM]]
    listed = [
        f"  {point.id}  {_describe(point)}" for point in sweep.points[:SHOWN_POINTS]
    ]
    more = len(sweep.points) - len(listed)
    raise UserError(
        "\n".join(
            [
                f"the sweep has no point {point_id!r}{did_you_mean(point_id, known)}",
                *listed,
            ]
        ),
        hint=f"{more:,} more are in the column point_id of the dataset" if more else "",
    )


def _describe(point: Point) -> str:
    """The point's labels in one line."""
    parts = []
    for path, label in point.labels.items():
        # A comment in YAML is one line, and a label may be anything.
        beginning = label[:SHOWN_CHARACTERS]
        printable = (char if char.isprintable() else " " for char in beginning)
        parts.append(f"{path} {''.join(printable)}")
    return ", ".join(parts) or "the config's own parameters"


def _request(
    config: Config,
    sweep: SweepPoints,
    point: Point,
) -> Request:
    request = sweep.request_at(point, config.request)
    changed: dict[str, Any] = {"params": canonical_value(request.params)}
    if request.prompt is not None:
        # With the texts of the variables, so that only columns are left to fill in.
        texts = sweep.variables_at(point)
        prompt = ""
        for literal, name in parse_template(request.prompt, None, texts).pieces:
            prompt += _escape_braces(literal)
            if name in texts:
                prompt += _escape_braces(texts[name])
            elif name is not None:
                prompt += f"{{{name}}}"
        changed["prompt"] = prompt
    return request.model_copy(update=changed)


def _escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _point_notes(
    config: Config,
    sweep: SweepPoints,
    point: Point,
) -> Iterator[str]:
    if config.seed.policy == "per_job" and point.id != BASE:
        yield (
            "the point stays a sweep of one: under seed.policy: per_job "
            "its seeds depend on its id"
        )
    yield from _replicates_note(config)
    if config.input.where is not None:
        yield f"input.where stays: {config.input.where} (--set input.where=null for all rows)"
    for row in sweep.row_conditions:
        yield (
            f"{row.config_path} is left out, as it asks for columns: {row.condition.text} "
            "(input.where can say it)"
        )


def _replicates_note(config: Config) -> Iterator[str]:
    if config.seed.replicates > 1:
        yield (
            f"seed.replicates stays: {config.seed.replicates} images of every row "
            "(--set seed.replicates=1 keeps the first of them)"
        )


def _require_columns(
    table: InputTable,
    path: str,
    names: Sequence[str],
) -> None:
    missing = [repr(name) for name in names if name not in table.schema.names]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}; it has: {', '.join(table.schema.names)}",
            hint="the picks.csv from the report of this sweep has them all",
        )


def _cells(
    table: InputTable,
    names: Sequence[str],
) -> Iterator[tuple[str | None, ...]]:
    for batch in table.batches():
        yield from zip(
            *(as_text(batch.rows[name]).to_pylist() for name in names), strict=True
        )


def _req_key_of_picks(
    table: InputTable,
    path: str,
    sweep: SweepPoints,
) -> dict[str, str]:
    if not any(axis.kind == "req_key" for axis in sweep.axes):
        return {}
    # One run has one operation: rows can't name theirs.
    found = sorted({str(value) for (value,) in _cells(table, ["req_key"])})
    if len(found) != 1:
        raise UserError(
            f"{path} has picks of {len(found)} different req_key, and a run has one",
            hint="make a table of picks for each",
        )
    return {"req_key": found[0]}


def _refuse_untyped(
    table: InputTable,
    path: str,
    fields: Sequence[Axis],
    request: Request,
) -> None:
    """A known operation types the texts of a CSV; to an unknown one they would go as texts, and be paid again."""
    import pyarrow as pa

    texts = [
        axis.path
        for axis in fields
        if pa.types.is_string(table.schema.field(axis.path).type)
    ]
    wrong = [
        axis.path
        for axis in fields
        if axis.path in texts
        and not all(isinstance(value, str) for _, value in axis.values)
    ]
    if wrong and requested_operation(request).parameters is None:
        raise UserError(
            f"{path}: {wrong[0]} would be sent as a text, as pixmill does not know the fields "
            f"of {request.req_key}",
            hint="write the picks as Parquet or JSONL, with numbers as numbers",
        )


def _picks_input(
    source: Input,
    table: InputTable,
    path: str,
    fields: Sequence[Axis],
    row_key: tuple[str, ...],
    dialect: Dialect,
) -> Input:
    """Return the `source` of the sweep, whose rows `row_key` identifies, as that of the picks of it."""
    picks = set(_cells(table, [*row_key, "point_id"]))
    picked_rows = {pick[:-1] for pick in picks}
    if len(picked_rows) < len(picks):
        # One row was picked at several points.
        row_key = (*row_key, "point_id")
    kept = source.model_dump(exclude_unset=True, exclude=_OF_A_TABLE)
    columns = {**source.columns, **{axis.path: axis.path for axis in fields}}
    if dialect.encoding != "utf-8":
        kept["encoding"] = dialect.encoding
    if dialect.delimiter is not None:
        kept["delimiter"] = dialect.delimiter
    return Input.model_validate(
        {**kept, "path": path, "row_key": row_key, "columns": columns}
    )
