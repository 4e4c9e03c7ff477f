"""pixmill turns a table of image URLs and prompts into a verified image dataset, paying for nothing twice.

The public names are loaded when they are first used, so that importing pixmill costs nothing:
`load_config(path)`, `plan(config)`, `load_results(path)`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixmill.api import plan
    from pixmill.config.loading import load_config
    from pixmill.datasets.loading import load_results

__all__ = ["load_config", "load_results", "plan"]

_MODULES = {
    "load_config": "pixmill.config.loading",
    "load_results": "pixmill.datasets.loading",
    "plan": "pixmill.api",
}
"""Where each public name is."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pixmill' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
