"""Reads a condition: text in, a checked syntax tree out, or a ValueError that says what is wrong and where.

Python's own parser reads the structure. It never sees what the user wrote inside quotes or
as a name: every text literal is blanked and every name replaced by one of the same length.
So `controlnet_args.0.strength`, `class` and anything in backticks can be names, and every
position in the tree is a position in the user's text. An example:

    text      style.kind == "pen & ink" and `class` > 3
    blanked   __________ == "sssssssss" and _______ > 3
    names     {0: "style.kind", 26: "and", 30: "class"}
    texts     {14: (25, "pen & ink")}            # position: (end, value)

    tree of the blanked text        BoolOp(And, [Compare(Name("__________"), …), …])
    tree with the real ones back    BoolOp(And, [Compare(Name("style.kind"), …), …])

The names and texts are put back by the column offset that each node of the tree carries.
Python counts these in bytes of UTF-8; the blanked text is ASCII, so they are characters.
Then the tree is checked: whatever is not listed here is refused.
"""

import ast
import re
from ast import (
    BinOp,
    BoolOp,
    Call,
    Compare,
    Constant,
    Gt,
    GtE,
    In,
    Is,
    IsNot,
    List,
    Lt,
    LtE,
    Name,
    Not,
    NotIn,
    Tuple,
    UAdd,
    UnaryOp,
    USub,
)
from collections.abc import Iterator
from typing import NamedTuple

MAX_CHARACTERS = 2000
"""Longer conditions are refused: Python's parser takes time and memory for each character."""

MAX_DEPTH = 40
"""The tree is walked by recursion here and by the evaluator, far below Python's own limit."""

TEXT_TESTS = ("contains", "startswith", "endswith", "matches")
"""Functions of a value and a text that are true or false."""

VALUE_FUNCTIONS = ("len", "lower")
"""Functions of a value that give a value to compare."""

ALLOWED = (
    "allowed are names (with blanks: in backticks, `my column`), numbers, texts, "
    "comparisons, `in [...]`, `is None`, "
    f"and/or/not, + - * / %, {', '.join((*VALUE_FUNCTIONS, *TEXT_TESTS))}"
)

# The look-aheads keep out what Python would read as one token: `**`, `//`, `<<`, `>>`,
# prefixes of texts (b"…", f"…") and suffixes of numbers (1j, 3x).
_TOKEN = re.compile(
    r"""(?P<text>"(?:\\"|[^"\\]|\\(?!"))*"|'(?:\\'|[^'\\]|\\(?!'))*')
      | (?P<name>`[^`]+`|[^\W\d]\w*+(?:\.\w+)*+(?!["']))
      | (?P<gap>\s+)
      | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?!\w)
      | [<>=!]=|<(?!<)|>(?!>)|\*(?!\*)|/(?!/)|[-+%(),\[\]]""",
    re.VERBOSE,
)

# What people write who know another language.
_INSTEAD = {
    "=": "compare with ==",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
}

_KEYWORDS = {
    "and": "and",
    "or": "or",
    "not": "not",
    "in": "in",
    "is": "is",
    "True": "True",
    "False": "False",
    "None": "None",
    # A config is YAML, and these are YAML's words for the same.
    "true": "True",
    "false": "False",
    "null": "None",
}


class TextLiteral(NamedTuple):
    """A text in quotes."""

    end: int
    """The position after its closing quote."""

    value: str
    """What it says, without quotes and escapes."""


