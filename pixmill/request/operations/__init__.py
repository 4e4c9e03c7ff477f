"""The operations that pixmill knows, one module for each group of them."""

from collections.abc import Mapping

from pixmill.request.operations import (
    controlnet,
    editing,
    seedream,
    text_to_image,
    upscaling,
)
from pixmill.request.operations.operation import Operation

OPERATIONS: Mapping[str, Operation] = {
    operation.req_key: operation
    for group in (seedream, editing, text_to_image, upscaling, controlnet)
    for operation in group.OPERATIONS
}
"""All registered operations by `req_key`."""
