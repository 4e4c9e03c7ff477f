"""`--set a.b=value`: an override finds its key in a config that was read, and replaces its value.

A key of a mapping may have dots of its own, as `controlnet_args.0.strength` has: it is found where it is, and new ones
are made where the config has such keys. In quotes a key is taken as it is: `input.columns."a.b"=c`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from pixmill.config.problems import ConfigProblem
from pixmill.config.yaml_reader import read_yaml
from pixmill.request.model import Sweep

_PART = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([^."']+?))\s*(?:\.|$)""")
_RULE_KEYS = ("verdict", "charged")


def apply_overrides(
    config: dict[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Return the keys of a config with `overrides` put in, one after the other, and what is wrong with them."""
    problems = []
    for override in overrides:
        try:
            config = _apply(config, override)
        except ValueError as error:
            problems.append(ConfigProblem(f"--set {override}", str(error)))
    return config, problems


def _apply(config: dict[str, Any], override: str) -> dict[str, Any]:
    """Return `config` with one override put in. Raises ValueError with what is wrong with the override."""
    path, equals, text = override.partition("=")
    parts = _split_path(path)
    if not equals or not parts:
        raise ValueError("must look like a.b=value")
    if not text.strip():
        raise ValueError("has no value; write null for none and '' for empty text")
    # As YAML, so that `--set limits.qps=2` is a number and `--set input.row_key=[id]` a list.
    try:
        value = read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError(
            "the value is not valid YAML; text may need quotes of its own"
        ) from None
    try:
        changed: dict[str, Any] = _put(config, _find_place(config, parts), value)
    except (IndexError, TypeError):
        raise ValueError(
            "the path leads past the end of a list or into a plain value"
        ) from None
    return changed


def _split_path(path: str) -> list[str]:
    """Return the keys of a dotted path, those in quotes whole; none where it is not one."""
    parts = []
    at = 0
    while at < len(path):
        found = _PART.match(path, at)
        if not found:
            return []
        parts.append(next(filter(None, found.groups())))
        at = found.end()
    return [] if path.rstrip().endswith(".") else parts


def _find_place(container: Any, parts: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that `parts` mean in `container`: as many parts at a time as make up a key that is there."""
    place: list[str] = []
    while parts:
        length = _length_of_key(container, place, parts)
        key = ".".join(parts[:length])
        container = _below(container, key)
        place.append(key)
        parts = parts[length:]
    return tuple(place)


def _length_of_key(container: Any, place: Sequence[str], parts: Sequence[str]) -> int:
    """Return how many of `parts` make up the next key, of `container`, which is at `place`."""
    if isinstance(container, dict):
        known = {str(key) for key in container}
        for length in range(len(parts), 0, -1):
            if ".".join(parts[:length]) in known:
                return length
    # Not there yet: all of them where keys are dotted paths themselves.
    match place:
        case ["input", "columns"]:
            return len(parts)
        case ["sweep", "groups", _, "grid" | "zip" | "random", *rest] if len(rest) <= 1:
            return len(parts)
        case ["sweep", "groups", _, "list", _]:
            return len(parts)
        case ["sweep"] if parts[0] not in Sweep.model_fields:
            # An axis of the short form.
            return len(parts)
        case ["retry", "codes"]:
            # The dots are those of a `req_key`: a code comes after it, and then perhaps `verdict` or `charged`.
            after = 2 if parts[-1] in _RULE_KEYS else 1
            return max(1, len(parts) - after)
        case _:
            return 1


def _below(container: Any, key: str) -> Any:
    """Return the value of `key` in `container`; `None` where it has none."""
    if isinstance(container, dict):
        # Keys of YAML may be numbers, such as the codes of `retry.codes`.
        return next(
            (value for name, value in container.items() if str(name) == key), None
        )
    if isinstance(container, list) and key.isdecimal() and int(key) < len(container):
        return container[int(key)]
    return None


def _put(container: Any, place: Sequence[str], value: Any) -> Any:
    """Return `container` with `value` at `place`; what is on the way there is copied, as an alias may share it."""
    if not place:
        return value
    key, *rest = place
    if isinstance(container, list):
        items = list(container)
        at = int(key) if key.isdecimal() else len(items)
        items[at] = _put(items[at], rest, value)
        return items
    if container is not None and not isinstance(container, dict):
        raise TypeError
    entries = dict(container or {})
    # The key as the config has it, which may be a number.
    name = next((known for known in entries if str(known) == key), key)
    return {**entries, name: _put(entries.get(name), rest, value)}
