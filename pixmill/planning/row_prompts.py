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
    add_problems,
    blank_problems,
    prompt_limit_problems,
    prompt_problems,
)
from pixmill.request.prompt_template import parse_template
from pixmill.request.sweep import SweepPoints


class _Wording(NamedTuple):
    """A distinct set of texts for the template's variables, with the points that share it."""

    texts: Mapping[str, str]
    points: list[int]


class FilledPrompts(NamedTuple):
    """The prompts of a batch."""

    by_wording: list[pa.Array]
    """For each wording of the template Arrow strings, one for each row; nulls where the operation takes no prompt."""
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
        wordings: dict[tuple[str, ...], _Wording] = {}
        for at, point in enumerate(sweep.points):
            texts = sweep.variables_at(point)
            key = tuple(texts.values())
            wordings.setdefault(key, _Wording(texts, [])).points.append(at)
        self._wordings = list(wordings.values())

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
        """Return the prompts of `count` rows, whose columns are `texts`, for each wording.

        Without `check` their problems are not looked for.
        """
        problems: dict[int, RowProblem] = {}
        if not self._has_prompt:
            nothing = pa.nulls(count, pa.string())
            return FilledPrompts([nothing] * len(self._wordings), problems, 0)
        long: NDArray[np.bool_] = np.zeros(count, np.bool_)
        filled = [
            self.template.fill(texts, wording.texts, count)
            for wording in self._wordings
        ]
        source = self.template.cells(texts)
        if self.column in self._input.allow_empty:
            source = None
        elif self.column is not None:
            source = texts[self.column]
        longest = self._input.max_prompt_chars
        for prompts in filled:
            if check:
                add_problems(
                    problems, prompt_problems(source, prompts, self.column, longest)
                )
                for operation in self._operations:
                    limits = prompt_limit_problems(prompts, self.column, operation)
                    add_problems(problems, limits)
            lengths = pc.utf8_length(prompts).to_numpy(zero_copy_only=False)
            long |= lengths > self._input.warn_prompt_chars
        # A column that is all of the prompt was looked at as such.
        if check and self.template.has_other_text:
            for name in self.template.columns:
                if name not in self._input.allow_empty:
                    blank = blank_problems(texts[name], name, "empty_variable")
                    add_problems(problems, blank)
        return FilledPrompts(filled, problems, int(long.sum()))

    def by_point(self, by_wording: Sequence[Column]) -> list[Column]:
        """Return for every point what its wording of the prompt has."""
        columns: dict[int, Column] = {}
        for wording, column in zip(self._wordings, by_wording, strict=True):
            columns |= dict.fromkeys(wording.points, column)
        return [columns[point_index] for point_index in range(self._points)]
