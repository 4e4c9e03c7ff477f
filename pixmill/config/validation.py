"""Checks of a config that need several sections, or the operation's schema; each section was checked before."""

import logging
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from pixmill.conditions import parse
from pixmill.config.bucket_address import is_bucket_url, is_loopback
from pixmill.config.model import Budget, Execution, Input, Output, Provider, Quality
from pixmill.config.operation_checks import (
    check_operation,
    check_points,
)
from pixmill.config.problems import ConfigProblem, explain
from pixmill.local_paths import folder_problem
from pixmill.request.canonical_json import canonical_json
from pixmill.request.model import Request, Seed, Sweep
from pixmill.request.operations import OPERATIONS
from pixmill.request.registry import (
    did_you_mean,
    field_paths,
    find_field_problem,
    image_index_problem,
    operation_of,
    requested_operation,
    reserved_fields,
    resolve_parameters,
    suggest_field,
)
from pixmill.request.sweep import ReadSweep, SweepPoints, read_sweep

log = logging.getLogger(__name__)

STORE_FOLDERS = frozenset({"images", "simulated", "thumbs"})
"""Names in a store that no dataset may have."""

_POINTS = "points of the sweep"
"""Their name among the sections; `None` where the sweep, or the request's params, are wrong."""

MAX_SLOTS = 100_000
"""Jobs that one row may become: they are prepared together."""

Problems = Iterator[ConfigProblem]


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


def _check_name(name: str) -> Problems:
    # Whatever its case: on some disks `Images` is the same folder.
    if name.lower() in STORE_FOLDERS:
        yield ConfigProblem("name", f"{name!r} is a folder of the store itself")


def _check_input(section: Input) -> Problems:
    sources = {"image_url", "image_file"} & section.columns.keys()
    if len(sources) > 1:
        yield ConfigProblem(
            "input.columns", "must map only one of image_url and image_file"
        )
    elif sources and not section.image_columns:
        yield ConfigProblem(
            f"input.columns.{min(sources)}", "names no column; leave it out"
        )
    # Their paths are relative to the table, and of a bucket only the table is brought here.
    if section.local_images and is_bucket_url(section.path):
        yield ConfigProblem(
            "input.columns.image_file",
            "names files beside the table, and in a bucket there are none; "
            "map image_url, or copy both here",
        )
    for role, column in section.columns.items():
        if role not in ("image_url", "image_file") and not isinstance(column, str):
            yield ConfigProblem(
                f"input.columns.{role}", "must be one column; only images may be a list"
            )
    if section.where is not None:
        try:
            parse(section.where)
        except ValueError as error:
            yield ConfigProblem("input.where", str(error))
    # Asked of Python, which knows a hundred names and more by other names.
    try:
        "".encode(section.encoding)
    except LookupError:
        yield ConfigProblem(
            "input.encoding",
            f"{section.encoding!r} is not an encoding that Python knows",
        )


def _check_params(request: Request) -> Problems:
    operation = requested_operation(request)
    reserved = reserved_fields(operation)
    for name in sorted(reserved & request.params.keys()):
        message = "is set by pixmill itself, from the row and the seed"
        if name == "seed" and operation.seed is None:
            message = f"{request.req_key} takes no seed; leave it out"
        yield ConfigProblem(f"request.params.{name}", message)
    others = {
        name: value for name, value in request.params.items() if name not in reserved
    }
    try:
        canonical_json(resolve_parameters(operation, others))
    except ValidationError as error:
        yield from explain(
            error, "request.params", operation.parameters, field_paths(operation)
        )
    except (TypeError, ValueError) as error:
        yield ConfigProblem("request.params", f"can't be sent as JSON: {error}")
    if operation.parameters is None:
        log.warning(
            "request.req_key %s is not one that pixmill knows: its params are not checked, "
            "and it is called synchronously unless request.mode is async",
            request.req_key,
        )


def _check_prompt(request: Request) -> Problems:
    prompt = request.prompt
    if prompt is None:
        return
    if prompt.endswith("\n"):
        # It is sent all the same: without it every job key would change, and every job would be paid again.
        log.warning(
            "request.prompt ends with a line break, which is sent with every prompt; "
            "`prompt: |-` instead of `|` leaves it out, which makes other jobs of them"
        )
    # Read to its end, as it complains of a brace only when it comes to it.
    try:
        list(string.Formatter().parse(prompt))
    except ValueError as error:
        yield ConfigProblem(
            "request.prompt",
            f"is not a template: {error}; write {{{{ and }}}} for plain braces",
        )


