"""Prompt templates: literal text, columns of the row and variables of the sweep, joined for a whole batch at once."""

import string
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.arrow_text import in_nfc, is_blank
from pixmill.errors import TableError
from pixmill.text import normalized


class Template(NamedTuple):
    """A prompt as (literal, placeholder) pieces. A placeholder is a variable of the sweep or a column."""

    pieces: tuple[tuple[str, str | None], ...]
    variables: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, in their order."""
        return tuple(
            name for _, name in self.pieces if name and name not in self.variables
        )

    def fill(
        self, texts: Mapping[str, pa.Array], values: Mapping[str, str], count: int
    ) -> pa.Array:
        """Return the prompts of `count` rows in Unicode NFC, `values` standing for the variables."""
        parts: list[Any] = []
        for literal, name in self.pieces:
            parts += [pa.scalar(literal)] if literal else []
            if name:
                parts += [
                    pa.scalar(values[name]) if name in self.variables else texts[name]
                ]
        if not any(isinstance(part, pa.Array) for part in parts):
            return pa.repeat(normalized("".join(part.as_py() for part in parts)), count)
        return in_nfc(_joined(parts))

    def empty_places(
        self, texts: Mapping[str, pa.Array], count: int
    ) -> NDArray[np.bool_]:
        """Mark those of `count` rows in which a column that it reads, among other text, is missing or blank."""
        empty = np.zeros(count, np.bool_)
        if len(self.pieces) > 1 or self.pieces[0][0]:
            for name in self.columns:
                empty |= is_blank(texts[name]).to_numpy(zero_copy_only=False)
        return empty

    def cells(self, texts: Mapping[str, pa.Array]) -> pa.Array | None:
        """The cells that it reads, joined: where all are blank, the prompt says nothing of its row."""
        cells = [texts[name] for name in self.columns]
        return _joined(cells) if cells else None


def parse_template(
    text: str | None, prompt_column: str | None, variables: Iterable[str]
) -> Template:
    """Return `request.prompt` as a template, without one the mapped column. Plain names only: a prompt runs no code.

    Raises TableError for anything but a plain name in a placeholder.
    """
    if text is None:
        return Template((("", prompt_column),))
    pieces = []
    for literal, name, spec, conversion in string.Formatter().parse(text):
        if name is not None and (not name or spec or conversion):
            raise TableError(
                f"request.prompt holds {{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}",
                hint="a placeholder is the plain name of a column, such as {text}; write {{ and }} for braces",
            )
        pieces.append((normalized(literal), name))
    return Template(tuple(pieces), frozenset(variables))


def _joined(parts: list[Any]) -> pa.Array:
    return pc.binary_join_element_wise(
        *parts, pa.scalar(""), null_handling="replace", null_replacement=""
    )
