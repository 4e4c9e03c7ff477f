"""What `pixmill.run` and `pixmill.plan` return: objects that show themselves."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pixmill.cli.plan import full_plan_lines, plan_lines
from pixmill.cli.run_outlook import look_ahead
from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CONFIG, DATASET
from pixmill.datasets.loading import (
    LocatedDataset,
    find_dataset,
    load_results,
    open_dataset,
)
from pixmill.datasets.refused_dataset import refused_folder
from pixmill.datasets.schema import free_name, our_columns
from pixmill.errors import PixmillError, UserError
from pixmill.execution.run_summary import RunSummary
from pixmill.local_paths import named_file
from pixmill.planning.plan import Plan
from pixmill.storage import open_store
from pixmill.tables.discovery import find_image_folders

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """What a run came to: its figures, its dataset and its pictures.

    In a notebook it shows its figures and the first pictures, as a grid where there is a sweep.
    """

    def __init__(self, config: Config, summary: RunSummary) -> None:
        self.config = config
        """What was run, with every default filled in."""
        self._summary = summary
        # Absolute, as the caller may change the working directory.
        self._places = {
            name: place and _absolute(place)
            for name, place in (
                ("dataset", summary.dataset),
                ("report", summary.report),
            )
        }
        source = config.input.model_copy(
            update={
                "path": _absolute(config.input.path),
                "image_folder": config.input.image_folder
                and _absolute(config.input.image_folder),
            }
        )
        self._located = config.model_copy(
            update={"store": _absolute(config.store), "input": source}
        )

    @property
    def summary(self) -> dict[str, Any]:
        """What `pixmill run --json` says."""
        return self._summary.as_dict()

    @property
    def exit_code(self) -> int:
        """What `pixmill run` would exit with: 0 where nothing new went wrong."""
        return self._summary.exit_code

    @property
    def reason(self) -> str:
        """How the run ended, in a sentence."""
        return self._summary.reason

    @property
    def cost(self) -> float | None:
        """What this run was charged, `None` where no price is known."""
        return self._summary.cost

    @property
    def dataset(self) -> str | None:
        """The absolute path, or the URL, of the published dataset; `None` where there is none."""
        return self._places["dataset"]

    @property
    def report(self) -> str | None:
        """The same of the report's page."""
        return self._places["report"]

    @property
    def config_file(self) -> str:
        """The absolute path of the config that was published with the dataset, or refused with it,
        for commands: `pixmill export …`.

        Its table is the one that was run on, also where that was in memory.
        """
        refused = refused_folder(self._located) / CONFIG
        # It is there until somebody accepts the dataset.
        if self._summary.has_refused_dataset and refused.exists():
            return str(refused)
        return str(self._located.dataset_folder / CONFIG)

    @cached_property
    def df(self) -> "pd.DataFrame":
        """The dataset as `load_results` returns it, one row for each job, with `input_path`: the
        absolute path of the stored input image, else of the local one.

        Raises UserError where none is published.
        """
        frame = load_results(self._dataset)
        found = find_dataset(self._dataset)
        with open_dataset(found.file) as dataset:
            schema = dataset.schema_arrow
        stored = frame[our_columns(schema)["input_image"]]
        paths = found.prefix + stored
        columns = self.config.input.image_columns
        folders = find_image_folders(self._located.input)
        if len(folders) == 1 and columns[0] in schema.names:
            local = frame[columns[0]].dropna()
            named = local.map(lambda name: named_file(folders[0], name), "ignore")
            paths = paths.fillna(named.map(str, "ignore"))
        frame[free_name("input_path", schema)] = paths
        return frame

    @property
    def images(self) -> list[str]:
        """The absolute paths of all pictures that are there, each once, in the order of the dataset."""
        found = find_dataset(self._dataset)
        with open_dataset(found.file) as dataset:
            column = our_columns(dataset.schema_arrow)["images"]
            pictures = dataset.read(columns=[column])[column]
        names = pc.struct_field(pc.list_flatten(pictures), "file_name").to_pylist()
        distinct = dict.fromkeys(filter(None, names))
        return [f"{found.prefix}{name}" for name in distinct]

    @property
    def _dataset(self) -> str:
        if self.dataset is None:
            raise UserError(f"no dataset is published: {self.reason}")
        return self.dataset

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        """Show the figures and the first pictures in a notebook."""
        # Scripts need none of that, nor the report that it is made with.
        from pixmill.api.views import picture_table, text_block

        text = text_block(self._lines())
        if self._summary.has_refused_dataset:
            file = refused_folder(self._located) / DATASET
            found = LocatedDataset(file, open_store(self._located))
        elif self.dataset is not None:
            found = find_dataset(self.dataset)
        else:
            return text
        return text + picture_table(found, self._located)

    def _lines(self) -> Iterator[str]:
        simulated = " (simulated: nothing was paid)" if self.config.simulated else ""
        yield f"{self.config.name}: {self.reason}{simulated}"
        yield f"  {self._summary.describe(self.config)}"
        if self._summary.shrunk:
            yield f"  warning: {self._summary.shrunk.describe()}"
        for place in (self.dataset, self.report):
            if place:
                yield f"  {place}"


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


@dataclass(frozen=True, repr=False)
class ShownPlan(Plan):
    """A plan that shows itself as `pixmill plan` does."""

    @classmethod
    def of(cls, plan: Plan) -> "ShownPlan":
        """Return `plan` as one that shows itself."""
        return cls(**{field.name: getattr(plan, field.name) for field in fields(plan)})

    def __repr__(self) -> str:
        return "\n".join(self._lines)

    def _repr_html_(self) -> str:
        """Show the plan in a notebook."""
        from pixmill.api.views import text_block  # not for scripts

        return text_block(self._lines)

    @cached_property
    def _lines(self) -> tuple[str, ...]:
        try:
            return tuple(full_plan_lines(self, look_ahead(self)))
        except PixmillError:
            # The table was edited since, or the ledger can't be read: the counts are what they were.
            return tuple(plan_lines(self))
