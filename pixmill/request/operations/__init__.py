"""The operations that pixmill knows, one module for each group of them; and of what an operation is made.

CONTRIBUTING.md shows how to describe one of your own with these classes.
"""

from collections.abc import Mapping

from pixmill.request.operations import (
    controlnet,
    editing,
    seedream,
    text_to_image,
    upscaling,
)
from pixmill.request.operations.operation import (
    Delivered,
    InputImages,
    Labelled,
    Operation,
    Parameters,
    PromptField,
    SeedField,
)

__all__ = [
    "OPERATIONS",
    "Delivered",
    "InputImages",
    "Labelled",
    "Operation",
    "Parameters",
    "PromptField",
    "SeedField",
]

OPERATIONS: Mapping[str, Operation] = {
    operation.req_key: operation
    for group in (seedream, editing, text_to_image, upscaling, controlnet)
    for operation in group.OPERATIONS
}
"""All registered operations by `req_key`."""
