"""What is checked of a config once each section was checked by itself, and which sections that needs.

The checks of the sweep are here, the others in the `*_checks` beside, by subject.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pixmill.config.model import Input, Quality
from pixmill.config.operation_checks import (
    check_operation,
    check_points,
)
from pixmill.config.problems import ConfigProblem, Problems
from pixmill.config.quality_checks import check_until
from pixmill.config.request_checks import (
    check_allow_empty,
    check_columns,
    check_input,
    check_params,
    check_prompt,
    check_seed_column,
)
from pixmill.config.run_checks import (
    check_budget,
    check_execution,
    check_gateway,
    check_inline_images,
    check_name,
    check_price_conditions,
    check_store,
)
from pixmill.request.model import Request, Seed, Sweep
from pixmill.request.registry import (
    image_index_problem,
    requested_operation,
)
from pixmill.request.sweep import ReadSweep, read_sweep

_POINTS = "points of the sweep"
"""Their name among the sections; `None` where the sweep, or the request's params, are wrong."""

MAX_SLOTS = 100_000
"""Jobs that one row may become: they are prepared together."""


def check_together(sections: Mapping[str, Any]) -> Problems:
    """Yield the problems that show only between sections.

    `sections` are those that are right by themselves, by name: what needs another one is not checked, as
    its problem was reported already.
    """
    known = dict(sections)
    if "request" in sections:
        # A mistake in the sweep must not hide those of the others. Read once: it may make 100,000 points.
        sweep = read_sweep(sections.get("sweep", Sweep()), sections["request"])
        known[_POINTS] = sweep.points
    for needed, check in _CHECKS:
        if all(name in known for name in needed):
            yield from check(*(known[name] for name in needed))
    if "input" in sections and "request" in sections:
        seed = sections.get("seed", Seed())
        until = sections.get("quality", Quality()).until
        if until:
            seed = seed.model_copy(update={"replicates": until.candidates})
        yield from _check_sweep(sections["input"], sections["request"], sweep, seed)


_CHECKS: tuple[tuple[tuple[str, ...], Callable[..., Problems]], ...] = (
    (("name",), check_name),
    (("input",), check_input),
    (("request",), check_params),
    (("request",), check_prompt),
    (("input", "request"), check_allow_empty),
    (("input", "request"), check_columns),
    (("input", "seed"), check_seed_column),
    (("provider",), check_gateway),
    (("budget", "request", _POINTS), check_budget),
    (("budget", "request", _POINTS), check_price_conditions),
    (("store", "provider", "ledger"), check_store),
    (("execution", "provider", "ledger"), check_execution),
    (("quality", "seed", "output"), check_until),
    (("request", "output"), check_inline_images),
)
"""The sections that a check needs, in the order of its parameters, and the check."""


def _check_sweep(
    section: Input, request: Request, sweep: ReadSweep, seed: Seed
) -> Problems:
    for path, message in sweep.mistakes:
        yield ConfigProblem(path, message)
    made = sweep.points
    if made is None:
        operation = requested_operation(request)
        yield from check_operation(operation, section, request, seed)
        return
    for operation in made.operations(request):
        yield from check_operation(operation, section, request, seed)
    points = len(made.points)
    if points * seed.replicates > MAX_SLOTS:
        yield ConfigProblem(
            "sweep" if points > 1 else "seed.replicates",
            f"{points:,} points × {seed.replicates:,} replicates is more than {MAX_SLOTS:,} "
            "jobs a row",
        )
    for axis in made.axes:
        if axis.path in section.field_columns:
            yield ConfigProblem(
                f"input.columns.{axis.path}",
                "is also an axis of the sweep; remove one of them",
            )
    images = len(section.image_columns)
    # Without the sweep it is a problem of `request.params`, and reported there.
    if images and not image_index_problem(request.params, images):
        for point in made.points:
            params = made.request_at(point, request).params
            problem = image_index_problem(params, images)
            if problem:
                yield ConfigProblem("sweep", problem)
                break
    yield from check_points(section, request, made)
