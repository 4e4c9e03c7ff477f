"""What the jobs of a config cost: the first of `budget.prices` that applies to each.

A price is looked up by operation and parameters, so that each distinct request is judged once.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.conditions import Condition, parse
from pixmill.config.model import Config
from pixmill.planning.jobs import JobBatch, JobPrice
from pixmill.request.registry import operation_of, value_at


class _Rule(NamedTuple):
    """An entry of `budget.prices`, with its condition read."""

    req_key: str | None
    where: Condition | None
    price: Decimal
    is_per_image: bool

    def applies(
        self,
        req_key: str,
        params: Mapping[str, Any],
    ) -> bool:
        if self.req_key not in (None, req_key):
            return False
        if self.where is None:
            return True
        values = {}
        for name in self.where.names:
            value = value_at(params, name)
            # A list or an object as a whole is compared as it is sent.
            is_whole = isinstance(value, list | dict)
            values[name] = json.dumps(value, allow_nan=False) if is_whole else value
        return bool(self.where.mask(values, 1)[0])


class PriceList:
    """The prices of one config's jobs. `kinds` are those that were met, in the order in which they
    were: `numbers` counts in these."""

    def __init__(self, config: Config) -> None:
        budget = config.budget
        self._fallback: JobPrice | None = None
        if budget.price_per_call is not None:
            self._fallback = JobPrice(budget.price_per_call)
        self._images = len(config.input.image_columns)
        self._operation_file = config.request.operation_file
        self._rules = [
            _Rule(
                price.req_key,
                None if price.where is None else parse(price.where),
                price.price,
                price.per == "image",
            )
            for price in budget.prices
        ]
        self.kinds: list[JobPrice | None] = [self._fallback]
        self._known: dict[tuple[str, str], int] = {}

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all jobs have one price, or none."""
        return not self._rules

    def price_of(
        self,
        jobs: JobBatch,
        position: int,
    ) -> JobPrice | None:
        """Return what the job at `position` of a batch costs; `None` where no price is known."""
        if self.is_uniform:
            return self._fallback
        row, variant = divmod(position, len(jobs.variants))
        req_key = jobs.variants[variant].req_key
        return self.kinds[self._number(req_key, jobs.shapes[variant][row].params)]

    def numbers(self, jobs: JobBatch) -> NDArray[np.uint16]:
        """Return which of the `kinds` each job of a batch has [position]."""
        columns = [
            [self._number(variant.req_key, shape.params) for shape in shapes]
            for variant, shapes in zip(jobs.variants, jobs.shapes, strict=True)
        ]
        return np.array(columns, np.uint16).T.ravel()

    def _number(
        self,
        req_key: str,
        params: str,
    ) -> int:
        number = self._known.get((req_key, params))
        if number is not None:
            return number
        fields = json.loads(params)
        price = self._fallback
        for rule in self._rules:
            # The first one that applies.
            if rule.applies(req_key, fields):
                most = None
                if rule.is_per_image:
                    operation = operation_of(req_key, self._operation_file)
                    most = operation.outputs(fields, self._images)
                price = JobPrice(rule.price, most)
                break
        if price not in self.kinds:
            self.kinds.append(price)
        number = self.kinds.index(price)
        self._known[req_key, params] = number
        return number
