"""Mistakes in a config, each with its path: what pydantic found, in words for people."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import ValidationError

from pixmill.request.registry import did_you_mean


class ConfigProblem(tuple[str, str]):
    """One thing that is wrong with a config: (dotted path, what is wrong)."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"  {self[0]}: {self[1]}"


def explained(
    error: ValidationError, prefix: str, model: Any = None
) -> list[ConfigProblem]:
    """Return one mistake per path; of the several ways in which a union can fail, the first speaks."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        parts = _path(problem)
        path = ".".join([prefix, *parts])
        inside = any(known.startswith(path + ".") for known in problems)
        if not (
            inside and problem["type"] == "too_short"
        ):  # its items were wrong, so pydantic counted none
            problems.setdefault(path, _wording(problem, model, parts))
    return [ConfigProblem(item) for item in problems.items()]


def _path(problem: Any) -> list[str]:
    place = problem["loc"]
    # The last part of an unknown key's path is the user's own word, whatever it looks like.
    own = len(place) - 1 if problem["type"] == "extra_forbidden" else len(place)
    return [
        str(part)
        for at, part in enumerate(place)
        if at == own or not _is_union_branch(part)
    ]


def _is_union_branch(part: int | str) -> bool:
    """Whether pydantic put the name of a union's member into the path (`int`, `literal['auto']`, …)."""
    return isinstance(part, str) and (
        part in ("str", "int", "constrained-int") or part.endswith(("]", ")"))
    )


def _wording(problem: Any, model: Any, parts: Sequence[str]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, parts[:-1])
        warning = (
            "; keys and passwords never stand in a config"
            if "key" in parts[-1] or "secret" in parts[-1]
            else ""
        )
        return "unknown key" + did_you_mean(parts[-1], known) + warning
    if problem["type"] == "missing":
        return "is required"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = problem["input"]
    if problem["type"] == "string_type" and (quoted := _in_quotes(got)):
        return f"must be a text, and YAML reads it as {quoted}"
    secret = "://" in str(got) or "key" in "".join(
        parts[-1:]
    )  # a URL may hold a password
    plain = (
        isinstance(got, str | int | float | bool) and len(repr(got)) < 60 and not secret
    )
    shown = f" (got {got!r})" if plain else ""
    return message[0].lower() + message[1:] + shown


def _in_quotes(got: Any) -> str | None:
    """Say what YAML made of a text without quotes, and how it is written; `None` for what was meant as it is."""
    if isinstance(got, Mapping):
        names = [str(name) for name, value in got.items() if value is None]
        example = f"{{{names[0]}}}" if len(names) == len(got) == 1 else "{name}"
        return f'a mapping: a template that begins with {{ stands in quotes, such as "{example}"'
    if isinstance(got, list | tuple):
        return "a list: a text that begins with [ stands in quotes"
    if isinstance(got, bool):
        return f"{str(got).lower()}: write it in quotes"
    if isinstance(got, int | float):
        return f"the number {got}: write it in quotes"
    return "a date: write it in quotes" if isinstance(got, date) else None


def _fields_at(model: Any, parts: Sequence[str]) -> Mapping[str, Any]:
    for part in parts:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else model
    return getattr(model, "model_fields", {})
