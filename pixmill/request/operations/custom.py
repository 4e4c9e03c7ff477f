"""Operations of users: from a Python file that a config names, or from installed packages.

A file is code that runs with the rights of whoever runs pixmill, as the config itself decides what is
paid. Packages offer theirs by the entry point group `pixmill.operations`, each under its `req_key`.
"""

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from pixmill.errors import ConfigError
from pixmill.local_paths import local_path
from pixmill.request.operations.operation import Operation

GROUP = "pixmill.operations"


def check_operation_file(file: str) -> str:
    """Return the path that `file` means; raise ValueError where its operations can't be used."""
    path = local_path(file)
    try:
        load_operations(path)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return path


def load_operations(file: str) -> Mapping[str, Operation]:
    """Return the operations that are variables of the Python file `file`, by `req_key`.

    Raises ConfigError where it can't be run or has none.
    """
    path = Path(file).expanduser().absolute()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    return _run(path, changed)


@lru_cache(16)
def _run(
    path: Path,
    _changed: int,
) -> Mapping[str, Operation]:
    """Run the file once for each time that it is changed: a notebook lives longer than a file."""
    spec = importlib.util.spec_from_file_location(
        f"pixmill_operation_{path.stem}", path
    )
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Whatever somebody else's code raises is a mistake of the config.
        raise ConfigError(
            f"{path} can't be run: {type(error).__name__}: {error}"
        ) from error
    found = [value for value in vars(module).values() if isinstance(value, Operation)]
    if not found:
        raise ConfigError(
            f"{path} defines no Operation",
            hint="CONTRIBUTING.md shows one",
        )
    return {operation.req_key: operation for operation in found}


@lru_cache(256)
def installed_operation(req_key: str) -> Operation | None:
    """Return the operation that an installed package offers as `req_key`, if any.

    Raises ConfigError where it can't be imported, or is something else.
    """
    for entry in installed_operations().select(name=req_key):
        try:
            operation = entry.load()
        except Exception as error:
            # As with a file.
            raise ConfigError(
                f"the installed operation {req_key} ({entry.value}) can't be imported: {error}"
            ) from error
        if not isinstance(operation, Operation) or operation.req_key != req_key:
            raise ConfigError(
                f"the entry point {req_key} ({entry.value}) is not an Operation of this req_key"
            )
        return operation
    return None


@lru_cache(1)
def installed_operations() -> EntryPoints:
    """Return the entry points of operations, whether they can be imported or not."""
    # A look at every installed package, so that it is made once.
    return entry_points(group=GROUP)
