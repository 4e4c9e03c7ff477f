"""Reading a config: YAML and overrides in, a checked `Config` out, every mistake reported at once.

Each section is checked by itself, so that a mistake in one does not hide those in another; then come the
checks that need several sections. A key that this version can't honour yet is a mistake, never ignored.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pixmill.config import Config, flatten
from pixmill.config_checks import check_together
from pixmill.errors import ConfigError
from pixmill.local_paths import given_path
from pixmill.mistakes import Mistake, explained
from pixmill.operations import did_you_mean

MAX_NODES = 100_000
"""More nodes than a config can need: nested YAML aliases multiply into billions (a "YAML bomb")."""

NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "execution.engine": ("threads", "dask"),
}
"""Keys of the contract that this version parses but does not honour, with the values that it does."""

_NO_STORE = "is null, which is how YAML reads a lone ~; write '~/folder', or leave the key out"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config at `path`, apply `overrides` (`a.b=value`, the value in YAML) and check it.

    Raises ConfigError with every mistake and its path.
    """
    raw = _read_yaml(given_path(path))
    mistakes = [mistake for override in overrides for mistake in _override(raw, override)]
    sections, found = _check_sections(raw)
    mistakes += found
    mistakes += _not_yet(sections)
    mistakes += check_together(sections)
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        listed = "\n".join(str(mistake) for mistake in mistakes)
        raise ConfigError(f"{path} has {count}:\n{listed}", hint="docs/config.md lists every key")
    return Config.model_validate(sections)


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that stands twice in a mapping is a mistake, not the last one's win."""


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = getattr(key_node, "value", None)
        if isinstance(key, str) and key != "<<" and key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
            )
        if isinstance(key, str):
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="`pixmill init DIR` writes a config to start from"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(f"{path} must be a mapping of keys such as `name:` and `input:`")
    if _node_count(raw, {}) > MAX_NODES:
        raise ConfigError(
            f"{path} unfolds to more than {MAX_NODES:,} values", hint="use fewer YAML aliases"
        )
    return raw


def _node_count(value: Any, known: dict[int, int]) -> int:
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_NODES + 1  # a value that contains itself never ends
        children = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_node_count(child, known) for child in children)
    return known[id(value)]


def _override(raw: dict[str, Any], override: str) -> Iterator[Mistake]:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        yield Mistake((f"--set {override}", "must look like a.b=value"))
        return
    if keys[:2] == [
        "input",
        "columns",
    ]:  # what follows is one key: a request field has dots of its own
        keys = [*keys[:2], ".".join(keys[2:])]
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
        _place(raw, keys, value)
    except (yaml.YAMLError, ValueError):
        yield Mistake((f"--set {override}", "the value is not valid YAML"))
    except (IndexError, TypeError):
        yield Mistake(
            (f"--set {override}", "the path leads past the end of a list or into a plain value")
        )


def _place(container: Any, keys: Sequence[str], value: Any) -> None:
    key: Any = int(keys[0]) if isinstance(container, list) and keys[0].isdecimal() else keys[0]
    if len(keys) == 1:
        container[key] = value
        return
    if isinstance(container, dict) and container.get(key) is None:
        container[key] = {}
    _place(container[key], keys[1:], value)


def _check_sections(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mistake]]:
    """Return the sections that are right, by name, and the mistakes in the others."""
    sections: dict[str, Any] = {}
    mistakes = [
        Mistake((key, "unknown key" + did_you_mean(key, Config.model_fields)))
        for key in raw
        if key not in Config.model_fields
    ]
    for name, field in Config.model_fields.items():
        if name == "store" and name in raw and raw[name] is None:
            mistakes.append(Mistake((name, _NO_STORE)))
            continue
        if name not in raw or raw[name] is None:
            if field.is_required():
                mistakes.append(Mistake((name, "is required")))
            else:
                sections[name] = field.get_default()
            continue
        try:
            annotation = Config.__annotations__[name]
            sections[name] = TypeAdapter(annotation).validate_python(raw[name])
        except ValidationError as error:
            mistakes += explained(error, name, annotation)
    return sections, mistakes


def _not_yet(sections: Mapping[str, Any]) -> Iterator[Mistake]:
    for path, honoured in NOT_YET.items():
        name, _, key = path.partition(".")
        if name not in sections:
            continue
        value = getattr(sections[name], key) if key else sections[name]
        if value not in honoured:
            choices = " or ".join(repr(choice) for choice in honoured)
            shown = "this URL" if "://" in str(value) else repr(value)  # it may hold a password
            yield Mistake((path, f"{shown} is not supported by this version; it honours {choices}"))


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two resolved configs, one line a key: `request.params.scale: 3 → 4`."""
    old, new = flatten(before), flatten(after)
    return [
        f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
