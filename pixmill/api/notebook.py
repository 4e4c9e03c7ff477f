"""The progress of a run in a notebook: one output of the cell, which is updated while the run works."""

import io
import sys
import threading
from typing import TYPE_CHECKING

from rich.console import Console

from pixmill.cli.progress import FRAME_SECONDS, block

if TYPE_CHECKING:
    from pixmill.execution.prepare import PreparedRun

_WIDTH = 100
"""Characters: as wide as the output of a cell is on a laptop."""


def is_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process, whatever its front end is."""
    # Whoever has not imported IPython is not in a notebook.
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def show_in_notebook(run: "PreparedRun", ended: threading.Event) -> None:
    """Show the progress of `run` in the output of its cell until it has `ended`."""
    # rich's own display in a notebook needs ipywidgets, and a front end that knows them.
    from IPython.display import HTML, display

    shown = display(HTML(""), display_id=True)
    while not ended.wait(FRAME_SECONDS):
        if run.started:
            # In a kernel it would put a display of its own into the cell.
            console = Console(
                file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False
            )
            console.print(block(run.started.executor.progress()))
            page = console.export_html(
                inline_styles=True, code_format="<pre>{code}</pre>"
            )
            shown.update(HTML(page))
    # What came of the run follows, and the notebook is saved without this.
    shown.update(HTML(""))
