"""The YAML of a config, read into plain values: bare words are the texts that were typed.

YAML 1.1, which PyYAML reads, takes a bare `on` for true, `16:9` for the number 969, `010` for 8 and
`2026-10-01` for a date. Here only `true`, `false`, `null` and ordinary numbers are anything but
text, as in YAML 1.2 and in editors. What a field may still mean by such a word is in a `BareWord`.
"""

import re
from typing import Any, NamedTuple

import yaml

_WORD = "!bare-word"
_MEANINGS = (
    ("tag:yaml.org,2002:bool", "tTfF", r"true|True|TRUE|false|False|FALSE"),
    ("tag:yaml.org,2002:null", "~nN", r"~|null|Null|NULL"),
    ("tag:yaml.org,2002:merge", "<", r"<<"),
    # Without leading zeros: 007 is a SKU or a postcode, and YAML's 8 for 010 is nobody's.
    ("tag:yaml.org,2002:int", "-+0123456789", r"[-+]?(?:0|[1-9][0-9]*)"),
    # With a point, as PyYAML has it: 1e3 is text, which number fields read as 1000.
    (
        "tag:yaml.org,2002:float",
        "-+.0123456789",
        r"(?:[-+]?[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    ),
    (_WORD, "yYnNoO", r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"),
    (
        _WORD,
        "-+.0123456789",
        r"[-+]?(?:[1-9][0-9]*_[0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)"
        r"|(?=.*_)(?:[-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?",
    ),
)
"""What a bare word may mean: a tag, the characters with which it begins, and its pattern. The first one that fits."""


class BareWord(str):
    """A word without quotes that some fields read as a truth value or a number: `on`, `1_000`, `0x1F`."""

    reading: bool | int | float
    """What YAML 1.1 makes of it."""

    def __new__(cls, text: str, reading: bool | int | float) -> "BareWord":
        """Return the text with its reading."""
        word = super().__new__(cls, text)
        word.reading = reading
        return word

    @property
    def is_number(self) -> bool:
        """Whether it reads as a number; else it does as a truth value."""
        return not isinstance(self.reading, bool)


class _Loader(yaml.SafeLoader):
    """The safe loader with fewer meanings of bare words; a duplicated key is a mistake, not the last one's win."""

    def construct_unique_keys(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """Return a mapping; a key that is there twice is a mistake."""
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
        self.flatten_mapping(node)
        return self.construct_mapping(node, deep=True)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Return a word as it is written."""
        return str(self.construct_scalar(node))

    def construct_bare_word(self, node: yaml.ScalarNode) -> str:
        """Return a word with what YAML 1.1 makes of it; as text where that is nothing."""
        text = str(node.value)
        if text.lower() in self.bool_values:
            return BareWord(text, self.bool_values[text.lower()])
        is_float = "." in text
        construct = self.construct_yaml_float if is_float else self.construct_yaml_int
        try:
            return BareWord(text, construct(node))
        except ValueError:
            # `0x_` looks like a number and is not one.
            return text


# None of PyYAML's own.
_Loader.yaml_implicit_resolvers = {}
for _tag, _first, _pattern in _MEANINGS:
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), _first)
# Where nothing is written.
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("$"), [""])

_Loader.add_constructor(_WORD, _Loader.construct_bare_word)
_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_unique_keys
)
# A `<<` that is not a key has no meaning of its own.
_Loader.add_constructor("tag:yaml.org,2002:merge", _Loader.construct_text)


def read_yaml(text: str) -> Any:
    """Return what `text` holds: plain values, and a `BareWord` for each word that a field may read as another value.

    Raises yaml.YAMLError, ValueError or RecursionError where it is not valid YAML.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


_QUOTES = (
    "text that begins with one of {[*&!|>%@` or contains `: ` or ` #` must be in quotes"
)
_ALIKE = "lines of one section begin in one column, indented with spaces"
_IN_PLAIN_WORDS = (
    (r"expected <block end>", "the line is not indented like its neighbours", _ALIKE),
    (r"character '\\t'", "a tab indents the line", _ALIKE),
    (
        r"mapping values are not allowed",
        "this `:` is in the middle of a value, or its line is indented deeper than its neighbours",
        f"{_QUOTES}; {_ALIKE}",
    ),
    (
        r"quoted scalar",
        "a quotation mark is not closed",
        "it begins with a quotation mark, and ends with the same one",
    ),
    (
        r"flow (mapping|sequence)",
        "a bracket is not closed, or a comma is missing before this",
        "`{a: 1, b: 2}` and `[1, 2]` are written like this",
    ),
)
"""By what PyYAML says: what it means by that, and how to fix it."""


class YamlMistake(NamedTuple):
    """What is wrong with a YAML text."""

    text: str
    """Where it is, and what: `line 4, column 1: a tab indents the line`."""

    hint: str


def describe_yaml_error(error: Exception) -> YamlMistake:
    """Return what `read_yaml` raised in words for whoever wrote the text."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return YamlMistake(" ".join(str(error).split()), _QUOTES)
    said = ", ".join(filter(None, (error.context, error.problem)))
    hint = _QUOTES
    for pattern, meaning, remedy in _IN_PLAIN_WORDS:
        if re.search(pattern, said):
            said = meaning
            hint = remedy
            break
    mark = error.problem_mark or error.context_mark
    if hint == _ALIKE and mark:
        begin = mark.pointer - mark.column
        before = (mark.buffer or "")[begin : mark.pointer]
        if before.strip():
            # `prompt: {text}, in oil`: what is in braces is a value of its own.
            said = "this follows a value that has ended already"
            hint = _QUOTES
    if mark:
        said = f"line {mark.line + 1}, column {mark.column + 1}: {said}"
    return YamlMistake(said, hint)
