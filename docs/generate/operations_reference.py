"""docs/operations-reference.md: the operations with their fields."""

from docs.generate.markdown import MADE, sentence, table
from docs.generate.operation_fields import fields_table
from pixmill.request.operations import OPERATIONS
from pixmill.request.operations.operation import (
    AigcMeta,
    InputImages,
    LogoInfo,
    Operation,
)
from pixmill.request.registry import resolve_parameters


def make_page() -> str:
    """Return docs/operations-reference.md."""
    overview = table(
        ("req_key", "what it does", "called", "images", "prompt", "seed", "pictures"),
        (_operation_row(operation) for operation in OPERATIONS.values()),
    )
    sections = "\n".join(map(_operation_section, OPERATIONS.values()))
    return f"""# Operations

{MADE}

An operation is what one `req_key` does. pixmill knows the fields, ranges and defaults of the ones below, so that a
wrong value, a missing image column or a prompt that is too long is a mistake before anything is paid. No live call was
made to write this down: each section names its source. Any other `req_key` works too: its `request.params` pass
unchecked, and `request.mode` says how it is called. [An operation of your
own](../CONTRIBUTING.md#an-operation-of-your-own) takes a file.

Configs to start from: [text to image](../configs/text-to-image.yaml), [edits by
instruction](../configs/edit.yaml), [inpainting](../configs/inpaint.yaml), [several
references](../configs/references.yaml), [upscaling](../configs/upscale.yaml), [a comparison of
models](../configs/compare-models.yaml).

{overview}

* **called**: `sync` is one call that waits for the pictures, `async` a submit and then polls. The first is what
  `request.mode: auto` takes.
* **images**: input images of a request, one column of `input.columns.image_url` (or `image_file`) for each.
* **seed**: the provider's default. pixmill always sends one, as the API does not return the one that it drew. Without a
  seed, replicates are told apart by their numbers, and a picture can't be drawn a second time.
* **pictures**: the most that one answer has. Each is charged where the price is per image.

A field whose default is "not sent" is left to the provider. `prompt`, `seed` and the input images are set by pixmill,
from the row.

## Delivery

Every operation has `return_url`, nearly all have `logo_info`, newer ones `aigc_meta`. pixmill sends them where the
operation wants them: with the call, or with the polls of one that is asynchronous. `return_url` is not in the job key.

{fields_table((LogoInfo, "logo_info."), (AigcMeta, "aigc_meta."))}

{sections}"""


def _operation_row(operation: Operation) -> tuple[str, ...]:
    prompt = "none"
    if operation.prompt:
        limits = (
            (f"at most {operation.prompt.limit}", operation.prompt.limit),
            (f"{operation.prompt.advised} advised", operation.prompt.advised),
        )
        prompt = ", ".join(text for text, limit in limits if limit) or "yes"
    defaults = resolve_parameters(operation, {})
    most = {
        operation.outputs(defaults | changed, 0)
        for changed in ({}, {"force_single": False})
    }
    return (
        f"[`{operation.req_key}`](#{_anchor(operation.req_key)})",
        sentence(operation.title),
        ", ".join(operation.modes),
        _image_count(operation.images),
        prompt,
        str(operation.seed.default) if operation.seed else "none",
        "–".join(map(str, sorted(most))),
    )


def _image_count(images: InputImages) -> str:
    if images.most == 0:
        return "none"
    if images.most is None:
        return f"{images.least} or more"
    count = str(images.least)
    if images.most != images.least:
        count = f"{images.least}–{images.most}"
    return f"{count}, the last is the mask" if images.mask is not None else count


def _anchor(req_key: str) -> str:
    """Return how the page's host calls the section of a heading in code."""
    return req_key.lower().replace(".", "")


def _operation_section(operation: Operation) -> str:
    images = ""
    if operation.images.most != 0:
        forms = " or ".join(
            {"url": "URLs (`image_url`)", "bytes": "files (`image_file`)"}[form]
            for form in sorted(operation.images.forms, reverse=True)
        )
        limits = operation.images.describe_limits()
        images = f" Input images come as {forms}, JPEG or PNG, each {limits}."
    schema = operation.parameters
    if schema is None:
        raise ValueError(f"{operation.req_key} has no schema to describe")
    return f"""## `{operation.req_key}`

{sentence(operation.title)}. Source: {operation.source}.{images}

{fields_table((schema, ""))}
"""
