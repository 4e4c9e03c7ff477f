"""Mistakes in a config, each with its path: what pydantic found, in words for people."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError

from pixmill.request.registry import did_you_mean, suggest_field
from pixmill.validation_messages import describe_problem

SHOWN_CHARACTERS = 60
"""A wrong value is quoted where it is shorter than this."""


class ConfigProblem(NamedTuple):
    """One thing that is wrong with a config."""

    path: str
    """The dotted path of the key, or the override as it was typed."""
    message: str
    """What is wrong, in words that follow the path."""

    def __str__(self) -> str:
        return f"  {self.path}: {self.message}"


Problems = Iterator[ConfigProblem]
"""What a check yields."""


def explain(
    error: ValidationError,
    prefix: str,
    model: Any = None,
    fields: Sequence[str] = (),
) -> list[ConfigProblem]:
    """Return one problem per path below `prefix`; `model` is what was validated, to suggest names of keys,
    of which all `fields` of a request are known by their dotted paths."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        parts = _path(problem)
        path = ".".join([prefix, *parts])
        # Where the items of a list are wrong, pydantic counts none and calls the list too short as well.
        has_wrong_items = any(known.startswith(f"{path}.") for known in problems)
        if problem["type"] == "too_short" and has_wrong_items:
            continue
        # Of the several ways in which a union can fail, the first speaks.
        problems.setdefault(path, _describe(problem, model, parts, fields))
    return [ConfigProblem(path, message) for path, message in problems.items()]


def _path(problem: Any) -> list[str]:
    """Return the keys that lead to a problem, without the names that pydantic adds for the members of a union."""
    place = problem["loc"]
    if problem["type"] == "extra_forbidden":
        # The last part is the user's own word, whatever it looks like.
        return [*_path({**problem, "type": "", "loc": place[:-1]}), str(place[-1])]
    keys = []
    for part in place:
        # pydantic puts the names of a union's members into the path: `int`, `literal['auto']`, ….
        is_member = isinstance(part, str) and (
            part in ("str", "int", "constrained-int") or part.endswith(("]", ")"))
        )
        if not is_member:
            keys.append(str(part))
    return keys


def _describe(
    problem: Any, model: Any, parts: Sequence[str], fields: Sequence[str]
) -> str:
    kind = problem["type"]
    got = problem["input"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _describe_unknown_key(model, parts, fields)
    if kind == "string_type" and (reading := _yaml_reading(got)):
        return f"must be text, and YAML reads it as {reading}"
    if kind in ("tuple_type", "list_type"):
        example = got if isinstance(got, str) and got.isidentifier() else "sku"
        message = f"must be a list, such as [{example}]"
    else:
        message = describe_problem(problem)
    # Quoted where it is short and can't be a secret: a URL may hold a password, and what is called
    # a key may be one.
    may_be_secret = "://" in str(got) or "key" in "".join(parts[-1:])
    is_plain = isinstance(got, str | int | float | bool)
    if may_be_secret or not is_plain or len(repr(got)) >= SHOWN_CHARACTERS:
        return message
    # As YAML has it.
    shown = str(got).lower() if isinstance(got, bool) else repr(got)
    return f"{message} (got {shown})"


def _describe_unknown_key(
    model: Any, parts: Sequence[str], fields: Sequence[str]
) -> str:
    name = parts[-1]
    place = parts[:-1]
    kinds = _members(model)
    for part in place:
        kinds = [inner for kind in kinds for inner in _members(_step_into(kind, part))]
    known = [field for kind in kinds for field in getattr(kind, "model_fields", ())]
    suggestion = did_you_mean(name, known)
    if fields and not place:
        suggestion = suggest_field(name, fields)
    message = "unknown key" + suggestion
    # `row_keys` is a slip, and no secret.
    if ("key" in name and "row" not in name) or "secret" in name:
        message += "; keys and passwords must not be in a config"
    return message


def _members(kind: Any) -> list[Any]:
    """Return the types that a type stands for: those of a union, or itself."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [member for each in get_args(kind) for member in _members(each)]
    return [kind]


def _step_into(kind: Any, part: str) -> Any:
    """Return the type of what is at `part` of a value of type `kind`; `None` where nothing is."""
    field = getattr(kind, "model_fields", {}).get(part)
    if field:
        return field.annotation
    inner = get_args(kind)
    if not inner:
        return None
    # A mapping has the type of its values last, and a list only one.
    is_mapping = isinstance(get_origin(kind), type) and issubclass(
        get_origin(kind), Mapping
    )
    return inner[-1] if is_mapping else inner[0]


def _yaml_reading(got: Any) -> str | None:
    """Say what YAML made of text without quotes, and how it is written; `None` for what was meant as it is."""
    if isinstance(got, Mapping):
        example = "{name}"
        # `{text}` in YAML is a mapping of the key `text` to nothing.
        if len(got) == 1 and None in got.values():
            example = f"{{{next(iter(got))}}}"
        return f'a mapping: a template that begins with {{ must be in quotes, such as "{example}"'
    if isinstance(got, list | tuple):
        return "a list: text that begins with [ must be in quotes"
    if isinstance(got, bool):
        return f"{str(got).lower()}: write it in quotes"
    if isinstance(got, int | float):
        return f"the number {got}: write it in quotes"
    if isinstance(got, date):
        return "a date: write it in quotes"
    return None
