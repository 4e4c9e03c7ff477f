"""Where a scorer of the user's own is, and what tells one version of it from another.

Both are found without running it: that happens in processes of its own only.
"""

import ast
import importlib.metadata
import importlib.util
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.errors import UserError

ENTRY_POINTS = "pixmill.scorers"


class ScorerSource(NamedTuple):
    """A function in a file or a module."""

    place: str
    """`file.py` or the name of a module."""
    function: str

    @property
    def is_file(self) -> bool:
        """Whether it is in a file that is no module by itself."""
        return self.place.endswith(".py")

    def find_file(self) -> Path:
        """Return the file that it is in. Raises ImportError where there is no such module."""
        if self.is_file:
            return Path(self.place)
        spec = importlib.util.find_spec(self.place)
        if spec is None or not spec.origin:
            raise ImportError(f"there is no module {self.place!r}")
        return Path(spec.origin)

    def find_version(self, text: bytes) -> str | None:
        """Return the constant that `text`, which its file says, assigns to `function.version`.

        Raises SyntaxError or ValueError where that can't be read.
        """
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign):
                continue
            names = [ast.unparse(target) for target in statement.targets]
            if names == [f"{self.function}.version"]:
                return str(ast.literal_eval(statement.value))
        return None


def find_scorer(
    name: str,
    place: str,
) -> ScorerSource:
    """Return where the scorer `name` is: `place` is `module:function`, `file.py:function`, or the
    name of an entry point. Raises UserError where there is none."""
    if ":" not in place:
        installed = importlib.metadata.entry_points(
            group=ENTRY_POINTS,
            name=place,
        )
        if not installed:
            raise UserError(
                f"quality.scorers.{name}: no installed package offers the scorer {place!r}",
                hint="write module:function or file.py:function",
            )
        [entry, *_] = installed
        place = entry.value
    before, _, function = place.rpartition(":")
    return ScorerSource(before, function.strip())


def version_of(
    name: str,
    source: ScorerSource,
) -> str:
    """Return what a scorer's scores are kept under: its attribute `version`, where the file says
    `function.version = "2"`, else a hash of the file. Raises UserError where that can't be read."""
    try:
        text = source.find_file().read_bytes()
        version = source.find_version(text)
    except (OSError, ImportError, ValueError, SyntaxError) as error:
        raise UserError(
            f"quality.scorers.{name}: {source.place} can't be read: {error}",
            hint="paths are relative to the working directory",
        ) from error
    digest = version or sha256(text).hexdigest()[:16]
    return f"{source.function}@{digest}"


def load_scorer(source: ScorerSource) -> Callable[..., Any]:
    """Import the function. Raises whatever its file raises."""
    found: Any
    if source.is_file:
        path = Path(source.place)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    else:
        found = importlib.import_module(source.place)
    for name in source.function.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
