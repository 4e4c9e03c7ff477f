"""What the columns of a dataset mean: which are ours, which are sweep axes, which came with the input."""

import json
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from pixmill.config.model import Config
from pixmill.datasets.loading import own_columns
from pixmill.datasets.schema import DESCRIPTION
from pixmill.tables import as_text

_AXIS = "param_"


class Value(NamedTuple):
    """One value of an axis: `text` is how `as_text` writes it (None: null), `label` what people call it."""

    text: str | None
    label: str


class ReportAxis(NamedTuple):
    """One sweep axis: its dotted path, its column, and its values in the order of the config, as far as known."""

    path: str
    column: str
    values: tuple[Value, ...]


class DatasetColumns(NamedTuple):
    """The columns of one dataset."""

    ours: Mapping[str, str]
    """Our names, to the columns that bear them: `pixmill_status` where the input has a `status` of its own."""
    axes: tuple[ReportAxis, ...]
    own: tuple[str, ...]
    """The columns that came with the input."""
    images: tuple[str, ...]
    """Those of them that name the input images."""
    local_images: bool
    read: tuple[str, ...]
    """Those of them that the request reads, and the row's key: what a table of picks has to hold."""


def meaning_of(schema: pa.Schema, config: Config) -> DatasetColumns:
    """Read the schema of a dataset. What its metadata doesn't say follows from its names, their order and `config`."""
    described = _described(schema)
    ours = described.get("own") or own_columns(schema)
    axes = (
        _described_axes(described, schema)
        if "axes" in described
        else _axes_by_name(schema, ours)
    )
    taken = {*ours.values(), *(axis.column for axis in axes)}
    own = tuple(
        name
        for name in schema.names
        if name not in taken and _can_be_shown(schema.field(name).type)
    )
    roles = described.get("columns") or config.input.columns
    row_key = described.get("row_key") or config.input.row_key
    local = "image_file" in roles
    return DatasetColumns(
        ours={name: column for name, column in ours.items() if column in schema.names},
        axes=axes,
        own=own,
        images=tuple(
            name
            for name in _flat(roles.get("image_file" if local else "image_url"))
            if name in own
        ),
        local_images=local,
        read=tuple(
            dict.fromkeys(
                name
                for name in (*_read_columns(roles, config), *row_key)
                if name in own
            )
        ),
    )


def _described(schema: pa.Schema) -> dict[str, Any]:
    described = json.loads((schema.metadata or {}).get(DESCRIPTION, b"{}"))
    return described if isinstance(described, dict) else {}


def _plain(name: str) -> str:
    return re.sub(r"^(pixmill_)+", "", name)


def _axes_by_name(schema: pa.Schema, ours: Mapping[str, str]) -> tuple[ReportAxis, ...]:
    """Axes of a dataset that doesn't describe them: the dots of their paths are lost."""
    first = (
        schema.names.index(ours["row_number"])
        if "row_number" in ours
        else len(schema.names)
    )
    columns = [
        name
        for name in schema.names[first:]
        if _plain(name).startswith(_AXIS) and name not in ours.values()
    ]
    return tuple(
        ReportAxis(_plain(name).removeprefix(_AXIS), name, ()) for name in columns
    )


def _described_axes(
    described: Mapping[str, Any], schema: pa.Schema
) -> tuple[ReportAxis, ...]:
    return tuple(
        ReportAxis(
            str(axis["path"]), axis["column"], tuple(map(_value, axis["values"]))
        )
        for axis in described["axes"]
        if axis["column"] in schema.names
    )


def _value(described: Mapping[str, Any]) -> Value:
    text: str | None = as_text(pa.array([described["value"]]))[0].as_py()
    return Value(text, str(described.get("label", text)))


def _can_be_shown(kind: pa.DataType) -> bool:
    """Whether a column is text in the end: pictures that lie in the table as bytes are not."""
    if kind.num_fields:
        return all(_can_be_shown(kind.field(at).type) for at in range(kind.num_fields))
    return not (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _read_columns(roles: Mapping[str, Any], config: Config) -> Iterator[str]:
    for columns in roles.values():
        yield from _flat(columns)
    if config.request.prompt is not None:
        yield from (
            name
            for _, name, _, _ in string.Formatter().parse(config.request.prompt)
            if name
        )


def _flat(columns: Any) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns or ())
