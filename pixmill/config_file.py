"""Reading a config: YAML and overrides in, a checked `Config` out, every mistake reported at once.

Each section is checked by itself, so that a mistake in one does not hide those in another; then come the
checks that need several sections. A key that this version can't honour yet is a mistake, never ignored.
"""

import logging
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pixmill.canonical import canonical_json
from pixmill.config import Config, Input, Request, flatten
from pixmill.errors import ConfigError
from pixmill.operations import (
    OPERATIONS,
    RESERVED_FIELDS,
    did_you_mean,
    image_index_problem,
    resolve_parameters,
    unknown_field,
)

log = logging.getLogger(__name__)

MAX_NODES = 100_000
"""More nodes than a config can need: nested YAML aliases multiply into billions (a "YAML bomb")."""

NOT_YET: Mapping[str, tuple[Any, ...]] = {
    "ledger": (None,),
    "input.images": ("url",),
    "input.where": (None,),
    "sweep.groups": ((),),
    "sweep.exclude": ((),),
    "sweep.only": ((),),
    "seed.policy": ("per_row", "fixed", "column"),
    "seed.replicates": (1,),
    "retry.rerolls": (2,),
    "retry.codes": ({},),
    "budget.max_cost_per_month": (None,),
    "in_doubt": ("hold",),
    "execution.engine": ("threads",),
    "execution.address": (None,),
    "execution.workers": (2,),
    "output.images": ("download", "url"),
}
"""Keys of the contract that this version parses but does not honour, with the values that it does."""


class Mistake(tuple[str, str]):
    """One thing wrong with a config: (dotted path, what is wrong)."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"  {self[0]}: {self[1]}"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config at `path`, apply `overrides` (`a.b=value`, the value in YAML) and check it.

    Raises ConfigError with every mistake and its path.
    """
    raw = _read_yaml(Path(path))
    mistakes = [mistake for override in overrides for mistake in _override(raw, override)]
    sections, found = _check_sections(raw)
    mistakes += found
    mistakes += _not_yet(sections)
    mistakes += _check_together(sections)
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
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
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
        raise ConfigError(f"{path} unfolds to more than {MAX_NODES:,} values", hint="use fewer YAML aliases")
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
    if keys[:2] == ["input", "columns"]:  # what follows is one key: a request field has dots of its own
        keys = [*keys[:2], ".".join(keys[2:])]
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
        _place(raw, keys, value)
    except (yaml.YAMLError, ValueError):
        yield Mistake((f"--set {override}", "the value is not valid YAML"))
    except (IndexError, TypeError):
        yield Mistake((f"--set {override}", "the path leads past the end of a list or into a plain value"))


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
            mistakes += _explain(error, name, annotation)
    return sections, mistakes


def _explain(error: ValidationError, prefix: str, model: Any = None) -> list[Mistake]:
    """Return one mistake per path; of the several ways in which a union can fail, the first speaks."""
    mistakes: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        parts = [str(part) for part in problem["loc"] if not _is_union_branch(part)]
        path = ".".join([prefix, *parts])
        inside = any(known.startswith(path + ".") for known in mistakes)
        if not (inside and problem["type"] == "too_short"):  # its items were wrong, so pydantic counted none
            mistakes.setdefault(path, _wording(problem, model, parts))
    return [Mistake(item) for item in mistakes.items()]


def _is_union_branch(part: int | str) -> bool:
    """Whether pydantic put the name of a union's member into the path (`int`, `literal['auto']`, …)."""
    return isinstance(part, str) and (part in ("str", "int", "constrained-int") or part.endswith(("]", ")")))


def _wording(problem: Any, model: Any, parts: Sequence[str]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, parts[:-1])
        warning = "; keys and passwords never stand in a config" if "key" in parts[-1] or "secret" in parts[-1] else ""
        return "unknown key" + did_you_mean(parts[-1], known) + warning
    if problem["type"] == "missing":
        return "is required"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = problem["input"]
    secret = "://" in str(got) or "key" in "".join(parts[-1:])  # a URL may hold a password
    plain = isinstance(got, str | int | float | bool) and len(repr(got)) < 60 and not secret
    shown = f" (got {got!r})" if plain else ""
    return message[0].lower() + message[1:] + shown


