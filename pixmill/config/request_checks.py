"""Whether requests can be made of the rows: what the input, the request's template and its params ask of each other.

`pixmill.config.validation` says which sections each check needs; what the operation is able to do is
in `pixmill.config.operation_checks`.
"""

import logging

from pydantic import ValidationError

from pixmill.conditions import parse
from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.model import Input
from pixmill.config.problems import ConfigProblem, Problems, explain
from pixmill.request.canonical_json import canonical_json
from pixmill.request.model import Request, Seed, placeholders
from pixmill.request.registry import (
    did_you_mean,
    field_paths,
    find_field_problem,
    image_index_problem,
    requested_operation,
    reserved_fields,
    resolve_parameters,
)

log = logging.getLogger(__name__)


def check_input(section: Input) -> Problems:
    """Yield what is wrong with the columns, the condition and the encoding of the input."""
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


def check_params(request: Request) -> Problems:
    """Yield what the operation does not take of the request's params."""
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


def check_prompt(request: Request) -> Problems:
    """Yield a problem where the prompt is not a template."""
    prompt = request.prompt
    if prompt is None:
        return
    if prompt.endswith("\n"):
        # It is sent all the same: without it every job key would change, and every job would be paid again.
        log.warning(
            "request.prompt ends with a line break, which is sent with every prompt; "
            "`prompt: |-` instead of `|` leaves it out, which makes other jobs of them"
        )
    try:
        placeholders(prompt)
    except ValueError as error:
        yield ConfigProblem(
            "request.prompt",
            f"is not a template: {error}; write {{{{ and }}}} for plain braces",
        )


def check_allow_empty(section: Input, request: Request) -> Problems:
    """Yield a problem for each column that may be empty and that the prompt does not read."""
    read = {section.column("prompt")}
    try:
        read.update(placeholders(request.prompt))
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


def check_columns(section: Input, request: Request) -> Problems:
    """Yield a problem for each column that fills a field which the operation does not take from it."""
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


def check_seed_column(section: Input, seed: Seed) -> Problems:
    """Yield what a seed policy lacks: the key of a row, or a column of seeds."""
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
