"""Whether a run can go where the config sends it: its name, provider, budget, store, workers and output.

`pixmill.config.validation` says which sections each check needs.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pixmill.conditions import parse
from pixmill.config.bucket_address import is_bucket_url, is_loopback
from pixmill.config.model import Budget, Execution, Output, Provider
from pixmill.config.problems import ConfigProblem, Problems
from pixmill.local_paths import folder_problem
from pixmill.request.model import Request
from pixmill.request.operations import OPERATIONS, Operation
from pixmill.request.registry import (
    did_you_mean,
    field_paths,
    find_field_problem,
    operation_of,
    reserved_fields,
    suggest_field,
)
from pixmill.request.sweep import SweepPoints

log = logging.getLogger(__name__)

STORE_FOLDERS = frozenset({"images", "simulated", "thumbs"})
"""Names in a store that no dataset may have."""


def check_name(name: str) -> Problems:
    """Yield a problem where the dataset's folder would be one of the store itself."""
    # Whatever its case: on some disks `Images` is the same folder.
    if name.lower() in STORE_FOLDERS:
        yield ConfigProblem("name", f"{name!r} is a folder of the store itself")


def check_gateway(provider: Provider) -> Problems:
    """Yield a problem where calls would go to no server, or simulated ones to another machine."""
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


def check_budget(
    section: Budget, request: Request, points: SweepPoints | None
) -> Problems:
    """Yield a problem for each cap on money that could not be held."""
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


def check_price_conditions(
    section: Budget, request: Request, points: SweepPoints | None
) -> Problems:
    """Yield the names in conditions of prices that no request can have: such a price would never apply.

    Warns of prices for a `req_key` that neither this config nor pixmill has.
    """
    # A list of prices may be for all operations, also those of other configs.
    asked = _find_req_keys(request, points)
    all_keys = [*OPERATIONS, *asked]
    for at, price in enumerate(section.prices):
        _warn_of_unknown_operation(at, price.req_key, asked, request.operation_file)
        req_keys = all_keys if price.req_key is None else [price.req_key]
        operations = [operation_of(key, request.operation_file) for key in req_keys]
        if price.where is None or any(each.parameters is None for each in operations):
            continue
        known = [path for operation in operations for path in field_paths(operation)]
        for name in sorted(parse(price.where).names):
            if not any(_is_parameter(operation, name) for operation in operations):
                yield ConfigProblem(
                    f"budget.prices.{at}.where",
                    f"`{name}` is not a parameter of {price.req_key or 'any operation'}"
                    f"{suggest_field(name, known)}",
                )


def _is_parameter(operation: Operation, name: str) -> bool:
    """Whether a condition over the parameters of a request may read `name`: what pixmill sets is none."""
    if name.partition(".")[0] in reserved_fields(operation):
        return False
    problem = find_field_problem(operation, {}, name)
    return problem is None or not problem.is_unknown


def _warn_of_unknown_operation(
    at: int, req_key: str | None, asked: Sequence[str], operation_file: str | None
) -> None:
    # A warning: the price may be for a config of another operation that nobody registered.
    if req_key is None or req_key in asked:
        return
    if operation_of(req_key, operation_file).parameters is None:
        log.warning(
            "budget.prices.%s.req_key: pixmill does not know %s, and this config does not ask for "
            "it, so the price applies to nothing%s",
            at,
            req_key,
            did_you_mean(req_key, [*asked, *OPERATIONS]),
        )


def check_store(store: str, provider: Provider, ledger: str | None) -> Problems:
    """Yield a problem where the store is no folder, or in a bucket and without a ledger of its own."""
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


def check_execution(
    section: Execution, provider: Provider, ledger: str | None
) -> Problems:
    """Yield what workers at another address could not reach or share."""
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


def check_inline_images(request: Request, output: Output) -> Problems:
    """Yield a problem where the request asks for URLs, and the output for images in the answers."""
    if output.images == "inline" and request.params.get("return_url") is True:
        yield ConfigProblem(
            "request.params.return_url",
            "is always false with output.images: inline; leave it out",
        )
