"""`extends: base.yaml` of a config: the keys of another file are its defaults, and that one may extend a third."""

from pathlib import Path
from typing import Any

import yaml

from pixmill.config.merging import merge_sections
from pixmill.config.variables import expand_text
from pixmill.config.yaml_reader import describe_yaml_error, read_yaml
from pixmill.errors import ConfigError
from pixmill.local_paths import local_path
from pixmill.request.registry import did_you_mean

MAX_NODES = 100_000
"""More nodes than a config can need: nested YAML aliases multiply into billions (a "YAML bomb")."""

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx")
"""How the names of tables end that are given instead of a config."""

_KEY = "extends"


def read_with_bases(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the keys of the config at `path`, and those that it does not have from what it extends.

    `above` are the files that led to it. Raises ConfigError where one of them can't be read.
    """
    config = _read(path, above)
    if _KEY not in config:
        return config
    base = _base_path(path, config.pop(_KEY))
    chain = (*above, path)
    # By what they are, as `./a.yaml` and a link to it are one file.
    if base.resolve() in [known.resolve() for known in chain]:
        named = ", which extends ".join(map(str, (*chain, base)))
        raise ConfigError(f"{named}: no file can extend itself")
    return merge_sections(read_with_bases(base, chain), config)


def find_bases(path: Path) -> list[Path]:
    """Return the files that the config at `path` extends, the nearest first.

    Raises ConfigError where one of them can't be read.
    """
    found: list[Path] = []
    read = _read(path, ())
    while _KEY in read:
        path = _base_path(path, read[_KEY])
        found.append(path)
        read = _read(path, tuple(found))
    return found


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return what the file at `path` holds, which is a mapping. Raises ConfigError."""
    if path.suffix in _TABLES and path.is_file():
        raise ConfigError(
            f"{path} is a table, and a config is needed",
            hint=f"`pixmill init {path}` writes one for it",
        )
    try:
        # Editors on Windows put a byte order mark in front, which would become part of the first key.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        if above:
            raise ConfigError(
                f"{above[-1]}: extends {path}: {error.strerror}",
                hint="the path of `extends` is relative to the file that it is in",
            ) from None
        raise _unreadable(path, error) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    try:
        raw = read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mistake = describe_yaml_error(error)
        raise ConfigError(
            f"{path} is not valid YAML: {mistake.text}", hint=mistake.hint
        ) from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(
            f"{path} must be a mapping of keys such as `name:` and `input:`"
        )
    if _count_nodes(raw, {}) > MAX_NODES:
        raise ConfigError(
            f"{path} expands to more than {MAX_NODES:,} values",
            hint="use fewer YAML aliases",
        )
    return raw


def _unreadable(path: Path, error: OSError) -> ConfigError:
    """Return the error about a config that can't be read, with what was perhaps meant."""
    hint = "`pixmill init DIR` writes a config to start from"
    if path.is_dir():
        # A store, perhaps: each dataset in it has the config that it was published with.
        found = sorted(
            [*path.glob("*/config.yaml"), *path.glob("simulated/*/config.yaml")]
        )
        if found:
            named = ", ".join(map(str, found[:3]))
            hint = f"of a store, `pixmill view {path}` and `pixmill bill {path}` show all; configs in it: {named}"
        return ConfigError(f"{path} is a folder, and a config is needed", hint=hint)
    beside = [*path.parent.glob("*.yaml"), *path.parent.glob("*.yml")]
    suggestion = did_you_mean(path.name, [file.name for file in beside])
    return ConfigError(f"{path}: {error.strerror}{suggestion}", hint=hint)


def _count_nodes(value: Any, known: dict[int, int]) -> int:
    """Count the values in `value`, those behind an alias once for each use; `known` has the counts by `id`."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        # Met again below itself it is too large, as a value that contains itself never ends.
        known[id(value)] = MAX_NODES + 1
        children = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count_nodes(child, known) for child in children)
    return known[id(value)]


def _base_path(path: Path, named: Any) -> Path:
    """Return the file that the config at `path` extends. Raises ConfigError where `named` is not a path."""
    if not isinstance(named, str):
        raise ConfigError(f"{path}: extends: must be the path of one config")
    try:
        return path.parent / local_path(expand_text(named), "a path of this machine")
    except ValueError as error:
        raise ConfigError(f"{path}: extends: {error}") from None
