"""Reading a config: YAML and overrides in, a checked `Config` out, every mistake reported at once.

Each section is checked by itself, so that a mistake in one does not hide those in another; then come the
checks that need several sections. A key that this version can't honour yet is a mistake, never ignored.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pixmill.config.model import Config
from pixmill.config.overrides import overridden
from pixmill.config.problems import ConfigProblem, explained
from pixmill.config.validation import check_together
from pixmill.config.yaml_reader import Document, read_yaml
from pixmill.config.yaml_words import word_mistakes
from pixmill.errors import ConfigError
from pixmill.local_paths import given_path
from pixmill.request.model import flatten
from pixmill.request.registry import did_you_mean

MAX_NODES = 100_000
"""More nodes than a config can need: nested YAML aliases multiply into billions (a "YAML bomb")."""

NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "execution.engine": ("threads", "dask"),
}
"""Keys of the contract that this version parses but does not honour, with the values that it does."""

_QUOTES = (
    "a text that begins with one of {[*&!|>%@` or holds `: ` or ` #` stands in quotes"
)
_NO_STORE = (
    "is null, which is how YAML reads a lone ~; write '~/folder', or leave the key out"
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config at `path`, apply `overrides` (`a.b=value`, the value in YAML) and check it.

    Raises ConfigError with every mistake and its path.
    """
    document, mistakes = overridden(_read(given_path(path)), overrides)
    sections, found = _check_sections(document.value)
    found += _not_yet(sections)
    found += check_together(sections)
    words = list(word_mistakes(document.words, sections))
    # What YAML took for something else is said as that, not as a value of a wrong type besides.
    said = {path for path, _ in words} | {path.rpartition(".")[0] for path, _ in words}
    mistakes += words + [mistake for mistake in found if mistake[0] not in said]
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        listed = "\n".join(str(mistake) for mistake in mistakes)
        raise ConfigError(
            f"{path} has {count}:\n{listed}", hint="docs/config.md lists every key"
        )
    return Config.model_validate(sections)


def load_deployment_config(
    config: str, overrides: Sequence[str], *, deployed: bool
) -> Config:
    """Read the config of a flow run. Raises ConfigError for mistakes in it.

    A flow run of a deployment refuses a relative store: its working directory is made anew for every run.
    """
    settings = load_config(config, overrides)
    if deployed and not settings.bucket and not Path(settings.store).is_absolute():
        raise ConfigError(
            f"{config}: store {settings.store!r} is relative, and a deployment's working directory does not last",
            hint="give an absolute path",
        )
    return settings


def _read(path: Path) -> Document:
    """Return what the file at `path` holds, which is a mapping. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}",
            hint="`pixmill init DIR` writes a config to start from",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    try:
        document = read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(
            f"{path} is not valid YAML: {problem}", hint=_QUOTES
        ) from None
    raw = document.value
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(
            f"{path} must be a mapping of keys such as `name:` and `input:`"
        )
    if _node_count(raw, {}) > MAX_NODES:
        raise ConfigError(
            f"{path} unfolds to more than {MAX_NODES:,} values",
            hint="use fewer YAML aliases",
        )
    return document


def _node_count(value: Any, known: dict[int, int]) -> int:
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_NODES + 1  # a value that contains itself never ends
        children = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_node_count(child, known) for child in children)
    return known[id(value)]


def _check_sections(
    raw: Mapping[str, Any],
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Return the sections that are right, by name, and the mistakes in the others."""
    sections: dict[str, Any] = {}
    mistakes = [
        ConfigProblem((key, "unknown key" + did_you_mean(key, Config.model_fields)))
        for key in raw
        if key not in Config.model_fields
    ]
    for name, field in Config.model_fields.items():
        if name == "store" and name in raw and raw[name] is None:
            mistakes.append(ConfigProblem((name, _NO_STORE)))
            continue
        if name not in raw or raw[name] is None:
            if field.is_required():
                mistakes.append(ConfigProblem((name, "is required")))
            else:
                sections[name] = field.get_default()
            continue
        try:
            annotation = Config.__annotations__[name]
            sections[name] = TypeAdapter(annotation).validate_python(raw[name])
        except ValidationError as error:
            mistakes += explained(error, name, annotation)
    return sections, mistakes


def _not_yet(sections: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    for path, honoured in NOT_YET.items():
        name, _, key = path.partition(".")
        if name not in sections:
            continue
        value = getattr(sections[name], key) if key else sections[name]
        if value not in honoured:
            choices = " or ".join(repr(choice) for choice in honoured)
            shown = (
                "this URL" if "://" in str(value) else repr(value)
            )  # it may hold a password
            yield ConfigProblem(
                (
                    path,
                    f"{shown} is not supported by this version; it honours {choices}",
                )
            )


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two resolved configs, one line a key: `request.params.scale: 3 → 4`."""
    old = flatten(before)
    new = flatten(after)
    return [
        f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
