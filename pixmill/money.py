"""Money: decimals in the program, whole billionths of the currency in a database.

Whole numbers are what SQLite and PostgreSQL both add up exactly: SQLite would make floats of
decimals, and 0.1 + 0.2 is not 0.3 in these.
"""

from decimal import Decimal

DECIMALS = 9
"""Digits after the point of the smallest amount."""


def to_units(amount: Decimal) -> int:
    """Return an amount in billionths. Raises ValueError where it has more than `DECIMALS` digits
    after the point.

    >>> to_units(Decimal("0.2"))
    200000000
    """
    units = amount.scaleb(DECIMALS)
    if units != units.to_integral_value():
        raise ValueError(f"has more than {DECIMALS} digits after the point")
    return int(units)


def from_units(units: int) -> Decimal:
    """Return the amount of so many billionths, without zeros at its end."""
    return Decimal(units).scaleb(-DECIMALS).normalize()
