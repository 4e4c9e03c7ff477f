"""What makes a dataset of a table and a ledger: the code, the packages and the config.

Another version of any of them may read, judge or write something else.
"""

import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

from pixmill.config.model import Config
from pixmill.request.operations.custom import installed_operations

_PACKAGES = ("pixmill", "prefect", "pandas", "pyarrow", "requests", "SQLAlchemy")

CODE = Path(__file__).parent.parent
"""All of pixmill."""


@cache
def package_versions() -> dict[str, str]:
    """Return the version of each package that decides what a dataset is."""
    # Cached, as what this process has imported stays what it is.
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def is_built_in(config: Config) -> bool:
    """Whether the operation is one of pixmill: what a user's own sends may change with its file, or
    with what is installed."""
    return config.request.operation_file is None and not installed_operations()


def code_and_config(config: Config) -> dict[str, Any]:
    """Return as JSON values what tells two makers of a dataset from each other."""
    return {
        "code": _code_stamps(CODE),
        "packages": package_versions(),
        "config": config.model_dump(mode="json"),
    }


@cache
def _code_stamps(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    # Cached, as a process makes what it makes by the code that it has imported.
    return [
        (str(path.relative_to(folder)), file_stamp(path))
        for path in sorted(folder.rglob("*.py"))
    ]


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is edited or replaced. Raises OSError."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