def _check_allow_empty(section: Input, request: Request) -> Problems:
    read = {section.column("prompt")}
    try:
        pieces = string.Formatter().parse(request.prompt or "")
        read |= {name for _, name, _, _ in pieces}
    except ValueError:
        # A broken template is reported by itself.
        return
    for name in section.allow_empty:
        if name not in read:
            known = sorted(filter(None, read))
            yield ConfigProblem(
                "input.allow_empty",
                f"names {name!r}, which the prompt does not read"
                + did_you_mean(name, known),
            )


def _check_columns(section: Input, request: Request) -> Problems:
    operation = requested_operation(request)
    try:
        params = resolve_parameters(operation, request.params)
    except ValidationError:
        # They are reported by themselves.
        return
    for path in section.field_columns:
        problem = find_field_problem(operation, params, path)
        if problem:
            yield ConfigProblem(f"input.columns.{path}", problem.reason)
    index_problem = image_index_problem(params, len(section.image_columns))
    if index_problem and section.image_columns:
        yield ConfigProblem("request.params", index_problem)


def _check_seed_column(section: Input, seed: Seed) -> Problems:
    if seed.policy == "per_key" and not section.row_key:
        yield ConfigProblem(
            "seed.policy", "'per_key' needs input.row_key, from which seeds are derived"
        )
    has_column = "seed" in section.columns
    if seed.policy == "column" and not has_column:
        yield ConfigProblem("seed.policy", "'column' needs input.columns.seed")
    if seed.policy != "column" and has_column:
        yield ConfigProblem(
            "input.columns.seed", "is used only with seed.policy: column"
        )


def _check_gateway(provider: Provider) -> Problems:
    if provider.kind == "gateway" and not provider.base_url:
        yield ConfigProblem("provider.base_url", "is required for a gateway")
    host = urlsplit(provider.base_url or "").hostname
    if provider.kind == "simulator" and host and not is_loopback(host):
        # Nobody is asked before a simulated run, and its money is not counted.
        yield ConfigProblem(
            "provider.base_url",
            "leads to another machine, which may not be a simulator and may charge for its "
            "answers; set provider.base_url: null for the built-in one",
        )


def _check_budget(
    section: Budget, request: Request, points: SweepPoints | None
) -> Problems:
    asked = _find_req_keys(request, points)
    unpriced = [req_key for req_key in asked if not section.has_price_of(req_key)]
    for cap in ("max_cost", "max_cost_per_month"):
        if getattr(section, cap) is not None and unpriced:
            yield ConfigProblem(
                f"budget.{cap}",
                "needs budget.price_per_call, or an entry of budget.prices without `where` for "
                f"{', '.join(unpriced)}, or cost can't be counted",
            )
    unbounded = [
        req_key
        for req_key in asked
        # Of one that is registered, its schema says how many images an answer has at most.
        if operation_of(req_key, request.operation_file).parameters is None
        and section.may_charge_images(req_key)
    ]
    if unbounded and (section.max_cost, section.max_cost_per_month) != (None, None):
        yield ConfigProblem(
            "budget.prices",
            f"has a price per image for {', '.join(unbounded)}, an operation that pixmill does "
            "not know: its answers may have any number of images, so no cap on cost can hold; "
            "set `per: call` and the most that a call may cost, or say in a file for "
            "request.operation_file how many images it has at most",
        )


def _find_req_keys(request: Request, points: SweepPoints | None) -> list[str]:
    """Return the operations that the config asks, each once."""
    # What is wrong with the sweep is said by its own check.
    axes = points.axes if points else ()
    swept = [
        str(value.value)
        for axis in axes
        if axis.kind == "req_key"
        for value in axis.values
    ]
    return list(dict.fromkeys((request.req_key, *swept)))


