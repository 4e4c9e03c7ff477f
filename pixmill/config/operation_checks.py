"""Whether a config asks an operation for what it can do: its images, prompt, seed, mode and fields together.

What is wrong is said before the table is read, and so before anything is paid.
"""

from pixmill.config.model import Input
from pixmill.config.problems import ConfigProblem, Problems
from pixmill.request.model import Request, Seed
from pixmill.request.operations.operation import InputImages, Operation
from pixmill.request.registry import (
    find_conflict,
    has_conflicts,
    requested_operation,
)
from pixmill.request.sweep import SweepPoints
from pixmill.text import counted


def check_operation(
    operation: Operation, section: Input, request: Request, seed: Seed
) -> Problems:
    """Yield what the config asks of `operation` that it does not do."""
    if request.mode != "auto" and request.mode not in operation.modes:
        works = "asynchronously" if request.mode == "sync" else "synchronously"
        yield ConfigProblem(
            "request.mode",
            f"is {request.mode}, but {operation.req_key} only works {works}; leave it out",
        )
    yield from _check_images(operation, section)
    has_prompt = request.prompt is not None or "prompt" in section.columns
    if operation.prompt is None and has_prompt:
        path = "input.columns.prompt" if request.prompt is None else "request.prompt"
        yield ConfigProblem(path, f"{operation.req_key} takes no prompt; leave it out")
    # What nobody registered may work without one.
    needs_prompt = operation.prompt is not None and operation.parameters is not None
    if needs_prompt and not has_prompt:
        yield ConfigProblem(
            "input.columns.prompt", "is required unless request.prompt is a template"
        )
    if operation.seed is None and "seed" in section.columns:
        yield ConfigProblem(
            "input.columns.seed", f"{operation.req_key} takes no seed; leave it out"
        )
    if operation.seed is None and seed.policy == "column":
        yield ConfigProblem(
            "seed.policy",
            f"is column, but {operation.req_key} takes no seed; leave it out",
        )


def check_points(section: Input, request: Request, made: SweepPoints) -> Problems:
    """Yield which fields of the points in `made` don't go together."""
    for operation in made.operations(request):
        if operation.parameters is not None:
            given = {
                name for name, value in request.params.items() if value is not None
            }
            given |= section.field_columns.keys()
            given |= {axis.path for axis in made.axes}
            fields = operation.parameters.together
            lacking = [name for name in fields if name not in given]
            if lacking and len(lacking) < len(fields):
                yield ConfigProblem(
                    f"request.params.{lacking[0]}",
                    f"is missing: {operation.req_key} takes {' and '.join(fields)} together or "
                    "neither of them",
                )
    # Columns of the table complete the fields, so that only a row can be wrong.
    can_conflict = any(map(has_conflicts, made.operations(request)))
    if section.field_columns or not can_conflict:
        return
    # The first point that can't be sent is enough to be told of.
    for point in made.points:
        sent = made.request_at(point, request)
        conflict = find_conflict(requested_operation(sent), sent.params)
        if conflict and point.values:
            values = dict(point.values)
            yield ConfigProblem(
                "sweep", f"the point {values} can't be sent: {conflict}"
            )
            return
        if conflict:
            yield ConfigProblem("request.params", conflict)
            return


def _check_images(operation: Operation, section: Input) -> Problems:
    rule = operation.images
    columns = len(section.image_columns)
    role = "image_file" if section.local_images else "image_url"
    path = f"input.columns.{role}"
    wanted = _describe_images(rule)
    if not columns and rule.least:
        yield ConfigProblem(
            "input.columns",
            f"must map image_url or image_file: {operation.req_key} takes {wanted}",
        )
    elif columns and rule.most == 0:
        yield ConfigProblem(
            path,
            f"{operation.req_key} makes pictures from text alone and takes no image; "
            "leave it out",
        )
    elif columns < rule.least or (rule.most is not None and columns > rule.most):
        yield ConfigProblem(
            path,
            f"names {counted(columns, 'column')}, and {operation.req_key} takes {wanted}",
        )
    form = "bytes" if section.local_images else "url"
    if columns and form not in rule.forms:
        other = "image_url" if section.local_images else "image_file"
        what = "URLs" if section.local_images else "files"
        yield ConfigProblem(
            path, f"{operation.req_key} takes images as {what} only; map {other}"
        )


def _describe_images(rule: InputImages) -> str:
    """Say how many images a request takes, one column for each."""
    if rule.mask is not None:
        return "the image and its mask, two columns: [image, mask]"
    if rule.most is None:
        return f"at least {counted(rule.least, 'image')}"
    if rule.least == rule.most:
        return counted(rule.least, "image")
    return f"{rule.least} to {counted(rule.most, 'image')}"
