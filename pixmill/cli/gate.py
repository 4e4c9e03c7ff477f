"""What the terminal shows of a gate: each condition with its figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixmill.cli.console import echo

if TYPE_CHECKING:
    from pixmill.execution.run_summary import RunSummary


def print_published(report: "RunSummary") -> None:
    """Print where the dataset is, and what the gate made of the new one where it was refused."""
    if report.dataset:
        echo(f"  {report.dataset}")
    if report.shrunk:
        echo(f"  warning: {report.shrunk.describe()}")
    if report.has_refused_dataset:
        print_gate(report.gate)


def print_gate(gate: Mapping[str, Any] | None) -> None:
    """Print a gate as `run --json` has it; nothing where there is none."""
    if gate is None:
        return
    from pixmill.datasets.gate import in_figures

    words = "let the dataset pass" if gate["passed"] else "refuse the dataset"
    echo(f"  the conditions of quality.gate {words}:")
    width = max(len(each["condition"]) for each in gate["conditions"])
    for each in gate["conditions"]:
        figures = in_figures(each["figures"])
        mark = "ok" if each["holds"] else "no"
        if each["accepted"]:
            mark = "accepted"
        said = each["problem"] or figures
        echo(f"    {mark:8}  {each['condition']:{width}}  {said}")
    if gate.get("refused_dataset"):
        echo(f"  it is not published, but kept in {gate['refused_dataset']}")
