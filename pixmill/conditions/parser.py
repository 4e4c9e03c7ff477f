"""Reading a condition: text in, a checked syntax tree out, or a ValueError that says what is wrong and where.

Python's own parser reads the structure. It sees the text with every literal blanked and every name replaced by
one of the same length, so that `controlnet_args.0.strength`, `class` and names in backticks are names, and
positions stay; afterwards the tree gets the real ones back. Whatever is not listed here is refused.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_CHARACTERS = 2000
MAX_DEPTH = 40

TEXT_TESTS = ("contains", "startswith", "endswith", "matches")
VALUE_FUNCTIONS = ("len", "lower")
ALLOWED = (
    "allowed are names, numbers, texts, comparisons, `in [...]`, `is None`, and/or/not, + - * / %, "
    f"{', '.join((*VALUE_FUNCTIONS, *TEXT_TESTS))}"
)

_TOKEN = re.compile(
    r"""(?P<text>"(?:\\"|[^"\\]|\\(?!"))*"|'(?:\\'|[^'\\]|\\(?!'))*')
      | (?P<name>`[^`]+`|[^\W\d]\w*+(?:\.\w+)*+(?!["']))
      | (?P<gap>\s+)
      | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?!\w)
      | [<>=!]=|<(?!<)|>(?!>)|\*(?!\*)|/(?!/)|[-+%(),\[\]]""",
    re.VERBOSE,
)
_INSTEAD = {
    "=": "compare with ==",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
}
_WORDS = {
    word: word for word in ("and", "or", "not", "in", "is", "True", "False", "None")
}
_WORDS |= {"true": "True", "false": "False", "null": "None"}  # a config is YAML


class Source(NamedTuple):
    """A condition as Python may see it (`masked`), and the names and literals at their positions in `text`."""

    text: str
    masked: str
    names: dict[int, str]
    literals: dict[int, tuple[int, str]]

    def mistake(self, at: int, reason: str) -> ValueError:
        """Return the error about what stands at position `at`."""
        shown = self.text[at : at + 30]
        return ValueError(
            f"{reason} (character {at + 1}: {shown})"
            if shown
            else f"{reason} (at its end)"
        )


def read(text: str) -> ast.expr:
    """Return the checked tree of the condition `text`, or raise ValueError."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"has {len(text):,} characters; a condition has {MAX_CHARACTERS:,} at most"
        )
    source = _masked(text)
    try:
        tree = ast.parse(source.masked, mode="eval").body
    except SyntaxError as error:
        at = (
            error.offset - 1 if error.offset else len(text)
        )  # 0: the end came too early
        raise source.mistake(at, f"is not a condition; {ALLOWED}") from None
    except (RecursionError, MemoryError):
        raise ValueError("is nested too deeply") from None
    _bound_depth(tree)
    _restore(tree, source)
    _check_truth(tree, source)
    return tree


def _masked(text: str) -> Source:
    source = Source(text, "", {}, {})
    parts: list[str] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise source.mistake(at, _unexpected(text[at]))
        parts.append(_mask(token, source))
        at = token.end()
    return source._replace(masked="".join(parts))


def _unexpected(character: str) -> str:
    if character in "\"'`":
        return f"a {character} is not closed"
    return f"{character!r} has no meaning here; {_INSTEAD.get(character, ALLOWED)}"


def _mask(token: re.Match[str], source: Source) -> str:
    """Note what the token stands for, and return something of its length that Python reads likewise."""
    found = token[0]
    start = token.start()
    if token["gap"]:
        return " " * len(found)
    if token["text"]:
        quote = found[0]
        source.literals[start] = (token.end(), found[1:-1].replace(f"\\{quote}", quote))
        return f'"{"s" * (len(found) - 2)}"'
    if token["name"]:
        source.names[start] = found.strip("`")
        return _WORDS.get(found, "_" * len(found))
    return found


def _bound_depth(tree: ast.expr) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ValueError("is nested too deeply; split it into several conditions")


def _restore(tree: ast.expr, source: Source) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = source.names[node.col_offset]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            end, node.value = source.literals[node.col_offset]
            if end != node.end_col_offset:
                raise source.mistake(
                    end, "a comma or an operator is missing between two texts"
                )


