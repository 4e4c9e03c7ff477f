"""What a condition is, and the language that conditions are written in."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pixmill.conditions.labels import Labels, replace_labels
from pixmill.conditions.parser import names_in, read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Condition:
    """A checked condition."""

    text: str
    """What the user wrote, without spaces around it."""

    names: frozenset[str]
    """The columns and axes that it reads."""

    _tree: ast.expr = field(repr=False, compare=False)

    def with_labels(self, labels: Labels) -> "Condition":
        """Return the condition with values in place of texts that label them; its own text stays."""
        return replace(self, _tree=replace_labels(self._tree, labels))

    def mask(
        self,
        columns: Mapping[str, Any],
        count: int,
    ) -> "npt.NDArray[np.bool_]":
        """Return for each of `count` rows whether the condition holds: an array (count,).

        `columns` holds every one of `names`: an Arrow array of `count` values of any type,
        or a plain value for all rows. Raises ValueError where values can't be compared,
        such as a column of numbers with "big".

            parse("scale > 3").mask({"scale": pa.array([2, 4])}, 2)    # [False, True]
        """
        # Arrow and NumPy take long to import; a config is checked without them.
        from pixmill.conditions.evaluator import mask

        return mask(self._tree, columns, count)


def parse(text: str) -> Condition:
    r"""Return the condition that `text` says.

    Raises ValueError, which says what is wrong and at which character.

    * `scale > 2`, `2 < scale <= 4`, `style != "ink"`, `style in ["ink", "oil"]`, `not in`;
      `and`, `or`, `not`.
    * A name is a column or an axis: `scale`, `controlnet_args.0.strength`, or anything in
      backticks.
    * A text is written in quotes of either kind. A backslash in it is a backslash, so that a
      regular expression reads as it is; only before the quote itself it makes that a part
      of the text.
    * `+ - * / %` on numbers; a division by zero has no result.
    * `len(x)` (characters, or items of a list), `lower(x)`, `contains(x, "…")`,
      `startswith(x, "…")`, `endswith(x, "…")`, and `matches(x, "…")`: a regular expression
      of RE2 that fits anywhere in the text.
    * A text compared with a number counts as the number that it spells, if it spells one:
      cells of CSV files are texts. Compared with `true` or `false` it counts as that,
      whatever its case. Anything else that is neither number nor truth value is compared as
      its text: dates as ISO 8601.
    * A comparison with a missing value (null, NaN, a text that spells no number) is false,
      also `!=` and `not in`; so `not (x > 3)` holds where x is missing. `x is None` asks
      for it; `x == None` and `x == null` say the same. An empty cell of a CSV file is not
      missing: it is the text "".
    """
    stripped = text.strip()
    if not stripped:
        raise ValueError("is empty")
    tree = read(stripped)
    return Condition(stripped, frozenset(names_in(tree)), tree)
