"""The progress of a run in a notebook: one output of the cell, which is updated while the run works."""

import io
import sys
import threading
from typing import TYPE_CHECKING

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from pixmill.cli.progress import FRAME_SECONDS, block

if TYPE_CHECKING:
    from pixmill.execution.prepare import PreparedRun

_WIDTH = 100
"""Characters: as wide as the output of a cell is on a laptop."""

# rich's own red and magenta are for white paper: on a dark notebook they can't be read. These are as far from
# white as from black.
_RED = (219, 68, 55)
_MAGENTA = (187, 75, 187)
_COLOURS = TerminalTheme(
    background=(255, 255, 255),
    foreground=(0, 0, 0),
    normal=[(0, 0, 0), _RED, *3 * [(0, 0, 0)], _MAGENTA, *2 * [(0, 0, 0)]],
)
"""Those of what `block` shows, which uses only these two of the eight."""


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
                theme=_COLOURS,
                inline_styles=True,
                code_format='<pre style="overflow-x:auto">{code}</pre>',
            )
            shown.update(HTML(page))
    # What came of the run follows, and the notebook is saved without this.
    shown.update(HTML(""))
