"""pixmill turns a table of image URLs and prompts into a verified image dataset, paying for nothing twice.

The public names are loaded when they are first used, so that importing pixmill costs nothing:
`load_config(path)`, `plan(config)`, `load_results(path)`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixmill.api import plan
    from pixmill.config.loading import load_config
    from pixmill.datasets.loading import load_results

__all__ = ["load_config", "load_results", "plan"]


def __getattr__(name: str) -> Any:
    if name == "load_config":
        from pixmill.config.loading import load_config

        return load_config
    if name == "load_results":
        from pixmill.datasets.loading import load_results

        return load_results
    if name == "plan":
        from pixmill.api import plan

        return plan
    raise AttributeError(f"module 'pixmill' has no attribute {name!r}")
