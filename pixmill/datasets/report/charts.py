"""Figures as shapes: where the bars and marks of the page's charts stand. The template draws them as SVG."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pixmill.datasets.report.summary import Failure, LastRun
from pixmill.ledger.records import OUTCOMES
from pixmill.text import duration

WIDTH = 640
HEIGHT = 160
"""Units of a chart's drawing area, without its labels; it scales with the page."""

_BUCKETS = 40
_MOST_CODES = 12
_LONGEST_LABEL = 24


class Bar(NamedTuple):
    """A rectangle in the units of the drawing area, with what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: str


class Tick(NamedTuple):
    """A mark on a scale: where, and what it reads."""

    at: float
    label: str


class Throughput(NamedTuple):
    """Jobs finished over the time of a run."""

    bars: tuple[Bar, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    unit: str
    mean: str


class Row(NamedTuple):
    """One line of a chart of lines: a label, a bar of so many units, a value, and a remark."""

    label: str
    length: float
    value: str
    remark: str = ""


def throughput(run: LastRun) -> Throughput:
    """Draw how many calls ended in each fortieth of a run."""
    seconds = max(run.seconds, 1e-3)
    counts, edges = np.histogram(
        run.ends, bins=min(_BUCKETS, max(4, len(run.ends))), range=(0, seconds)
    )
    per = 60 if len(run.ends) / seconds < 1 else 1
    rates = counts / (edges[1] - edges[0]) * per
    steps = _steps(float(rates.max()))
    top = steps[-1]
    wide = WIDTH / len(rates)
    bars = tuple(
        Bar(
            x=at * wide + wide * 0.1,
            y=HEIGHT * (1 - rate / top),
            width=wide * 0.8,
            height=HEIGHT * rate / top,
            label=f"after {duration(float(edges[at]))}",
            value=short(float(rate)),
        )
        for at, rate in enumerate(rates)
    )
    return Throughput(
        bars=bars,
        across=tuple(
            Tick(WIDTH * part, duration(seconds * part) if part else "0")
            for part in (0, 0.25, 0.5, 0.75, 1)
        ),
        up=tuple(Tick(HEIGHT * (1 - step / top), short(step)) for step in steps),
        unit="per minute" if per == 60 else "per second",
        mean=short(len(run.ends) / seconds * per),
    )


def latency_rows(latency: Mapping[int, float]) -> list[Row]:
    """Draw percentiles of the latency as bars."""
    longest = max(latency.values(), default=0) or 1
    return [
        Row(f"p{of}", WIDTH * value / longest, duration(value))
        for of, value in latency.items()
    ]


def failure_rows(failures: tuple[Failure, ...]) -> list[Row]:
    """Draw the most frequent error codes as bars; the rest is one bar."""
    shown = failures[:_MOST_CODES]
    rest = failures[_MOST_CODES:]
    if rest:
        shown = (
            *shown,
            Failure(
                "others",
                sum(failure.jobs for failure in rest),
                f"{len(rest)} more codes",
            ),
        )
    most = max((failure.jobs for failure in shown), default=1)
    return [
        Row(_short(of.code), max(2, WIDTH * of.jobs / most), f"{of.jobs:,}", of.message)
        for of in shown
    ]


def label_width(rows: list[Row]) -> float:
    """Return how much room the labels of a chart of lines need."""
    return 24 + 8 * max(len(row.label) for row in rows)


def shares(status: Mapping[str, int]) -> list[Bar]:
    """Draw the statuses as parts of one bar, those that are there, good news first."""
    total = sum(status.values()) or 1
    bars = []
    x = 0.0
    for name in OUTCOMES:
        if count := status.get(name, 0):
            width = WIDTH * count / total
            bars.append(Bar(x, 0, width, 16, name, f"{count:,}"))
            x += width
    return bars


def _short(code: str) -> str:
    return code if len(code) <= _LONGEST_LABEL else f"{code[: _LONGEST_LABEL - 1]}…"


def _steps(highest: float) -> list[float]:
    """Round figures from 0 to at least `highest`, four or five of them."""
    rough = max(highest, 1e-9) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * by for by in (1, 2, 2.5, 5, 10) if size * by >= rough * 0.999)
    return [step * at for at in range(math.ceil(highest / step * 0.999) + 1)]


def short(number: float) -> str:
    """Return a figure for an axis: `0.25`, `12`, `1,500`."""
    if number >= 10 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.2g}"
