"""What `pixmill.run` returns."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixmill.config.model import Config
from pixmill.datasets.loading import load_results
from pixmill.execution.run_summary import RunSummary

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """What a run came to: its figures, its dataset and its pictures."""

    def __init__(self, config: Config, summary: RunSummary) -> None:
        self.config = config
        self.summary: dict[str, Any] = summary.as_dict()
        """What `pixmill run --json` says."""

    @property
    def exit_code(self) -> int:
        """What `pixmill run` would exit with: 0 where nothing new went wrong."""
        return int(self.summary["exit_code"])

    @property
    def reason(self) -> str:
        """Why the run ended, in a sentence."""
        return str(self.summary["reason"])

    @property
    def cost(self) -> float | None:
        """What this run was charged, `None` where no price is known."""
        cost: float | None = self.summary["cost"]
        return cost

    @property
    def report(self) -> str | None:
        """The path of the report's page, `None` where there is none."""
        report: str | None = self.summary["report"]
        return report

    @cached_property
    def df(self) -> "pd.DataFrame":
        """The dataset as `load_results` returns it, one row for each job."""
        return load_results(str(self.summary["dataset"]))

    @property
    def images(self) -> list[Path]:
        """The pictures that are there, in the order of the dataset."""
        return [Path(path) for path in self.df["path"].dropna()]