def _check_price_conditions(
    section: Budget, request: Request, points: SweepPoints | None
) -> Problems:
    """Yield the names in conditions of prices that no request can have: such a price would never apply."""
    # A list of prices may be for all operations, also those of other configs.
    all_keys = [*OPERATIONS, *_find_req_keys(request, points)]
    for at, price in enumerate(section.prices):
        req_keys = all_keys if price.req_key is None else [price.req_key]
        operations = [operation_of(key, request.operation_file) for key in req_keys]
        if price.where is None or any(each.parameters is None for each in operations):
            continue
        known = [path for operation in operations for path in field_paths(operation)]
        fields = {path.partition(".")[0] for path in known}
        for name in sorted(parse(price.where).names):
            if name.partition(".")[0] not in fields:
                yield ConfigProblem(
                    f"budget.prices.{at}.where",
                    f"`{name}` is not a parameter of {price.req_key or 'any operation'}"
                    f"{suggest_field(name, known)}",
                )


def _check_store(store: str, provider: Provider, ledger: str | None) -> Problems:
    if is_bucket_url(store):
        # The simulator keeps its ledger in the working copy: nothing is lost with it.
        if ledger is None and provider.kind != "simulator":
            yield ConfigProblem(
                "ledger",
                "is required with a store in a bucket, which can't hold a ledger: "
                "postgresql+psycopg://user@host/database",
            )
        return
    problem = folder_problem(Path(store))
    if problem:
        yield ConfigProblem("store", f"{problem}; a store is a folder (got {store!r})")


def _check_execution(
    section: Execution, provider: Provider, ledger: str | None
) -> Problems:
    if section.address is None:
        return
    if section.engine == "threads":
        yield ConfigProblem(
            "execution.address", "is used only with execution.engine: dask"
        )
    if provider.kind == "simulator" and not provider.base_url:
        yield ConfigProblem(
            "provider.base_url",
            "is required with execution.address, whose workers can't reach a simulator "
            "inside a run; `pixmill simulate` starts one",
        )
    if section.is_elsewhere and (ledger is None or provider.kind == "simulator"):
        yield ConfigProblem(
            "execution.address",
            "leads to other machines, which can't share a ledger that is a file; "
            "use `ledger: postgresql+psycopg://…`",
        )


def _check_until(quality: Quality, seed: Seed, output: Output) -> Problems:
    until = quality.until
    if until is None:
        return
    if seed.replicates > 1:
        yield ConfigProblem(
            "seed.replicates",
            "must be 1 with quality.until, whose candidates have the seeds of replicates: candidate "
            "2 that of replicate 2",
        )
    if output.images == "url":
        yield ConfigProblem(
            "output.images",
            "must not be url with quality.until: an image that is not fetched can't be judged",
        )
    read = parse(until.where).names
    columns = quality.columns_of_candidates
    for name in sorted(read - {"status"}):
        yield from _check_score_name("quality.until.where", name, quality, columns)
    if until.kept_by:
        scores = [name for name in columns if name.startswith("score_")]
        place = "quality.until.keep"
        yield from _check_score_name(place, until.kept_by, quality, scores)


def _check_score_name(
    place: str, name: str, quality: Quality, columns: Sequence[str]
) -> Problems:
    # A scorer that returns several numbers names them itself.
    several = tuple(f"score_{scorer}_" for scorer in quality.scorers)
    if name in columns or name.startswith(several):
        return
    if name in ("score_duplicate", "flag_duplicate"):
        message = "depends on which candidates the dataset has, and can't decide which it gets"
    else:
        message = "is not a score, a flag or `status`" + did_you_mean(name, columns)
        if not columns:
            message += "; name checks or scorers under `quality`"
    yield ConfigProblem(place, f"reads {name!r}, which {message}")


def _check_inline_images(request: Request, output: Output) -> Problems:
    if output.images == "inline" and request.params.get("return_url") is True:
        yield ConfigProblem(
            "request.params.return_url",
            "is always false with output.images: inline; leave it out",
        )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[..., Problems]], ...] = (
    (("name",), _check_name),
    (("input",), _check_input),
    (("request",), _check_params),
    (("request",), _check_prompt),
    (("input", "request"), _check_allow_empty),
    (("input", "request"), _check_columns),
    (("input", "seed"), _check_seed_column),
    (("provider",), _check_gateway),
    (("budget", "request", _POINTS), _check_budget),
    (("budget", "request", _POINTS), _check_price_conditions),
    (("store", "provider", "ledger"), _check_store),
    (("execution", "provider", "ledger"), _check_execution),
    (("quality", "seed", "output"), _check_until),
    (("request", "output"), _check_inline_images),
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
