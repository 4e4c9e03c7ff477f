"""Prompt templates: literal text, columns of the row and variables of the sweep.

They are joined for a whole batch at once.
"""

import string
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_text import in_nfc
from pixmill.errors import TableError
from pixmill.text import to_nfc


class Template(NamedTuple):
    """A prompt, cut at its placeholders.

    parse_template("a {animal} in {style}", None, ["style"])
    # pieces ("a ", "animal"), (" in ", "style"); variables {"style"}; columns ("animal",)
    """

    pieces: tuple[tuple[str, str | None], ...]
    """Pairs of a literal text and the placeholder after it, None at the end."""

    variables: frozenset[str] = frozenset()
    """Those placeholders that the sweep fills; all others are columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, in their order."""
        return tuple(
            name for _, name in self.pieces if name and name not in self.variables
        )

    def fill(
        self,
        texts: Mapping[str, pa.Array],
        values: Mapping[str, str],
        count: int,
    ) -> pa.Array:
        """Return the prompts of `count` rows in Unicode NFC, an array (count,).

        `texts` are the columns as texts (count,), `values` what the variables stand for.
        """
        parts: list[Any] = []
        for literal, name in self.pieces:
            if literal:
                parts.append(pa.scalar(literal))
            if name in self.variables:
                parts.append(pa.scalar(values[name]))
            elif name:
                parts.append(texts[name])
        if not any(isinstance(part, pa.Array) for part in parts):
            # Arrow joins scalars to a scalar, but every row has its prompt.
            prompt = "".join(part.as_py() for part in parts)
            return pa.repeat(to_nfc(prompt), count)
        return in_nfc(_join(parts))

    @property
    def has_other_text(self) -> bool:
        """Whether it is more than one placeholder.

        A prompt that is a column and nothing else has no gap: where that is blank, so is the prompt.
        """
        return len(self.pieces) > 1 or bool(self.pieces[0][0])

    def cells(self, texts: Mapping[str, pa.Array]) -> pa.Array | None:
        """Return the cells that it reads, joined; None where it reads none.

        Where all are blank, the prompt says nothing of its row.
        """
        cells = [texts[name] for name in self.columns]
        return _join(cells) if cells else None


def parse_template(
    text: str | None,
    prompt_column: str | None,
    variables: Iterable[str],
) -> Template:
    """Return `request.prompt` as a template; without one, the mapped column.

    Raises TableError for anything but a plain name in a placeholder: a prompt runs no code,
    which `{row.__class__}` and formats would.
    """
    if text is None:
        return Template((("", prompt_column),))
    pieces = []
    for literal, name, spec, conversion in string.Formatter().parse(text):
        if name is not None and (not name or spec or conversion):
            written = name
            if conversion:
                written += f"!{conversion}"
            if spec:
                written += f":{spec}"
            raise TableError(
                f"request.prompt contains {{{written}}}",
                hint="a placeholder is the plain name of a column, such as {text}; "
                "write {{ and }} for braces",
            )
        pieces.append((to_nfc(literal), name))
    return Template(tuple(pieces), frozenset(variables))


def _join(parts: list[Any]) -> pa.Array:
    separator = pa.scalar("")
    return pc.binary_join_element_wise(
        *parts,
        separator,
        # A missing cell is a blank one.
        null_handling="replace",
        null_replacement="",
    )
