"""Text that any room may meet: its one form, and figures as people read them."""

import shlex
import unicodedata
from collections.abc import Iterable
from decimal import Decimal

FLOAT_DECIMALS = 4
"""Digits after the point of amounts that were added up as floats; prices of a call have four at
most.
"""


def to_nfc(text: str) -> str:
    """Return `text` in Unicode NFC: two spellings of one character are one prompt."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def cli_arguments(config: str, overrides: Iterable[str]) -> str:
    """Return a config and its overrides as a person types them: `pets.yaml --set limits.qps=2`."""
    parts = [config]
    for override in overrides:
        parts += ["--set", override]
    return shlex.join(parts)


def in_words(name: str) -> str:
    """Return an outcome, or another name of ours, as people write it: `in doubt`."""
    return name.replace("_", " ")


def to_minute(instant: str) -> str:
    """Return an ISO instant as people read it: `2026-10-01 08:15` for `2026-10-01T08:15:02.123Z`."""
    return instant[:16].replace("T", " ")


def counted(number: int, thing: str) -> str:
    """Return `1 image` or `1,200 images`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def amount(value: float | Decimal) -> str:
    """Return an amount of money, without its currency: `1,204.50`, `0.0155`.

    At least two digits after the point, more where the amount has them: all of a Decimal's, and of
    a float as many as mean something.
    """
    if isinstance(value, Decimal):
        exact = value
    else:
        # Three digits that count, where four after the point would show a small amount as nothing.
        small = abs(value) < 10 ** (1 - FLOAT_DECIMALS)
        exact = Decimal(f"{value:.3g}" if small else f"{value:.{FLOAT_DECIMALS}f}")
    exponent = exact.normalize().as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 2
    return f"{exact:,.{max(2, decimals)}f}"


def money(value: float | Decimal, currency: str | None) -> str:
    """Return an amount in its currency, where one is known: `12.40 CNY`."""
    return f"{amount(value)} {currency}" if currency else amount(value)


def describe_range(
    least: Decimal | None, most: Decimal | None, currency: str | None = None
) -> str:
    """Say what was spent: an amount, a range, or how much of it is not known."""
    if least is None:
        return "unknown"
    if most is None:
        return f"{money(least, currency)} or more"
    if least == most:
        return money(least, currency)
    return f"{amount(least)} to {money(most, currency)}"


def duration(seconds: float) -> str:
    """Return a duration: `240 ms`, `5.9 s`, `45 s`, `14 min`, `3 h 05 min`, `2 days 4 h`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = int(seconds // 3600)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} days {hours % 24} h"
