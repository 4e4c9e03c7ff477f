"""What images cost: of all jobs, and of those at each value of an axis. One pass with the other figures."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.money import DECIMALS
from pixmill.text import money

# The dataset's column is a float: rounded to the last digit that an amount can have it is exact.
_AMOUNT = pa.decimal128(38, DECIMALS)


class Spent(NamedTuple):
    """What was paid, by currency, and how many usable images there are for it."""

    amounts: Mapping[str, Decimal]
    """Empty where no price is known."""

    images: int
    """Those that are there."""

    @property
    def text(self) -> str:
        """What was paid: `12.40 CNY`, or `12.40 CNY + 1.00 USD` where two currencies were."""
        return _add_up(self.amounts)

    @property
    def per_image(self) -> str:
        """What one usable image cost, empty where that is not known."""
        if not self.images:
            return ""
        rounded = {}
        for currency, paid in self.amounts.items():
            amount = paid / self.images
            # Four digits after the point, or three that count where it is smaller.
            digits = max(4, 2 - amount.adjusted()) if amount else 4
            unit = Decimal(1).scaleb(-digits)
            rounded[currency] = amount.quantize(unit).normalize()
        return _add_up(rounded)

    @property
    def of_one(self) -> Decimal:
        """What one usable image cost in all currencies together: only the length of a bar."""
        return sum(self.amounts.values(), Decimal(0)) / max(1, self.images)


class CostOfValue(NamedTuple):
    """What the jobs at one value of an axis cost."""

    label: str
    spent: Spent


class CostCounts:
    """Adds up what jobs cost, by one column of the dataset or none."""

    def __init__(self) -> None:
        self._amounts: dict[str | None, dict[str, Decimal]] = defaultdict(dict)
        self._images: dict[str | None, int] = defaultdict(int)

    def add(self, batch: Mapping[str, Any], values: pa.Array | None = None) -> None:
        """Add the rows of a batch, by the text that each has in `values`."""
        if values is None:
            values = pa.nulls(len(batch["status"]), pa.string())
        # A success with a code was paid for, but its picture is not here.
        is_here = pc.and_(
            pc.equal(batch["status"], "succeeded"), batch["error_code"].is_null()
        )
        counts = pa.scalar(1, pa.int64())
        if "image_count" in batch:
            # Datasets of earlier versions did not count: their operations made one image.
            counts = pc.coalesce(batch["image_count"].cast(pa.int64()), counts)
        table = pa.table(
            {
                "value": values,
                "currency": pc.fill_null(batch["currency"], ""),
                "cost": pc.round(batch["cost"].cast(pa.float64()), DECIMALS).cast(
                    _AMOUNT, safe=False
                ),
                "images": pc.if_else(is_here, counts, 0),
            }
        )
        grouped = table.group_by(["value", "currency"])
        sums = grouped.aggregate([("cost", "sum"), ("images", "sum")])
        for row in sums.to_pylist():
            self._images[row["value"]] += row["images_sum"] or 0
            if row["cost_sum"] is not None:
                # Amounts of two currencies are never added up.
                amounts = self._amounts[row["value"]]
                before = amounts.get(row["currency"], Decimal(0))
                amounts[row["currency"]] = before + row["cost_sum"]

    def spent(self, value: str | None = None) -> Spent:
        """Return what the jobs at a value cost."""
        return Spent(self._amounts.get(value, {}), self._images.get(value, 0))


def _add_up(amounts: Mapping[str, Decimal]) -> str:
    return " + ".join(money(amount, currency) for currency, amount in amounts.items())
