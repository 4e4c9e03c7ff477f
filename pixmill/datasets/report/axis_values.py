"""The values of a sweep's axes, as people look for them: all that occur, in an order that says something."""

import math

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.report.batches import read_batches
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis, Value
from pixmill.tables import as_text

_DIGITS = range(3, 18)
"""Digits of a drawn number that may be shown: as few as tell all of its axis from each other."""


def find_axis_values(
    dataset: pq.ParquetFile, columns: DatasetColumns
) -> tuple[ReportAxis, ...]:
    """Return every axis with the values that occur, those of the config first."""
    found: dict[str, dict[str, None]] = {axis.column: {} for axis in columns.axes}
    if found:
        for batch in read_batches(dataset, found):
            for column, texts in found.items():
                distinct = pc.unique(as_text(batch[column]).drop_null())
                texts.update(dict.fromkeys(distinct.to_pylist()))
    axes = []
    for axis in columns.axes:
        known = {value.text for value in axis.values}
        new = [text for text in found[axis.column] if text not in known]
        # What nobody ordered goes by size where it is numbers.
        if all(map(is_number, new)):
            new.sort(key=float)
        added = [Value(text, text) for text in new]
        complete = axis._replace(values=(*axis.values, *added))
        axes.append(_order_drawn(complete) if axis.is_drawn else complete)
    return tuple(axes)


def is_number(text: str | None) -> bool:
    """Whether a value is a number, as far as its text says."""
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _order_drawn(axis: ReportAxis) -> ReportAxis:
    """Order numbers that were drawn at random by their size, and round what people read of them."""
    if not all(is_number(value.text) for value in axis.values):
        return axis
    ordered = sorted(axis.values, key=lambda value: float(value.text or 0))
    numbers = [float(value.text or 0) for value in ordered]
    for digits in _DIGITS:
        labels = [f"{number:.{digits}g}" for number in numbers]
        if len(set(labels)) == len(set(numbers)):
            break
    rounded = []
    for value, number, label in zip(ordered, numbers, labels, strict=True):
        # A name that somebody gave it stays.
        is_plain = is_number(value.label) and math.isclose(float(value.label), number)
        is_shorter = len(label) < len(value.label)
        rounded.append(Value(value.text, label) if is_plain and is_shorter else value)
    return axis._replace(values=tuple(rounded))
