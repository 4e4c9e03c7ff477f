"""Figures as shapes: where the bars and marks of the page's charts stand. The template draws them as SVG."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np

from pixmill.datasets.report.costs import CostOfValue
from pixmill.datasets.report.distributions import Distribution
from pixmill.datasets.report.summary import Failure, LastRun, Summary
from pixmill.ledger.records import OUTCOMES
from pixmill.text import counted, duration

WIDTH = 640
HEIGHT = 160
"""Units of a chart's drawing area, without its labels; it scales with the page."""

SCORE_WIDTH = 320
SCORE_HEIGHT = 96
"""Of the chart of a score: two of them are side by side."""

_ROUND_TIMES = (
    15,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
)
"""Seconds between two marks of a scale of time."""

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
    """The scale of time."""

    up: tuple[Tick, ...]
    """The scale of jobs."""

    unit: str
    """`per second`, or `per minute` where less than one ended in a second."""

    mean: str


class Row(NamedTuple):
    """One line of a chart of lines."""

    label: str

    length: float
    """That of its bar, in the units of the drawing area."""

    value: str
    remark: str = ""


class CostRow(NamedTuple):
    """What the jobs at one value of an axis cost, in words."""

    label: str
    cost: str
    images: str
    per_image: str
    """Empty where there is none."""

    share: float
    """How much that is of the dearest one, 0 to 100."""


class CostTable(NamedTuple):
    """What the jobs at each value of an axis cost."""

    name: str
    rows: list[CostRow]


class ScoreBar(NamedTuple):
    """The jobs whose score is in one range."""

    bar: Bar

    is_flagged: bool
    """Whether the range is below the threshold."""

    link: str
    """The gallery of just these jobs."""


class ScoreChart(NamedTuple):
    """How a score is spread over all jobs."""

    name: str
    bars: tuple[ScoreBar, ...]

    threshold: Tick | None
    """Below which images are flagged, None for a scorer of the user's own."""

    across: tuple[Tick, ...]
    """The scale of the score: its ends."""

    median: str
    jobs: int
    flagged: int

    link: str
    """The gallery of the flagged jobs."""


def throughput(run: LastRun) -> Throughput:
    """Draw how many calls ended in each fortieth of a run."""
    # A run of one call may take no time that the clock shows.
    seconds = max(run.seconds, 1e-3)
    # Not many more bars than calls: they would be a row of ones and gaps.
    bins = min(_BUCKETS, max(4, len(run.ends)))
    # Whole microseconds: the last end, as seconds and back, could be just outside.
    last = max(int(run.ends[-1]), 1_000)
    counts, edges = np.histogram(run.ends, bins=bins, range=(0, last))
    # Of the scale, in seconds.
    edges /= 1e6
    per = 60 if len(run.ends) / seconds < 1 else 1
    rates = counts / (edges[1] - edges[0]) * per
    steps = _scale_steps(float(rates.max()))
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
            Tick(WIDTH * moment / seconds, duration(moment) if moment else "0")
            for moment in _time_steps(seconds)
        ),
        up=tuple(Tick(HEIGHT * (1 - step / top), short(step)) for step in steps),
        unit="per minute" if per == 60 else "per second",
        mean=short(len(run.ends) / seconds * per),
    )


def latency_rows(latency: Mapping[int, float]) -> list[Row]:
    """Draw percentiles of the latency as bars."""
    longest = max(latency.values(), default=0) or 1
    return [
        Row(f"p{percentile}", WIDTH * value / longest, duration(value))
        for percentile, value in latency.items()
    ]


def failure_rows(failures: tuple[Failure, ...]) -> list[Row]:
    """Draw the most frequent error codes as bars; the rest is one bar."""
    shown = failures[:_MOST_CODES]
    rest = failures[_MOST_CODES:]
    if rest:
        jobs = sum(failure.jobs for failure in rest)
        others = Failure("others", jobs, f"{len(rest)} more codes")
        shown = (*shown, others)
    most = max((failure.jobs for failure in shown), default=1)
    rows = []
    for failure in shown:
        code = failure.code
        if len(code) > _LONGEST_LABEL:
            code = f"{code[: _LONGEST_LABEL - 1]}…"
        # At least two units, or one job of a million would have no bar.
        length = max(2, WIDTH * failure.jobs / most)
        rows.append(Row(code, length, f"{failure.jobs:,}", failure.message))
    return rows


def reason_rows(reasons: Mapping[str, int]) -> list[CostRow]:
    """Return why candidates were not kept, as rows of a table with a bar for their number."""
    most = max(reasons.values(), default=1)
    return [
        CostRow(reason, "", f"{count:,}", "", 100 * count / most)
        for reason, count in reasons.items()
    ]


def cost_tables(costs: Mapping[str, tuple[CostOfValue, ...]]) -> list[CostTable]:
    """Return for each axis what the jobs at its values cost, with a bar for one usable image."""
    tables = []
    for path, values in costs.items():
        dearest = max((value.spent.of_one for value in values), default=None)
        rows = [
            CostRow(
                value.label,
                value.spent.text,
                f"{value.spent.images:,}",
                value.spent.per_image,
                float(100 * value.spent.of_one / dearest) if dearest else 0.0,
            )
            for value in values
        ]
        tables.append(CostTable(path, rows))
    return tables


