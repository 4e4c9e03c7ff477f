"""The YAML of a config: read into plain values, with the words in it that YAML takes for something else.

YAML 1.1 reads a bare `on` as true, `16:9` as the number 969, `010` as 8 and `2026-10-01` as a date. Which of them were
meant as texts is not decided here: `Word` says where they are, and what became of them.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

Place = tuple[str, ...]
"""Keys and list positions that lead to a value."""

_BOOLEANS = re.compile(r"yes|no|on|off", re.IGNORECASE)
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_UNUSUAL = re.compile(r"[-+]?0[xb].*|.*_.*", re.IGNORECASE)


class Word(NamedTuple):
    """A bare word of a config that YAML reads as something else than its text."""

    place: Place
    """Where it is, its own name included where it is a key."""
    text: str
    """As it is written."""
    reading: str
    """What YAML makes of it, in words for people."""
    kind: str
    """`truth` (on, off, yes, no), `number` (0x1F, 1_000), or `surprise`, which nobody means as YAML reads it."""
    is_key: bool = False
    """Whether it is the key of a mapping rather than a value."""


class Document(NamedTuple):
    """What a YAML text holds, and the words in it that may have been meant as texts."""

    value: Any
    words: tuple[Word, ...]


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that is duplicated in a mapping is a mistake, not the last one's win."""


def _mapping_without_duplicates(
    loader: _Loader, node: yaml.MappingNode
) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = getattr(key_node, "value", None)
        if isinstance(key, str) and key != "<<" and key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} is duplicated",
                problem_mark=key_node.start_mark,
            )
        if isinstance(key, str):
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)


def _as_written(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


# A bare `=` and a `<<` that is no key have a meaning in YAML 1.1 that nothing gives them here.
_Loader.add_constructor("tag:yaml.org,2002:value", _as_written)
_Loader.add_constructor("tag:yaml.org,2002:merge", _as_written)


def read_yaml(text: str, place: Place = ()) -> Document:
    """Return what `text` holds, which is at `place` of a config.

    Raises yaml.YAMLError, ValueError or RecursionError where it is not valid YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, ())
        # Before it is constructed, which replaces `<<` by what it brings.
        words = tuple(_words(node, place, set()))
        return Document(loader.construct_document(node), words)
    finally:
        loader.dispose()


def describe_yaml_error(error: Exception) -> str:
    """Say what is wrong with a YAML text, and where: `line 4, column 1: could not find expected ':'`."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    described = ", ".join(filter(None, (error.context, error.problem)))
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return described
    return f"line {mark.line + 1}, column {mark.column + 1}: {described}"


def _words(node: yaml.Node, place: Place, seen: set[int]) -> Iterator[Word]:
    """Yield the words below `node`, which is at `place`; of what several aliases name only once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            # `<<` puts the keys of its value in its own place.
            merges = key.tag == "tag:yaml.org,2002:merge"
            below = place if merges else (*place, str(key.value))
            if not merges and (word := _word(key, below)):
                yield word._replace(is_key=True)
            yield from _words(value, below, seen)
    elif isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            yield from _words(item, (*place, str(at)), seen)
    elif word := _word(node, place):
        yield word


def _word(node: yaml.Node, place: Place) -> Word | None:
    """Return the word that a bare scalar is; `None` for what YAML reads as everybody does."""
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return None
    text = node.value
    kind = _kind(node.tag.rpartition(":")[2], text)
    return Word(place, text, _reading(node), kind) if kind else None


def _kind(tag: str, text: str) -> str | None:
    if tag == "timestamp":
        return "surprise"
    if tag == "bool":
        return "truth" if _BOOLEANS.fullmatch(text) else None
    if tag not in ("int", "float"):
        return None
    if ":" in text or (tag == "int" and _OCTAL.fullmatch(text)):
        return "surprise"
    return "number" if _UNUSUAL.fullmatch(text) else None


def _reading(node: yaml.ScalarNode) -> str:
    tag = node.tag.rpartition(":")[2]
    if tag == "timestamp":
        return "a date"
    constructor = yaml.constructor.SafeConstructor()
    value = constructor.construct_object(node)
    return str(value).lower() if tag == "bool" else f"the number {value}"
