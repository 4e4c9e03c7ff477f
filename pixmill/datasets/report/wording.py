"""Amounts, durations and counts as people write them."""

from collections.abc import Mapping

_SIGNS = {
    "CNY": "¥",
    "USD": "$",
    "EUR": "€",
    "GBP": "£",
    "JPY": "¥",
    "HKD": "HK$",
    "SGD": "S$",
}


def money(cost: Mapping[str, float], digits: int = 2) -> str:
    """Return amounts by currency: `¥12.40`, or `¥12.40 + $1.00` where two were paid."""
    return " + ".join(
        f"{_SIGNS[currency]}{amount:,.{digits}f}"
        if currency in _SIGNS
        else f"{amount:,.{digits}f} {currency}"
        for currency, amount in cost.items()
    )


def price(cost: Mapping[str, float]) -> str:
    """Return the price of one thing, which may be less than a cent: `¥0.0155`."""
    exact = money(cost, digits=4)
    return exact.removesuffix("00")


def duration(seconds: float) -> str:
    """Return a duration: `240 ms`, `5.9 s`, `45 s`, `14 min`, `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return (
        f"{minutes} min"
        if minutes < 100
        else f"{minutes // 60:,} h {minutes % 60:02d} min"
    )


def counted(number: int, thing: str) -> str:
    """Return `1 image` or `1,200 images`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def short(number: float) -> str:
    """Return a figure for the axis of a chart: `0.25`, `12`, `1,500`."""
    return (
        f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"
    )