def score_chart(scores: Distribution) -> ScoreChart:
    """Draw how many jobs have a score in each fortieth of its range."""
    measure = scores.measure
    width = scores.high - scores.low
    wide = SCORE_WIDTH / len(scores.bars)
    most = max(scores.bars)
    bars = []
    for at, count in enumerate(scores.bars):
        if not count:
            continue
        low = scores.low + width * at / len(scores.bars)
        high = scores.low + width * (at + 1) / len(scores.bars)
        # At least two units: one job among a million is what people look for.
        height = max(2, SCORE_HEIGHT * count / most)
        words = f"{_three_digits(low)} to {_three_digits(high)}"
        bar = Bar(
            x=at * wide + wide * 0.1,
            y=SCORE_HEIGHT - height,
            width=wide * 0.8,
            height=height,
            label=words,
            value=counted(count, "job"),
        )
        found = {"view": "gallery", "column": f"~score.{measure.name}"}
        # Digits enough to tell the range from its neighbours'. The last one holds its end.
        found |= {"from": f"{low:.9g}"}
        if at + 1 < len(scores.bars):
            found |= {"to": f"{high:.9g}"}
        found |= {"sort": f"~score.{measure.name}"}
        is_flagged = measure.threshold is not None and low < measure.threshold
        bars.append(ScoreBar(bar, is_flagged, f"#{urlencode(found)}"))
    ends = [
        Tick(0, _three_digits(scores.low)),
        Tick(SCORE_WIDTH, _three_digits(scores.high)),
    ]
    threshold = None
    if measure.threshold is not None:
        at_threshold = (measure.threshold - scores.low) / width
        threshold = Tick(SCORE_WIDTH * at_threshold, f"{measure.threshold:g}")
        # One label over another could not be read.
        ends = [end for end in ends if abs(end.at - threshold.at) > SCORE_WIDTH / 8]
    flagged = {"view": "gallery", "flag": measure.name}
    return ScoreChart(
        measure.name,
        tuple(bars),
        threshold,
        tuple(ends),
        _three_digits(scores.median),
        scores.jobs,
        scores.flagged,
        f"#{urlencode(flagged)}",
    )


def spreads(summary: Summary) -> list[dict[str, Any]]:
    """Return scores, latency and cost over axes, as the page's script draws them."""
    found = []
    for plot in summary.over_axes:
        unit = ""
        if plot.measure.kind == "cost":
            if summary.simulated or len(summary.spent.amounts) != 1:
                # Nothing was paid, or amounts of several currencies.
                continue
            (unit,) = summary.spent.amounts
        found.append(
            {
                "measure": plot.measure.name,
                "kind": plot.measure.kind,
                "unit": unit,
                "threshold": plot.measure.threshold,
                "axis": plot.axis.path,
                "values": [spread._asdict() for spread in plot.spreads],
            }
        )
    return found


def shares(status: Mapping[str, int]) -> list[Bar]:
    """Draw the statuses that there are as parts of one bar, successes first."""
    total = sum(status.values()) or 1
    bars = []
    x = 0.0
    for name in OUTCOMES:
        count = status.get(name, 0)
        if count:
            width = WIDTH * count / total
            bars.append(Bar(x, 0, width, 16, name, f"{count:,}"))
            x += width
    return bars


def _scale_steps(highest: float) -> list[float]:
    """Return four or five round figures from 0 to at least `highest`: 0, 20, 40, 60 for 46."""
    rough = max(highest, 1e-9) / 4
    size = 10 ** math.floor(math.log10(rough))
    # A thousandth less, as 0.1 + 0.2 is a little more than 0.3.
    least = rough * 0.999
    step = next(size * by for by in (1, 2, 2.5, 5, 10) if size * by >= least)
    count = math.ceil(highest / step * 0.999) + 1
    return [step * at for at in range(count)]


def _time_steps(seconds: float) -> list[float]:
    """Return three to six round moments of a run: 0, 30 s, 60 s, 90 s and 2 min of 130 s."""
    # Marks nearer than a millisecond would read alike.
    rough = max(seconds / 5, 1e-3)
    # As in `_scale_steps`.
    least = rough * 0.999
    if seconds < 60:
        size = 10 ** math.floor(math.log10(rough))
        step = next(size * by for by in (1, 2, 5, 10) if size * by >= least)
    else:
        days = 86400.0 * math.ceil(rough / 86400)
        step = next((size for size in _ROUND_TIMES if size >= least), days)
    count = math.floor(seconds / step * 1.001) + 1
    return [step * at for at in range(count)]


def _three_digits(number: float) -> str:
    return f"{number:,.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def short(number: float) -> str:
    """Return a figure for an axis: `0.25`, `12`, `1,500`."""
    if number >= 10 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.2g}"
