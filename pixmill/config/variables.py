"""`${NAME}` and `${NAME:-default}` in the values of a config: environment variables, but never secrets.

Where a text is a template or goes into one, `${` is what it looks like: a dollar and a placeholder.
"""

import os
import re
from typing import Any

from pixmill.config.problems import ConfigProblem
from pixmill.config.yaml_reader import BareWord, read_yaml

Place = tuple[str, ...]

_EXPRESSION = re.compile(r"\$\{([^{}]*)\}")
_NAMED = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
# Wide on purpose: what is expanded is published in config.yaml, and a secret must never be.
_SECRET = re.compile(
    r"SECRET|PASSW|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|PGPASS", re.I
)


def expand_variables(
    config: dict[str, Any],
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Return the keys of a config with environment variables filled in, and what is wrong with some of them."""
    problems: list[ConfigProblem] = []
    expanded = {
        key: _expand(value, (str(key),), problems) for key, value in config.items()
    }
    return expanded, problems


def expand_text(text: str) -> str:
    """Return `text` with environment variables filled in. Raises ValueError with what is wrong with one."""
    return _EXPRESSION.sub(_value_of, text)


def _expand(value: Any, place: Place, problems: list[ConfigProblem]) -> Any:
    """Return `value`, which is at `place`, expanded; append to `problems` what can't be."""
    # Both are templates or fill one in: "for ${price}" has a dollar and a column.
    if place == ("request", "prompt") or place[0] == "sweep":
        return value
    if isinstance(value, dict):
        return {
            key: _expand(item, (*place, str(key)), problems)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expand(item, (*place, str(at)), problems) for at, item in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value
    try:
        text = expand_text(value)
    except ValueError as error:
        problems.append(ConfigProblem(".".join(place), str(error)))
        return value
    return _as_value(text) if _EXPRESSION.fullmatch(value) else text


def _value_of(expression: re.Match[str]) -> str:
    named = _NAMED.fullmatch(expression[1])
    if not named:
        raise ValueError(
            f"contains {expression[0]}, which is not ${{NAME}} or ${{NAME:-default}}"
        )
    name, default = named.groups()
    if _SECRET.search(name):
        raise ValueError(
            f"contains {expression[0]}, and a secret must not be in a config: "
            "provider.api_key_env and api_key_file say where a key is, PGPASSWORD is the "
            "database's own"
        )
    value = os.environ.get(name)
    # As a shell has it, a variable that is empty is like one that is not set where there is a default.
    if not value and default is not None:
        return default
    if value is None:
        raise ValueError(
            f"contains {expression[0]}, and the environment variable {name} is not set; "
            f"set it, or write ${{{name}:-default}}"
        )
    return value


def _as_value(text: str) -> Any:
    """Return what the text of a variable that is a whole value may mean: a number, true or false, null, or itself."""
    if text in ("null", "~"):
        return None
    try:
        typed = read_yaml(text)
    except Exception:
        return text
    if isinstance(typed, bool | int | float):
        return BareWord(text, typed)
    return typed if isinstance(typed, BareWord) else text
