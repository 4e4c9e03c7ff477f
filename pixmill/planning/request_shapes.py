"""The request shapes of a batch of rows at every point of the sweep, with the fields that a row sets by itself."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from pixmill.arrow_types import doubles
from pixmill.config.model import Config
from pixmill.planning.row_checks import RowProblem, add_problems, problem
from pixmill.request.fingerprint import RequestShape, request_shape
from pixmill.request.model import Request
from pixmill.request.registry import (
    find_conflict,
    image_index_problem,
    requested_operation,
    resolve_parameters,
    with_field,
)
from pixmill.request.sweep import SweepPoints
from pixmill.tables import RowBatch
from pixmill.validation_messages import describe_first_problem

_REMEMBERED = 65_536
"""Shapes that are kept: checking a request against its schema takes as long as a hundred job keys."""


class RowShapes:
    """Makes shapes for one config: one a point, and one for each set of values that rows map to request fields."""

    def __init__(
        self,
        config: Config,
        sweep: SweepPoints,
    ) -> None:
        self._input = config.input
        self._requests: list[Request] = []
        for point in sweep.points:
            request = sweep.request_at(point, config.request)
            params = resolve_parameters(requested_operation(request), request.params)
            if config.output.images == "inline":
                # The answer is to hold its images.
                params["return_url"] = False
            self._requests.append(request.model_copy(update={"params": params}))
        self._plain = [request_shape(request) for request in self._requests]
        self._shape_at = lru_cache(_REMEMBERED)(self._make_shape)

    @property
    def rephrases(self) -> bool:
        """Whether the provider rewrites the prompts of all jobs."""
        if "use_rephraser" in self._input.field_columns:
            return False
        return all(request.params.get("use_rephraser") for request in self._requests)

    def of(
        self,
        batch: RowBatch,
        texts: Mapping[str, pa.Array],
    ) -> tuple[list[list[RequestShape]], dict[int, RowProblem]]:
        """Return for every point the shape of each row, and the problems of rows whose values do not fit.

        Such a row has the shape that it would have without values of its own.
        """
        count = batch.rows.num_rows
        problems: dict[int, RowProblem] = {}
        fields = self._input.field_columns
        if not fields:
            return [[shape] * count for shape in self._plain], problems
        columns = []
        for name in fields.values():
            # Typed values of numbers and booleans, the text of everything else: the operation's schema reads both.
            values = texts[name]
            kind = batch.rows[name].type
            if pa.types.is_floating(kind):
                # 0.6 of 32 bits is 0.6, not 0.6000000238418579, which would be another job.
                values = doubles(batch.rows[name])
            elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
                values = batch.rows[name]
            columns.append(values.to_pylist())
        rows = list(zip(*columns, strict=True))
        shapes: list[list[RequestShape]] = []
        for point, plain in enumerate(self._plain):
            found = [self._shape_at(point, values) for values in rows]
            bad = (
                (row, shape)
                for row, shape in enumerate(found)
                if isinstance(shape, RowProblem)
            )
            add_problems(problems, bad)
            shapes.append(
                [plain if isinstance(shape, RowProblem) else shape for shape in found]
            )
        return shapes, problems

    def _make_shape(
        self,
        point: int,
        values: tuple[Any, ...],
    ) -> RequestShape | RowProblem:
        request = self._requests[point]
        params: Mapping[str, Any] = request.params
        for (path, column), value in zip(
            self._input.field_columns.items(), values, strict=True
        ):
            # A column that is mapped has to say something: a default would be a request that nobody asked for.
            if value is None or value == "":
                return problem("bad_field", column, f"{path} is empty")
            params = with_field(params, path, value)
        try:
            shape = request_shape(request.model_copy(update={"params": params}))
            conflict = find_conflict(requested_operation(request), params)
        except ValueError as error:
            if not isinstance(error, ValidationError):
                return problem("bad_field", None, str(error))
            path, message = describe_first_problem(error)
            return problem(
                "bad_field",
                self._input.field_columns.get(path),
                f"{path}: {message}",
            )
        index = image_index_problem(params, len(self._input.image_columns))
        wrong = conflict or index
        return problem("bad_field", None, wrong) if wrong else shape
