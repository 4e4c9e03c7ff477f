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
from pixmill.config.overrides import apply_overrides
from pixmill.config.problems import ConfigProblem, explain
from pixmill.config.python_values import is_given, merge_sections, to_plain
from pixmill.config.validation import check_together
from pixmill.config.yaml_reader import Document, describe_yaml_error, read_yaml
from pixmill.config.yaml_words import find_word_problems
from pixmill.errors import ConfigError
from pixmill.local_paths import given_path
from pixmill.request.model import flatten
from pixmill.request.registry import did_you_mean, requested_operation

MAX_NODES = 100_000
"""More nodes than a config can need: nested YAML aliases multiply into billions (a "YAML bomb")."""

NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "execution.engine": ("threads", "dask"),
}
"""Keys of the contract that this version reads but does not honour, with the values that it does."""

_NO_SECTIONS: Mapping[str, Any] = {}

_QUOTES = (
    "text that begins with one of {[*&!|>%@` or contains `: ` or ` #` must be in quotes"
)
_NO_STORE = (
    "is null, which is how YAML reads a lone ~; write '~/folder', or leave the key out"
)


def load_config(
    config: str | Path | Mapping[str, Any] = _NO_SECTIONS,
    overrides: Sequence[str] = (),
    **sections: Any,
) -> Config:
    """Read a `config`, put `sections` and `overrides` (`a.b=value`, the value in YAML) in, and check it.

    The config is the path of a YAML file or a dict like its content, and may be left out where all
    is in the sections. What a section says takes precedence over the same key of the config.

        load_config("pets.yaml", ["budget.max_calls=100", "input.row_key=[sku]"])
        load_config("pets.yaml", limits={"qps": 4}, sweep={"groups": [{"grid": {"scale": [2, 3]}}]})

    Raises ConfigError with every mistake and its path.
    """
    if isinstance(config, str | Path):
        document = _read(given_path(config))
        name = str(config)
    else:
        document = Document(to_plain(config), ())
        name = "the config"
    if sections:
        given = to_plain(sections)
        merged = merge_sections(document.value, given)
        left = [word for word in document.words if not is_given(given, word.place)]
        document = Document(merged, tuple(left))
    return _check(name, *apply_overrides(document, overrides))


def _check(name: str, document: Document, problems: list[ConfigProblem]) -> Config:
    """Return the config that `document`, which is called `name`, says. Raises ConfigError with these
    and all other problems.
    """
    # Section by section, so that a mistake in one does not hide those in the others.
    sections, found = _check_sections(document.value)
    _leave_out_columns(sections)
    found += _find_unsupported(sections)
    found += check_together(sections)

    # What YAML took for something else is reported as that, and not as a value of a wrong type besides.
    words = list(find_word_problems(document.words, sections))
    reported = {word.path for word in words}
    reported |= {word.path.rpartition(".")[0] for word in words}
    problems += words
    problems += [problem for problem in found if problem.path not in reported]

    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        listed = "\n".join(map(str, problems))
        raise ConfigError(
            f"{name} has {count}:\n{listed}", hint="docs/config.md lists every key"
        )
    return Config.model_validate(sections)


def load_deployment_config(
    config: str, overrides: Sequence[str], *, deployed: bool
) -> Config:
    """Read the config of a flow run, which is one of a deployment where `deployed`. Raises ConfigError."""
    settings = load_config(config, overrides)
    # A worker makes a new working directory for every run of a deployment: a store in it would be lost.
    if deployed and not settings.bucket and not Path(settings.store).is_absolute():
        raise ConfigError(
            f"{config}: store {settings.store!r} is relative, and a deployment's working "
            "directory is temporary",
            hint="use an absolute path",
        )
    return settings


def _read(path: Path) -> Document:
    """Return what the file at `path` holds, which is a mapping. Raises ConfigError."""
    try:
        # Editors on Windows put a byte order mark in front, which would become part of the first key.
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
        raise ConfigError(
            f"{path} is not valid YAML: {describe_yaml_error(error)}", hint=_QUOTES
        ) from None
    raw = document.value
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(
            f"{path} must be a mapping of keys such as `name:` and `input:`"
        )
    if _count_nodes(raw, {}) > MAX_NODES:
        raise ConfigError(
            f"{path} expands to more than {MAX_NODES:,} values",
            hint="use fewer YAML aliases",
        )
    return document


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


def _check_sections(
    raw: Mapping[str, Any],
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Return the sections that are right, by name, and the problems of the others."""
    sections: dict[str, Any] = {}
    problems = [
        ConfigProblem(key, "unknown key" + did_you_mean(key, Config.model_fields))
        for key in raw
        if key not in Config.model_fields
    ]
    for name, field in Config.model_fields.items():
        value = raw.get(name)
        if value is not None:
            annotation = Config.__annotations__[name]
            try:
                sections[name] = TypeAdapter(annotation).validate_python(value)
            except ValidationError as error:
                problems += explain(error, name, annotation)
        # A null is the default everywhere else; a `~` here was meant as the home folder.
        elif name == "store" and name in raw:
            problems.append(ConfigProblem(name, _NO_STORE))
        elif field.is_required():
            problems.append(ConfigProblem(name, "is required"))
        else:
            sections[name] = field.get_default()
    return sections, problems


def _leave_out_columns(sections: dict[str, Any]) -> None:
    """Where a config maps no columns, leave out of the usual ones what its operation does not take."""
    source = sections.get("input")
    request = sections.get("request")
    if source is None or request is None or "columns" in source.model_fields_set:
        return
    operation = requested_operation(request)
    columns = dict(source.columns)
    if operation.images.most == 0:
        del columns["image_url"]
    if operation.prompt is None:
        del columns["prompt"]
    if columns != source.columns:
        sections["input"] = source.model_copy(update={"columns": columns})


def _find_unsupported(sections: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    """Yield a problem for each key of `NOT_YET` with a value that this version can't honour."""
    for path, supported in NOT_YET.items():
        name, _, key = path.partition(".")
        if name not in sections:
            continue
        value = getattr(sections[name], key) if key else sections[name]
        if value in supported:
            continue
        # A URL may hold a password.
        shown = "this URL" if "://" in str(value) else repr(value)
        choices = " or ".join(map(repr, supported))
        message = f"{shown} is not supported by this version; it supports {choices}"
        yield ConfigProblem(path, message)


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two resolved configs, one line a key: `request.params.scale: 3 → 4`."""
    old = flatten(before)
    new = flatten(after)
    return [
        f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
