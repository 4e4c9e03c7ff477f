"""What a plan costs, by how many of its jobs have which price."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from pixmill.planning.jobs import JobPrice

PriceCounts = tuple[tuple[JobPrice | None, int], ...]
"""Prices, `None` for one that is not known, each with the number of jobs that have it."""


class PlanCosts(NamedTuple):
    """The costs of a plan. An amount is `None` where the price of a job that is in it is not known."""

    to_pay_at: PriceCounts = ()
    """Of the jobs to pay for."""
    later_at: PriceCounts = ()
    """Of the candidates that may have to be paid for later."""
    has_prices: bool = False
    """Whether the config knows any: without one even nothing has no price."""

    @property
    def most(self) -> Decimal | None:
        """What a run would cost at most."""
        return self._sum(self.to_pay_at, lambda price: price.most)

    @property
    def least(self) -> Decimal | None:
        """The same where every answer has one image only, however many it may have."""
        return self._sum(self.to_pay_at, lambda price: price.least)

    @property
    def most_with_candidates(self) -> Decimal | None:
        """What a run would cost at most with all candidates that may follow."""
        return self._sum((*self.to_pay_at, *self.later_at), lambda price: price.most)

    def most_later(self, jobs: int) -> Decimal | None:
        """What so many of the candidates that may follow cost at most."""
        if any(price is None for price, _ in self.later_at):
            return None
        prices = [(price.most, count) for price, count in self.later_at if price]
        total = Decimal(0)
        # Whose candidates these will be depends on pictures: at most, it is the dearest ones.
        for price, count in sorted(prices, reverse=True):
            paid = min(jobs, count)
            total += paid * price
            jobs -= paid
        return total

    def sum_most(self, prices: Iterable[JobPrice | None]) -> Decimal | None:
        """What calls for jobs with these `prices` cost at most."""
        return self._sum(((price, 1) for price in prices), lambda price: price.most)

    def _sum(
        self,
        jobs_at: Iterable[tuple[JobPrice | None, int]],
        amount_of: Callable[[JobPrice], Decimal],
    ) -> Decimal | None:
        if not self.has_prices:
            return None
        total = Decimal(0)
        for price, jobs in jobs_at:
            if price is None:
                return None
            total += jobs * amount_of(price)
        return total
