"""Where a bug is planted: found by its tokens inside of a function, however that is formatted."""

import ast
import io
import tokenize
from typing import NamedTuple

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Piece(NamedTuple):
    """A token of code and where it begins and ends: line, counted from 1, and column."""

    text: str
    begin: tuple[int, int]
    end: tuple[int, int]


def plant(source: str, function: str, old: str, new: str) -> str:
    """Return `source` with `new` instead of `old` inside of `function`.

    `function` is a qualified name, such as `Claims.claim`, and "" the module. Raises ValueError where `old` is not
    there exactly once.
    """
    first, last = _lines_of(source, function)
    inside = [piece for piece in _pieces(source) if first <= piece.begin[0] <= last]
    wanted = [piece.text for piece in _pieces(old)]
    texts = [piece.text for piece in inside]
    starts = [
        at
        for at in range(len(texts) - len(wanted) + 1)
        if texts[at : at + len(wanted)] == wanted
    ]
    if len(starts) != 1:
        where = function or "the module"
        raise ValueError(f"{where} has it {len(starts)} times, not once: {old}")
    begin = _offset(source, inside[starts[0]].begin)
    end = _offset(source, inside[starts[0] + len(wanted) - 1].end)
    return source[:begin] + new + source[end:]


def _lines_of(source: str, function: str) -> tuple[int, int]:
    """Return the first and the last line of a function or class by its qualified name."""
    scope: ast.AST = ast.parse(source)
    if not function:
        return 1, source.count("\n") + 1
    for name in function.split("."):
        found = [
            node
            for node in ast.iter_child_nodes(scope)
            if getattr(node, "name", None) == name
        ]
        if len(found) != 1:
            raise ValueError(f"{function}: {name} is there {len(found)} times")
        scope = found[0]
    return scope.lineno, scope.end_lineno or 0  # type: ignore[attr-defined]


def _pieces(code: str) -> list[Piece]:
    """Return the tokens of `code`, a fragment maybe, without layout and without commas before a closing bracket."""
    pieces: list[Piece] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type in _LAYOUT:
                continue
            if token.string in ")]}" and pieces and pieces[-1].text == ",":
                pieces.pop()
            pieces.append(Piece(token.string, token.start, token.end))
    except tokenize.TokenError:  # the end of a fragment, inside of its brackets
        pass
    if pieces and pieces[-1].text == ",":
        pieces.pop()
    return pieces


def _offset(source: str, place: tuple[int, int]) -> int:
    line, column = place
    return sum(map(len, source.splitlines(keepends=True)[: line - 1])) + column