class Source(NamedTuple):
    """A condition as the user wrote it and as Python sees it; the module's docstring has an example."""

    text: str
    """What the user wrote."""

    blanked: str
    """The same, of the same length, with every name and text literal replaced."""

    names: dict[int, str]
    """The names by their position; keywords among them, which no node of the tree asks for."""

    texts: dict[int, TextLiteral]
    """The text literals by their position."""

    @classmethod
    def blank_out(cls, text: str) -> "Source":
        """Return `text` with its names and text literals replaced. Raises ValueError at the first
        character that begins no token."""
        names: dict[int, str] = {}
        texts: dict[int, TextLiteral] = {}
        parts: list[str] = []
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                if text[at] in "\"'`":
                    reason = f"a {text[at]} is not closed"
                else:
                    advice = _INSTEAD.get(text[at], ALLOWED)
                    reason = f"{text[at]!r} has no meaning here; {advice}"
                raise cls(text, "", names, texts).mistake(at, reason)
            found = token[0]
            if token["gap"]:
                # Line breaks too: a condition may be a block of YAML.
                parts.append(" " * len(found))
            elif token["text"]:
                quote = found[0]
                value = found[1:-1].replace(f"\\{quote}", quote)
                texts[at] = TextLiteral(token.end(), value)
                parts.append('"' + "s" * (len(found) - 2) + '"')
            elif token["name"]:
                names[at] = found.strip("`")
                parts.append(_KEYWORDS.get(found, "_" * len(found)))
            else:
                parts.append(found)
            at = token.end()
        return cls(text, "".join(parts), names, texts)

    def mistake(self, at: int, reason: str) -> ValueError:
        """Return the error about what is at position `at`, with the first 30 characters there."""
        shown = self.text[at : at + 30]
        if not shown:
            return ValueError(f"{reason} (at its end)")
        return ValueError(f"{reason} (character {at + 1}: {shown})")

    def restore(self, tree: ast.expr) -> None:
        """Put the real names and texts back into the tree of the blanked text. Raises ValueError."""
        for node in ast.walk(tree):
            if isinstance(node, Name):
                node.id = self.names[node.col_offset]
            elif isinstance(node, Constant) and isinstance(node.value, str):
                literal = self.texts[node.col_offset]
                # Python joins neighbouring texts, "a" "b", into one node: here it is a slip.
                if literal.end != node.end_col_offset:
                    raise self.mistake(
                        literal.end,
                        "a comma or an operator is missing between two texts",
                    )
                node.value = literal.value


def read(text: str) -> ast.expr:
    """Return the checked tree of the condition `text`, or raise ValueError."""
    tree, source = read_structure(text)
    check_truth(tree, source)
    return tree


def read_structure(text: str) -> tuple[ast.expr, Source]:
    """Return the tree of `text`, with its names and texts, before anything in it is checked.

    Raises ValueError.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"has {len(text):,} characters; a condition has {MAX_CHARACTERS:,} at most"
        )
    source = Source.blank_out(text)
    try:
        tree = ast.parse(source.blanked, mode="eval").body
    except SyntaxError as error:
        # Python's offsets begin with 1; 0 or none means that the end came too early.
        at = error.offset - 1 if error.offset else len(text)
        raise source.mistake(at, f"is not a condition; {ALLOWED}") from None
    except (RecursionError, MemoryError):
        raise ValueError("is nested too deeply") from None
    # Before anything that walks the tree by recursion.
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ValueError("is nested too deeply; split it into several conditions")
    source.restore(tree)
    return tree, source


def check_truth(node: ast.expr, source: Source) -> None:
    """Refuse what can't be true or false."""
    match node:
        case BoolOp(values=parts):
            for part in parts:
                check_truth(part, source)
        case UnaryOp(op=Not(), operand=part):
            check_truth(part, source)
        case Compare():
            _check_comparison(node, source)
        case Call() if function_name(node) not in VALUE_FUNCTIONS:
            _check_call(node, source)
        case Name() | Constant(value=bool()):
            # Whether a column holds truth values is known when its rows are there.
            pass
        case Constant() | BinOp() | UnaryOp() | Call():
            raise source.mistake(
                node.col_offset,
                "is neither true nor false; compare it with something",
            )
        case _:
            raise source.mistake(node.col_offset, f"is not allowed; {ALLOWED}")