def _check_truth(node: ast.expr, source: Source) -> None:
    """Refuse what can't be true or false."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check_truth(part, source)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _check_truth(part, source)
        case ast.Compare():
            _check_comparison(node, source)
        case ast.Call() if _function(node) not in VALUE_FUNCTIONS:
            _check_call(node, source)
        case ast.Name() | ast.Constant(value=bool()):
            pass
        case ast.Constant() | ast.BinOp() | ast.UnaryOp() | ast.Call():
            raise source.mistake(
                node.col_offset, "is neither true nor false; compare it with something"
            )
        case _:
            raise source.mistake(node.col_offset, f"is not allowed; {ALLOWED}")


def _check_value(node: ast.expr, source: Source) -> None:
    """Refuse what is no value to compare or to calculate with."""
    match node:
        case ast.Name():
            pass
        case ast.Constant():
            _check_literal(node, source)
        case ast.BinOp(left=left, right=right):
            _check_number(left, source)
            _check_number(right, source)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            _check_number(part, source)
        case ast.Call():
            _check_call(node, source)
        case _:
            _check_truth(node, source)


def _check_number(node: ast.expr, source: Source) -> None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bool | None):
        raise source.mistake(node.col_offset, "is not a number to calculate with")
    _check_value(node, source)


def _check_literal(node: ast.expr, source: Source) -> None:
    match node:
        case ast.UnaryOp(
            op=ast.USub() | ast.UAdd(),
            operand=ast.Constant(value=int() | float()) as number,
        ):
            _check_literal(number, source)
        case ast.Constant(value=int() | float() as value):
            if abs(value) >= (2**63 if isinstance(value, int) else float("inf")):
                raise source.mistake(node.col_offset, "is too large a number")
        case ast.Constant(value=str() | None):
            pass
        case _:
            raise source.mistake(
                node.col_offset, "must be a number, a text, True, False or None"
            )


def _check_comparison(node: ast.Compare, source: Source) -> None:
    left = node.left
    _check_value(left, source)
    for op, right in zip(node.ops, node.comparators, strict=True):
        match op, right:
            case ast.In() | ast.NotIn(), ast.List(elts=items) | ast.Tuple(
                elts=items
            ) if items:
                for item in items:
                    _check_literal(item, source)
            case ast.In() | ast.NotIn(), _:
                raise source.mistake(
                    right.col_offset,
                    '`in` takes a list such as ["ink", "oil"] with something in it',
                )
            case ast.Is() | ast.IsNot(), _ if not is_none(right):
                raise source.mistake(
                    right.col_offset, "`is` is for None only; compare values with =="
                )
            case ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE(), _ if is_none(
                left
            ) or is_none(right):
                raise source.mistake(
                    left.col_offset,
                    "None is neither less nor more than anything; write `is None`",
                )
            case _:
                _check_value(right, source)
        left = right


def _check_call(node: ast.Call, source: Source) -> None:
    name = _function(node)
    if name not in (*TEXT_TESTS, *VALUE_FUNCTIONS):
        raise source.mistake(
            node.col_offset, f"is no function of conditions; {ALLOWED}"
        )
    usage = f'{name}(column, "text")' if name in TEXT_TESTS else f"{name}(column)"
    if node.keywords or len(node.args) != usage.count(",") + 1:
        raise source.mistake(node.col_offset, f"is used as {usage}")
    _check_value(node.args[0], source)
    for pattern in node.args[1:]:
        if not (isinstance(pattern, ast.Constant) and isinstance(pattern.value, str)):
            raise source.mistake(
                pattern.col_offset, f"must be a text in quotes: {usage}"
            )
        if name == "matches":
            _check_regex(pattern.value, pattern, source)


def _function(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _check_regex(regex: str, node: ast.expr, source: Source) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.scalar(""), regex)
    except pa.ArrowInvalid as error:
        raise source.mistake(
            node.col_offset, f"is not a regular expression of RE2: {error}"
        ) from None


def is_none(node: ast.expr) -> bool:
    """Whether `node` is the literal None."""
    return isinstance(node, ast.Constant) and node.value is None


def names_in(tree: ast.expr) -> Iterator[str]:
    """Return the columns and axes that a checked tree reads."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions:
            yield node.id
