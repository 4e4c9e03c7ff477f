"""Checks of a config that need several sections, or the operation's schema; each section was checked before."""

import logging
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pixmill.conditions import parse
from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.model import Budget, Execution, Input, Provider
from pixmill.config.problems import ConfigProblem, explained
from pixmill.local_paths import folder_problem
from pixmill.request.canonical_json import canonical_json
from pixmill.request.model import Request, Sweep
from pixmill.request.registry import (
    OPERATIONS,
    RESERVED_FIELDS,
    find_field_problem,
    image_index_problem,
    resolve_parameters,
)
from pixmill.request.sweep import SweepPoints, make_points, sweep_mistakes

log = logging.getLogger(__name__)

STORE_FOLDERS = frozenset({"images", "simulated", "thumbs"})
"""Names in a store that no dataset may have."""

MAX_SLOTS = 100_000
"""Jobs that one row may become: they are prepared together."""


def check_together(sections: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    """Yield the mistakes that show only between sections; a section that is missing was a mistake by itself."""
    # Whatever its case: on some disks `Images` is the same folder.
    if str(sections.get("name")).lower() in STORE_FOLDERS:
        yield ConfigProblem(
            ("name", f"{sections['name']!r} is a folder of the store itself")
        )
    if "input" in sections:
        yield from _check_input(sections["input"])
    if "request" in sections:
        yield from _check_params(sections["request"])
    if "input" in sections and "request" in sections:
        yield from _check_columns(sections["input"], sections["request"])
    if {"input", "request", "sweep"} <= sections.keys():
        replicates = sections["seed"].replicates if "seed" in sections else 1
        yield from _check_sweep(
            sections["input"], sections["request"], sections["sweep"], replicates
        )
    if "input" in sections and "seed" in sections:
        has_column = "seed" in sections["input"].columns
        if sections["seed"].policy == "column" and not has_column:
            yield ConfigProblem(("seed.policy", "'column' needs input.columns.seed"))
        if sections["seed"].policy != "column" and has_column:
            yield ConfigProblem(
                ("input.columns.seed", "is read only with seed.policy: column")
            )
    if (
        "provider" in sections
        and sections["provider"].kind == "gateway"
        and not sections["provider"].base_url
    ):
        yield ConfigProblem(("provider.base_url", "is required for a gateway"))
    if "budget" in sections:
        yield from _check_budget(sections["budget"])
    if {"store", "provider", "ledger"} <= sections.keys():
        yield from _check_store(
            sections["store"], sections["provider"], sections["ledger"]
        )
    if {"execution", "provider", "ledger"} <= sections.keys():
        yield from _check_execution(
            sections["execution"], sections["provider"], sections["ledger"]
        )
    if {"request", "output"} <= sections.keys():
        by_url = sections["request"].params.get("return_url") is True
        if by_url and sections["output"].images == "inline":
            yield ConfigProblem(
                (
                    "request.params.return_url",
                    "is false by output.images: inline; leave it out",
                )
            )


def _check_store(
    store: str, provider: Provider, ledger: str | None
) -> Iterator[ConfigProblem]:
    if not is_bucket_url(store) and (problem := folder_problem(Path(store))):
        yield ConfigProblem(
            ("store", f"{problem}; a store is a folder (got {store!r})")
        )
    if is_bucket_url(store) and ledger is None and provider.kind != "simulator":
        reason = "is required with a store in a bucket, which can't hold a ledger"
        yield ConfigProblem(
            ("ledger", f"{reason}: postgresql+psycopg://user@host/database")
        )


def _check_execution(
    section: Execution, provider: Provider, ledger: str | None
) -> Iterator[ConfigProblem]:
    if section.address is None:
        return
    if section.engine == "threads":
        yield ConfigProblem(
            ("execution.address", "is read only with execution.engine: dask")
        )
    if provider.kind == "simulator" and not provider.base_url:
        problem = "is required with execution.address, whose workers can't know a simulator inside a run"
        yield ConfigProblem(
            ("provider.base_url", f"{problem}; `pixmill simulate` starts one")
        )
    if section.is_elsewhere and (ledger is None or provider.kind == "simulator"):
        problem = "leads to other machines, which can't share a ledger that is a file"
        yield ConfigProblem(
            (
                "execution.address",
                f"{problem}; `ledger: postgresql+psycopg://…` is for all",
            )
        )


def _check_budget(section: Budget) -> Iterator[ConfigProblem]:
    for cap in ("max_cost", "max_cost_per_month"):
        if getattr(section, cap) is not None and not section.price_per_call:
            yield ConfigProblem(
                (
                    f"budget.{cap}",
                    "needs budget.price_per_call, or cost can't be counted",
                )
            )


def _check_input(section: Input) -> Iterator[ConfigProblem]:
    both = {"image_url", "image_file"} & section.columns.keys()
    if len(both) != 1 or not section.image_columns:
        yield ConfigProblem(
            ("input.columns", "must map exactly one of image_url and image_file")
        )
    if section.local_images and is_bucket_url(section.path):
        problem = "names files beside the table, and in a bucket there are none; map image_url, or copy both here"
        yield ConfigProblem(("input.columns.image_file", problem))
    for role, column in section.columns.items():
        if role not in ("image_url", "image_file") and not isinstance(column, str):
            yield ConfigProblem(
                (
                    f"input.columns.{role}",
                    "must be one column; only images may be a list",
                )
            )
    if section.where is not None:
        try:
            parse(section.where)
        except ValueError as error:
            yield ConfigProblem(("input.where", str(error)))
    try:
        "".encode(section.encoding)
    except LookupError:
        yield ConfigProblem(
            (
                "input.encoding",
                f"{section.encoding!r} is not an encoding that Python knows",
            )
        )


def _check_params(request: Request) -> Iterator[ConfigProblem]:
    for name in sorted(RESERVED_FIELDS & request.params.keys()):
        yield ConfigProblem(
            (
                f"request.params.{name}",
                "is set by pixmill itself, from the row and the seed",
            )
        )
    try:
        canonical_json(resolve_parameters(request.req_key, request.params))
    except ValidationError as error:
        yield from explained(
            error, "request.params", OPERATIONS[request.req_key].parameters
        )
    except (TypeError, ValueError) as error:
        yield ConfigProblem(("request.params", f"can't be sent as JSON: {error}"))
    if request.req_key not in OPERATIONS:
        log.warning(
            "request.req_key %s is not one that pixmill knows: its params are not checked",
            request.req_key,
        )
    if request.prompt is not None:
        if request.prompt.endswith("\n"):
            # Left as it is: without it every job key would be another one, and all of it paid for again.
            log.warning(
                "request.prompt ends with a line break, which is sent with every prompt; "
                "`prompt: |-` in place of `|` leaves it out, and asks for other jobs"
            )
        try:
            list(string.Formatter().parse(request.prompt))
        except ValueError as error:
            yield ConfigProblem(
                (
                    "request.prompt",
                    f"is not a template: {error}; write {{{{ and }}}} for plain braces",
                )
            )


def _check_columns(section: Input, request: Request) -> Iterator[ConfigProblem]:
    if request.prompt is None and "prompt" not in section.columns:
        yield ConfigProblem(
            ("input.columns.prompt", "is required where request.prompt is no template")
        )
    try:
        params = resolve_parameters(request.req_key, request.params)
    except ValidationError:
        return
    for path in section.field_columns:
        problem = find_field_problem(request.req_key, params, path)
        if problem:
            yield ConfigProblem((f"input.columns.{path}", problem.reason))
    index_problem = image_index_problem(params, len(section.image_columns))
    if index_problem and section.image_columns:
        yield ConfigProblem(("request.params", index_problem))


def _check_sweep(
    section: Input, request: Request, sweep: Sweep, replicates: int
) -> Iterator[ConfigProblem]:
    try:
        resolve_parameters(request.req_key, request.params)
    except ValidationError:
        return  # named already
    found = sweep_mistakes(sweep, request)
    yield from map(ConfigProblem, found)
    if not found:
        yield from _check_points(
            section, request, make_points(sweep, request), replicates
        )


def _check_points(
    section: Input, request: Request, made: SweepPoints, replicates: int
) -> Iterator[ConfigProblem]:
    if len(made.points) * replicates > MAX_SLOTS:
        yield ConfigProblem(
            (
                "sweep" if len(made.points) > 1 else "seed.replicates",
                f"{len(made.points):,} points × {replicates:,} replicates is more than {MAX_SLOTS:,} jobs a row",
            )
        )
    for axis in made.axes:
        if axis.path in section.field_columns:
            yield ConfigProblem(
                (
                    f"input.columns.{axis.path}",
                    "is an axis of the sweep too; which one is to count?",
                )
            )
    if section.image_columns:
        params = (made.request_at(point, request).params for point in made.points)
        wrong = next(
            filter(
                None,
                (image_index_problem(of, len(section.image_columns)) for of in params),
            ),
            None,
        )
        if wrong and not image_index_problem(
            request.params, len(section.image_columns)
        ):
            yield ConfigProblem(("sweep", wrong))