def check_value(node: ast.expr, source: Source) -> None:
    """Refuse what is not a value to compare or to calculate with."""
    match node:
        case Name():
            pass
        case Constant():
            _check_literal(node, source)
        case BinOp(left=left, right=right):
            _check_number(left, source)
            _check_number(right, source)
        case UnaryOp(op=USub() | UAdd(), operand=part):
            _check_number(part, source)
        case Call():
            _check_call(node, source)
        case _:
            check_truth(node, source)


def _check_number(node: ast.expr, source: Source) -> None:
    if isinstance(node, Constant) and isinstance(node.value, str | bool | None):
        raise source.mistake(node.col_offset, "is not a number to calculate with")
    check_value(node, source)


def _check_literal(node: ast.expr, source: Source) -> None:
    match node:
        case UnaryOp(
            op=USub() | UAdd(),
            operand=Constant(value=int() | float()) as number,
        ):
            _check_literal(number, source)
        case Constant(value=int() | float() as value):
            # Arrow's whole numbers have 64 bits; 1e999 is read as infinity.
            limit = 2**63 if isinstance(value, int) else float("inf")
            if abs(value) >= limit:
                raise source.mistake(node.col_offset, "is too large a number")
        case Constant(value=str() | None):
            pass
        case _:
            raise source.mistake(
                node.col_offset,
                "must be a number, a text, True, False or None",
            )


def _check_comparison(node: Compare, source: Source) -> None:
    """Check each link of a chain such as `2 < scale <= 4`."""
    left = node.left
    check_value(left, source)
    for op, right in zip(node.ops, node.comparators, strict=True):
        match op:
            case In() | NotIn():
                if not isinstance(right, List | Tuple) or not right.elts:
                    raise source.mistake(
                        right.col_offset,
                        '`in` takes a list such as ["ink", "oil"] with something in it',
                    )
                for item in right.elts:
                    _check_literal(item, source)
            case Is() | IsNot() if not is_none(right):
                raise source.mistake(
                    right.col_offset,
                    "`is` is for None only; compare values with ==",
                )
            case Lt() | LtE() | Gt() | GtE() if is_none(left) or is_none(right):
                raise source.mistake(
                    left.col_offset,
                    "None is neither less nor more than anything; write `is None`",
                )
            case _:
                check_value(right, source)
        left = right


def _check_call(node: Call, source: Source) -> None:
    name = function_name(node)
    if name in TEXT_TESTS:
        usage = f'{name}(column, "text")'
        arguments = 2
    elif name in VALUE_FUNCTIONS:
        usage = f"{name}(column)"
        arguments = 1
    else:
        raise source.mistake(
            node.col_offset,
            f"is not a function of conditions; {ALLOWED}",
        )
    if node.keywords or len(node.args) != arguments:
        raise source.mistake(node.col_offset, f"is used as {usage}")
    check_value(node.args[0], source)
    for pattern in node.args[1:]:
        if not (isinstance(pattern, Constant) and isinstance(pattern.value, str)):
            raise source.mistake(
                pattern.col_offset,
                f"must be a text in quotes: {usage}",
            )
        if name == "matches":
            # Arrow takes long to import, and few conditions hold a regular expression.
            import pyarrow as pa
            import pyarrow.compute as pc

            try:
                pc.match_substring_regex(pa.scalar(""), pattern.value)
            except pa.ArrowInvalid as error:
                raise source.mistake(
                    pattern.col_offset, f"is not a regular expression of RE2: {error}"
                ) from None


def function_name(call: Call) -> str:
    """Return the name of a called function; nothing where something else is called."""
    return call.func.id if isinstance(call.func, Name) else ""


def is_none(node: ast.expr) -> bool:
    """Whether `node` is the literal None."""
    return isinstance(node, Constant) and node.value is None


def names_in(tree: ast.expr) -> Iterator[str]:
    """Return the columns and axes that a checked tree reads, a name for each place."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, Call)}
    for node in ast.walk(tree):
        if isinstance(node, Name) and id(node) not in functions:
            yield node.id
