"""Reading a config: YAML and overrides in, a checked `Config` out, every mistake reported at once.

Each section is checked by itself, so that a mistake in one does not hide those in another; then come the
checks that need several sections. A key that this version can't honour yet is a mistake, never ignored.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pixmill.config.bare_words import read_words
from pixmill.config.inheritance import read_with_bases
from pixmill.config.merging import merge_sections
from pixmill.config.model import Config
from pixmill.config.overrides import apply_overrides
from pixmill.config.problems import ConfigProblem, explain
from pixmill.config.python_values import to_plain
from pixmill.config.validation import check_together
from pixmill.config.variables import expand_variables
from pixmill.errors import ConfigError
from pixmill.local_paths import given_path
from pixmill.request.model import flatten, is_short_form, leave_out_filled
from pixmill.request.registry import did_you_mean, requested_operation

NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "execution.engine": ("threads", "dask"),
}
"""Keys of the contract that this version reads but does not honour, with the values that it does."""

_NO_SECTIONS: Mapping[str, Any] = {}

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
        load_config("pets.yaml", limits={"qps": 4}, sweep={"scale": [2, 3]})

    Raises ConfigError with every mistake and its path.
    """
    if isinstance(config, str | Path):
        raw = read_with_bases(given_path(config))
        name = str(config)
    else:
        raw = to_plain(config)
        name = "the config"
    raw = merge_sections(raw, to_plain(sections))
    return _check(name, *apply_overrides(raw, overrides))


def _check(name: str, raw: dict[str, Any], problems: list[ConfigProblem]) -> Config:
    """Return the config with the keys `raw`, which is called `name`. Raises ConfigError with these and all
    other problems.
    """
    raw, unset = expand_variables(raw)
    # Section by section, so that a mistake in one does not hide those in the others.
    sections, found = _check_sections(read_words(raw))
    _leave_out_columns(sections)
    found += _find_unsupported(sections)
    found += check_together(sections)

    problems += unset
    # What holds a variable that could not be filled in is not reported as a wrong value besides.
    reported = {problem.path for problem in unset}
    is_short = is_short_form(raw.get("sweep"))
    for problem in found:
        if problem.path in reported:
            continue
        path = problem.path
        if is_short:
            # As it is written, not as what it is short for.
            path = path.replace("sweep.groups.0.grid", "sweep", 1)
        problems.append(problem._replace(path=path))

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


def _check_sections(
    raw: Mapping[str, Any],
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Return the sections that are right, by name, and the problems of the others."""
    sections: dict[str, Any] = {}
    problems = [
        ConfigProblem(key, f"unknown key{_suggest_key(key)}")
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


def _suggest_key(key: str) -> str:
    """Suggest what an unknown key at the top of a config means: a section, or a key that lacks its section."""
    if suggestion := did_you_mean(key, Config.model_fields):
        return suggestion
    sections = {
        inner: f"{name}.{inner}"
        for name, field in Config.model_fields.items()
        for inner in getattr(field.annotation, "model_fields", ())
    }
    close = get_close_matches(key, sections, n=1, cutoff=0.8)
    return f"; did you mean `{sections[close[0]]}`?" if close else ""


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
    all_before = flatten(before)
    all_after = flatten(after)
    old = leave_out_filled(all_before, all_after)
    new = leave_out_filled(all_after, all_before)
    return [
        f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
