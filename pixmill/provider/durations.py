"""Durations as providers write them:

Go's `Duration.String` in `time_elapsed`, and the Retry-After header.
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 900.0
"""Seconds. No provider holds back a whole account for longer than that."""

_MILLISECONDS = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,  # U+00B5, which Go writes
    "μs": 1e-3,  # U+03BC, which Unicode normalization makes of it
    "ms": 1.0,
    "s": 1e3,
    "m": 60e3,
    "h": 3600e3,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_PARTS = re.compile(_PART)
_DURATION = re.compile(rf"[+-]?(?:{_PART})+")
_LONGEST = 64
"""Characters. Go's longest duration has 22."""


def milliseconds(value: object) -> float | None:
    """Return in milliseconds a Go duration such as `1m3.2s`, or a number of them; all else is
    `None`.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST or not _DURATION.fullmatch(text):
            return None
        parts = _PARTS.findall(text)
        total = sum(float(digits) * _MILLISECONDS[unit] for digits, unit in parts)
        return -total if text.startswith("-") else total
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, at most `MAX_RETRY_AFTER`.

    Both forms of RFC 9110 count: whole seconds, and a date, which is compared with the aware time
    `now`. A date that is past, and anything else, is `None`.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        # Without a zone it is GMT, as all dates of HTTP are.
        until = until.replace(tzinfo=UTC)
    if until <= now:
        return None
    return min((until - now).total_seconds(), MAX_RETRY_AFTER)
