"""The prompts of a batch of rows at every point of the sweep, and what is wrong with them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.planning.row_checks import (
    RowProblem,
    blank_problems,
    note,
    prompt_limit_problems,
    prompt_problems,
)
from pixmill.request.prompt_template import parse_template
from pixmill.request.sweep import SweepPoints


class _PromptVariant(NamedTuple):
    """A distinct set of texts for the template's variables, with the points that share it."""

    texts: Mapping[str, str]
    points: list[int]


class FilledPrompts(NamedTuple):
    """The prompts of a batch."""

    by_variant: list[pa.Array]
    """Arrow strings, one for each row; nulls where the operation takes no prompt."""
    problems: dict[int, RowProblem]
    """By row, what makes it invalid."""
    long: int
    """Rows with a prompt that the provider may cut."""


Column = TypeVar("Column")


class RowPrompts:
    """Fills the prompt template of one config; points that change no variable of it share their prompts."""

    def __init__(
        self,
        config: Config,
        sweep: SweepPoints,
    ) -> None:
        self._input = config.input
        self._points = len(sweep.points)
        self._operations = sweep.operations(config.request)
        variables = [axis.path for axis in sweep.axes if axis.kind == "variable"]
        self.column = config.input.column("prompt")
        self.template = parse_template(config.request.prompt, self.column, variables)
        self._has_prompt = self.column is not None or config.request.prompt is not None
        variants: dict[tuple[str, ...], _PromptVariant] = {}
        for at, point in enumerate(sweep.points):
            texts = sweep.variables_at(point)
            key = tuple(texts.values())
            variants.setdefault(key, _PromptVariant(texts, [])).points.append(at)
        self._variants = list(variants.values())

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        named = [self.column, *self.template.columns]
        return list(dict.fromkeys(name for name in named if name))

    def fill(
        self,
        texts: Mapping[str, pa.Array],
        count: int,
        *,
        check: bool,
    ) -> FilledPrompts:
        """Return the prompts of `count` rows, whose columns are `texts`, for each variant.

        Without `check` their problems are not looked for.
        """
        problems: dict[int, RowProblem] = {}
        if not self._has_prompt:
            nothing = pa.nulls(count, pa.string())
            return FilledPrompts([nothing] * len(self._variants), problems, 0)
        long: NDArray[np.bool_] = np.zeros(count, np.bool_)
        filled = [
            self.template.fill(texts, variant.texts, count)
            for variant in self._variants
        ]
        source = self.template.cells(texts)
        if self.column in self._input.allow_empty:
            source = None
        elif self.column is not None:
            source = texts[self.column]
        longest = self._input.max_prompt_chars
        for prompts in filled:
            if check:
                note(problems, prompt_problems(source, prompts, self.column, longest))
                for operation in self._operations:
                    limits = prompt_limit_problems(prompts, self.column, operation)
                    note(problems, limits)
            lengths = pc.utf8_length(prompts).to_numpy(zero_copy_only=False)
            long |= lengths > self._input.warn_prompt_chars
        # A column that is all of the prompt was looked at as such.
        if check and self.template.has_other_text:
            for name in self.template.columns:
                if name not in self._input.allow_empty:
                    note(problems, blank_problems(texts[name], name, "empty_variable"))
        return FilledPrompts(filled, problems, int(long.sum()))

    def by_point(self, by_variant: Sequence[Column]) -> list[Column]:
        """Return for every point what its variant of the prompt has."""
        columns: dict[int, Column] = {}
        for variant, column in zip(self._variants, by_variant, strict=True):
            columns |= dict.fromkeys(variant.points, column)
        return [columns[point_index] for point_index in range(self._points)]
