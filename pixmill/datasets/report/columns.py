"""What the columns of a dataset mean: which are ours, which are sweep axes, which came with the input."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.datasets.schema import DESCRIPTION, our_columns
from pixmill.quality.thresholds import THRESHOLDS
from pixmill.request.model import placeholders
from pixmill.tables import as_text

_AXIS = "param_"
_SCORE = "score_"
_FLAG = "flag_"
_OF_CANDIDATES = ("accepted", "candidate")


class Value(NamedTuple):
    """One value of an axis, as the dataset has it."""

    text: str | None
    """How `as_text` writes it; None for null."""

    label: str
    """What people call it."""


class ReportAxis(NamedTuple):
    """One sweep axis, as far as a dataset says: what its values set, it doesn't."""

    path: str
    """The dotted path in the request, or the name of a variable."""

    column: str

    values: tuple[Value, ...]
    """In the order of the config; empty where nobody wrote them down."""

    is_drawn: bool = False
    """Whether the config draws them at random: their order says nothing then."""


class ReportScore(NamedTuple):
    """One score of the output images."""

    name: str
    """That of its check or scorer: `blank`."""

    column: str

    flag: str | None
    """The column that says which images are flagged, None for a scorer of the user's own."""

    threshold: float | None
    """Below which an image is flagged, None where nothing is flagged."""


class DatasetColumns(NamedTuple):
    """The columns of one dataset."""

    ours: Mapping[str, str]
    """Our names, with the columns that have them.

    `pixmill_status` for `status`, where the input has one of its own.
    """

    axes: tuple[ReportAxis, ...]

    scores: tuple[ReportScore, ...]

    own: tuple[str, ...]
    """The columns that came with the input."""

    images: tuple[str, ...]
    """Those of them that name the input images."""

    local_images: bool
    """Whether these are files."""

    read: tuple[str, ...]
    """Those of them that the request reads, and the row's key.

    A table of picks has to have them.
    """


def columns_of(
    schema: pa.Schema,
    config: Config,
) -> DatasetColumns:
    """Read the schema of a dataset.

    What its metadata doesn't say follows from its names, their order and `config`: earlier
    versions described less.
    """
    described = json.loads((schema.metadata or {}).get(DESCRIPTION, b"{}"))
    if not isinstance(described, dict):
        described = {}
    ours = described.get("own") or our_columns(schema)
    drawn: set[str] = set()
    for group in config.sweep.groups:
        drawn |= {str(path) for path in group.get("random") or ()}
    axes = tuple(
        axis._replace(is_drawn=axis.path in drawn)
        for axis in _find_axes(schema, described.get("axes"), ours)
    )
    behind = _find_behind(schema, ours)
    scores = _find_scores(behind)
    # Which of its candidates a row has, and whether that one is good.
    candidate = [behind[name] for name in _OF_CANDIDATES if name in behind]
    if len(candidate) == len(_OF_CANDIDATES):
        ours = {**ours, **dict(zip(_OF_CANDIDATES, candidate, strict=True))}
    taken = {*ours.values(), *(axis.column for axis in axes)}
    for score in scores:
        taken |= {score.column, score.flag or score.column}
    own = tuple(
        name
        for name in schema.names
        if name not in taken and _can_be_shown(schema.field(name).type)
    )
    roles = described.get("columns") or config.input.columns
    row_key = described.get("row_key") or config.input.row_key
    has_local_images = "image_file" in roles
    images = roles.get("image_file" if has_local_images else "image_url")
    read: list[str] = []
    for columns in roles.values():
        read += _as_names(columns)
    # Some of the names in the template may be variables of the sweep.
    read += placeholders(config.request.prompt)
    read += row_key
    return DatasetColumns(
        ours={name: column for name, column in ours.items() if column in schema.names},
        axes=axes,
        scores=scores,
        own=own,
        images=tuple(name for name in _as_names(images) if name in own),
        local_images=has_local_images,
        read=tuple(name for name in dict.fromkeys(read) if name in own),
    )


def _find_axes(
    schema: pa.Schema,
    described: Iterable[Mapping[str, Any]] | None,
    ours: Mapping[str, str],
) -> Iterator[ReportAxis]:
    """Yield the axes as the metadata describes them, or by the names of columns where it doesn't."""
    if described is not None:
        for axis in described:
            if axis["column"] in schema.names:
                values = []
                for value in axis["values"]:
                    text = as_text(pa.array([value["value"]]))[0].as_py()
                    values.append(Value(text, str(value.get("label", text))))
                yield ReportAxis(str(axis["path"]), axis["column"], tuple(values))
    elif "row_number" in ours:
        # Ours begin with the row number: what comes before are the input's columns.
        first = schema.names.index(ours["row_number"])
        for column in schema.names[first:]:
            name = re.sub(r"^(pixmill_)+", "", column)
            if name.startswith(_AXIS) and column not in ours.values():
                # The dots of its path are lost.
                yield ReportAxis(name.removeprefix(_AXIS), column, ())


def _find_behind(
    schema: pa.Schema,
    ours: Mapping[str, str],
) -> dict[str, str]:
    """Return the columns behind those that every dataset has: of scores and candidates.

    By the name that they have where the input has no column that is called so.
    """
    last = max((schema.names.index(column) for column in ours.values()), default=-1)
    return {
        re.sub(r"^(pixmill_)+", "", column): column
        for column in schema.names[last + 1 :]
    }


def _find_scores(columns: Mapping[str, str]) -> tuple[ReportScore, ...]:
    scores = []
    for name, column in columns.items():
        if not name.startswith(_SCORE):
            continue
        score = name.removeprefix(_SCORE)
        flag = columns.get(f"{_FLAG}{score}")
        scores.append(
            ReportScore(score, column, flag, THRESHOLDS.get(score) if flag else None)
        )
    return tuple(scores)


def _can_be_shown(kind: pa.DataType) -> bool:
    """Whether a column is text in the end: images that are in the table as bytes are not."""
    if kind.num_fields:
        return all(_can_be_shown(kind.field(at).type) for at in range(kind.num_fields))
    return not (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _as_names(columns: Any) -> tuple[str, ...]:
    """Return the columns of one role: none, one, or a list of them."""
    return (columns,) if isinstance(columns, str) else tuple(columns or ())
