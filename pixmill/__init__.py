"""pixmill turns a table of image URLs and prompts into an image dataset and pays nothing twice.

    results = pixmill.run(frame, name="pets", request={"prompt": "{text}, in watercolor"})
    results.df

Public functions are loaded when they are first used, so that importing pixmill costs nothing. `docs/python-api.md`
describes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixmill.api.functions import plan, run
    from pixmill.config.loading import load_config
    from pixmill.datasets.loading import load_results
    from pixmill.datasets.verification import verify
    from pixmill.execution.repair import repair

__all__ = [
    "load_config",
    "load_results",
    "plan",
    "repair",
    "run",
    "verify",
]

_MODULES = {
    "load_config": "pixmill.config.loading",
    "load_results": "pixmill.datasets.loading",
    "plan": "pixmill.api.functions",
    "repair": "pixmill.execution.repair",
    "run": "pixmill.api.functions",
    "verify": "pixmill.datasets.verification",
}
"""The module of each public function."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'pixmill' has no attribute {name!r}")
