"""The text of dates, times, timestamps and durations, made of the integers that Arrow holds.

Python's `datetime` ends with the year 9999 and with microseconds, and knows only the zones of this
machine. Files hold more than that: 9999-12-31 as "for ever" in a zone to the west, nanoseconds,
dates of other calendars.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_SECONDS = 86_400

# From the second day of the year 1 to the last but one of 9999, in seconds since 1970: a zone moves
# them by less.
_PYTHON_BEGINS = -62_135_510_400
_PYTHON_ENDS = 253_402_214_400


def date_texts(column: pa.Array) -> pa.Array:
    """Return dates as "2026-01-02"."""
    days = _ticks(column)
    if pa.types.is_date64(column.type):
        days = days // (_DAY_SECONDS * 1000)
    return pa.array(_dates(days), pa.string(), mask=_nulls(column))


def time_texts(column: pa.Array) -> pa.Array:
    """Return times of day as "12:30:00.5"; what is beyond a day counts on, as "24:00:00"."""
    per = _PER_SECOND[column.type.unit]
    ticks = _ticks(column)
    if ((ticks >= 0) & (ticks < _DAY_SECONDS * per)).all():
        return _short_fraction(column.cast(pa.string()))
    texts = []
    for at in ticks.tolist():
        sign = "-" if at < 0 else ""
        seconds, fraction = divmod(abs(at), per)
        digits = f"{fraction * (10**9 // per):09d}"
        hours = seconds // 3600
        minutes = seconds // 60 % 60
        texts.append(f"{sign}{hours:02d}:{minutes:02d}:{seconds % 60:02d}.{digits}")
    return _short_fraction(pa.array(texts, pa.string(), mask=_nulls(column)))


def timestamp_texts(column: pa.Array) -> pa.Array:
    """Return timestamps as "2026-01-02T12:30:00.5"; those with a zone in UTC, with a Z."""
    unit = column.type.unit
    # Divided by days: NumPy takes the smallest of all integers for no time, and Arrow writes no T.
    days, rest = np.divmod(_ticks(column), _DAY_SECONDS * _PER_SECOND[unit])
    kind = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    clock = pa.array(rest.astype(np.int32 if unit in ("s", "ms") else np.int64)).view(
        kind
    )
    dates = pa.array(_dates(days), pa.string(), mask=_nulls(column))
    texts = pc.binary_join_element_wise(
        dates, _short_fraction(clock.cast(pa.string())), "T"
    )
    return (
        texts if column.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")
    )


def duration_texts(column: pa.Array) -> pa.Array:
    """Return durations as Python writes them: "0:00:01.500000", "2 days, 0:00:00"."""
    per = _PER_SECOND[column.type.unit]
    texts = []
    # What `str` says of a `timedelta`, without its bounds.
    for ticks in _ticks(column).tolist():
        seconds, fraction = divmod(ticks, per)
        days, seconds = divmod(seconds, _DAY_SECONDS)
        text = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        if fraction:
            digits = f"{fraction * (10**9 // per):09d}"
            text += f".{digits.removesuffix('000')}"
        if days:
            text = f"{days} day{'' if abs(days) == 1 else 's'}, {text}"
        texts.append(text)
    return pa.array(texts, pa.string(), mask=_nulls(column))


def has_python_years(column: pa.ChunkedArray) -> bool:
    """Say whether all timestamps lie in the years that Python knows, in any zone."""
    per = _PER_SECOND[column.type.unit]
    ends = pc.min_max(column.cast(pa.int64())).as_py()
    # A zone may not move them beyond 64 bits either, as it would the ends of the nanoseconds.
    most = 2**63 - 1 - _DAY_SECONDS * per
    begin = max(_PYTHON_BEGINS * per, -most)
    end = min(_PYTHON_ENDS * per, most)
    return all(begin <= ticks < end for ticks in ends.values() if ticks is not None)


def is_known_zone(name: str) -> bool:
    """Say whether Python can show times in the zone `name`: files name others too, such as "Z"."""
    try:
        pa.lib.string_to_tzinfo(name)
    except (
        Exception
    ):  # whatever the library that knows zones raises for one that it doesn't
        return False
    return True


def _ticks(column: pa.Array) -> NDArray[np.int64]:
    """The integers of a column, 0 where there is none."""
    whole = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
    ticks: NDArray[np.int64] = whole.fill_null(0).to_numpy(zero_copy_only=False)
    return ticks.astype(np.int64)


def _nulls(column: pa.Array) -> NDArray[np.bool_]:
    return column.is_null().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _dates(days: NDArray[np.int64]) -> list[str]:
    return np.datetime_as_string(days.view("datetime64[D]")).tolist()  # type: ignore[no-any-return]


def _short_fraction(times: pa.Array) -> pa.Array:
    """12:30:00.500000 as 12:30:00.5, and 12:30:00.000 as 12:30:00."""
    return pc.replace_substring_regex(
        pc.replace_substring_regex(times, r"(\.\d*?)0+$", r"\1"), r"\.$", ""
    )
