"""What pydantic finds wrong with a value, in words that follow the value's path:

`scale: must be at most 30`.
"""

from typing import Any

from pydantic import ValidationError

_BOUNDS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} value(s)",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} character(s)",
    "literal_error": "must be {expected}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "extra_forbidden": "unknown field",
}
"""What pydantic says of a value that is not allowed, by the type of its error."""

_TYPES = {
    "string": "must be text",
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "finite": "must be a finite number",
    "dict": "must be a mapping, written {key: value}",
    "mapping": "must be a mapping, written {key: value}",
    "model": "must be a mapping, written {key: value}",
}
"""What pydantic says of a value of a wrong type, by the first word of its error's type
(`int_parsing`, `int_type`).
"""


def describe_first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the dotted path of the first problem, and what is wrong there."""
    problem = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, problem["loc"])), describe_problem(problem)


def describe_problem(problem: Any) -> str:
    """Say what one of `ValidationError.errors()` is about."""
    kind = problem["type"]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format_map(problem.get("ctx", {}))
    if kind.endswith(("_type", "_parsing", "_from_float", "_number")):
        described = _TYPES.get(kind.partition("_")[0])
        if described:
            return described
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]
