"""What a caller names as table and config, read into one checked config and perhaps a frame."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.api.frames import is_frame, write_frame
from pixmill.config.loading import load_config
from pixmill.config.merging import merge_sections
from pixmill.config.model import Config
from pixmill.errors import ConfigError, TableError
from pixmill.tables.discovery import name_dataset

_IN_MEMORY = "a table in memory"
"""The path of a frame until it is written: its config is checked first."""


class Arguments(NamedTuple):
    """A config, and the frame that its rows are in, `None` where they are in its files."""

    config: Config
    frame: Any = None

    def write_frame(self, folder: Path) -> Config:
        """Return the config of a run; its table is in `folder` where it was in memory."""
        if self.frame is None:
            return self.config
        changes = {"path": str(write_frame(self.frame, folder))}
        source = self.config.input
        if source.local_images and source.image_folder is None:
            # Where a caller looks for a file, as a frame is in no folder.
            changes["image_folder"] = "."
        changed = source.model_copy(update=changes)
        return self.config.model_copy(update={"input": changed})


def read_arguments(
    table_or_config: Any,
    config: str | Path | Mapping[str, Any] | Config | None,
    overrides: Sequence[str],
    sections: Mapping[str, Any],
) -> Arguments:
    """Return what `pixmill.run` was called with. `sections` say more than `config`, which says more
    than nothing.

    Raises ConfigError with every mistake, and TableError for what is no table.
    """
    given = dict(sections)
    base = config
    frame = None
    is_path = isinstance(table_or_config, str | Path)
    is_yaml = is_path and Path(table_or_config).suffix in (".yaml", ".yml")
    if is_yaml or isinstance(table_or_config, Mapping | Config):
        if config is not None:
            raise ConfigError(
                "two configs are given",
                hint="the first argument is a table where config= is given",
            )
        base = table_or_config
    elif is_frame(table_or_config):
        frame = table_or_config
        given = _with_table(_IN_MEMORY, given)
    elif is_path:
        given = _with_table(str(table_or_config), given)
        if base is None and "name" not in given:
            given["name"] = name_dataset(str(table_or_config))
    elif table_or_config is not None:
        raise TableError(
            f"a {type(table_or_config).__name__} is not a table",
            hint="give the path of a table or config, a dict of sections, or what has "
            "__arrow_c_stream__: a frame of pandas or polars, a table of pyarrow, a relation "
            "of DuckDB",
        )
    if isinstance(base, Config):
        # It is checked already, which takes some milliseconds.
        if not given and not overrides:
            return Arguments(base, frame)
        base = base.model_dump(mode="json")
    return Arguments(load_config(base or {}, overrides, **given), frame)


def _with_table(path: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return `sections` with the path of the table. Raises ConfigError where they have one."""
    source = sections.get("input", {})
    if isinstance(source, Mapping) and "path" in source:
        raise ConfigError(
            f"two tables are given: the first argument, and input.path {source['path']!r}",
            hint="leave one of them out",
        )
    return merge_sections(sections, {"input": {"path": path}})