def _fields_at(model: Any, parts: Sequence[str]) -> Mapping[str, Any]:
    for part in parts:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else model
    return getattr(model, "model_fields", {})


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
    if "limits" in sections and sections["limits"].concurrency == "auto":
        yield Mistake(("limits.concurrency", "'auto' is not supported by this version; give a number"))
    for path, text in (
        ("store", sections.get("store")),
        ("input.path", getattr(sections.get("input"), "path", "")),
    ):
        if isinstance(text, str) and "://" in text:
            yield Mistake((path, f"{text.partition('://')[0]}:// is not supported by this version; use a local path"))


def _check_together(sections: Mapping[str, Any]) -> Iterator[Mistake]:
    if sections.get("name") in ("images", "simulated"):
        yield Mistake(("name", f"{sections['name']!r} is a folder of the store itself"))
    if "input" in sections:
        yield from _check_input(sections["input"])
    if "request" in sections:
        yield from _check_params(sections["request"])
    if "input" in sections and "request" in sections:
        yield from _check_columns(sections["input"], sections["request"])
    if "input" in sections and "seed" in sections:
        has_column = "seed" in sections["input"].columns
        if sections["seed"].policy == "column" and not has_column:
            yield Mistake(("seed.policy", "'column' needs input.columns.seed"))
        if sections["seed"].policy != "column" and has_column:
            yield Mistake(("input.columns.seed", "is read only with seed.policy: column"))
    if "provider" in sections and sections["provider"].kind == "gateway" and not sections["provider"].base_url:
        yield Mistake(("provider.base_url", "is required for a gateway"))
    if "budget" in sections and sections["budget"].max_cost is not None and not sections["budget"].price_per_call:
        yield Mistake(("budget.max_cost", "needs budget.price_per_call, or cost can't be counted"))


def _check_input(section: Input) -> Iterator[Mistake]:
    both = {"image_url", "image_file"} & section.columns.keys()
    if len(both) != 1 or not section.image_columns:
        yield Mistake(("input.columns", "must map exactly one of image_url and image_file"))
    for role, column in section.columns.items():
        if role not in ("image_url", "image_file") and not isinstance(column, str):
            yield Mistake((f"input.columns.{role}", "must be one column; only images may be a list"))
    try:
        "".encode(section.encoding)
    except LookupError:
        yield Mistake(("input.encoding", f"{section.encoding!r} is not an encoding that Python knows"))


def _check_params(request: Request) -> Iterator[Mistake]:
    for name in sorted(RESERVED_FIELDS & request.params.keys()):
        yield Mistake((f"request.params.{name}", "is set by pixmill itself, from the row and the seed"))
    try:
        canonical_json(resolve_parameters(request.req_key, request.params))
    except ValidationError as error:
        yield from _explain(error, "request.params", OPERATIONS[request.req_key].parameters)
    except (TypeError, ValueError) as error:
        yield Mistake(("request.params", f"can't be sent as JSON: {error}"))
    if request.req_key not in OPERATIONS:
        log.warning("request.req_key %s is not one that pixmill knows: its params are not checked", request.req_key)
    if request.prompt is not None:
        try:
            list(string.Formatter().parse(request.prompt))
        except ValueError as error:
            yield Mistake(("request.prompt", f"is not a template: {error}; write {{{{ and }}}} for plain braces"))


def _check_columns(section: Input, request: Request) -> Iterator[Mistake]:
    if request.prompt is None and "prompt" not in section.columns:
        yield Mistake(("input.columns.prompt", "is required where request.prompt is no template"))
    try:
        params = resolve_parameters(request.req_key, request.params)
    except ValidationError:
        return
    for path in section.field_columns:
        problem = unknown_field(request.req_key, params, path)
        if problem:
            yield Mistake((f"input.columns.{path}", problem))
    index_problem = image_index_problem(params, len(section.image_columns))
    if index_problem and section.image_columns:
        yield Mistake(("request.params", index_problem))


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two resolved configs, one line a key: `request.params.scale: 3 → 4`."""
    old, new = flatten(before), flatten(after)
    return [
        f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
