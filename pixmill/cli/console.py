"""What commands share in talking to people and programs."""

import json
import logging
import math
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.ledger_address import is_database_url
from pixmill.errors import PixmillError
from pixmill.local_paths import given_path
from pixmill.redaction import (
    escape_control_chars,
    mask_secrets,
    redact,
    single_line,
    visible_json,
)
from pixmill.signals import EXIT_INTERRUPTED
from pixmill.text import money

if TYPE_CHECKING:
    from pixmill.config.model import Config

PROBLEMS = ("failed", "refused", "in_doubt")
"""Statuses of rows that brought no image although they were sent."""

SHOWN = 20
"""Findings and rows that are printed; `--json` lists more."""

SIMULATED = "[simulated] "
"""Before what is said of runs that the simulator answers, which cost nothing."""

PLAIN_SECONDS = 5.0
"""Between two lines of progress, where no block is drawn: often enough to see that it is alive."""

_USUAL_WIDTH = 80

_COPIED = re.compile(
    # A command, and what is in backticks, quotes or braces;
    r"^\s*(next|open|read it with|wrote)\b|`|(^|[\s(=])[\"']|\{"
    # a URL, a path of several folders or with an ending; `2.5 calls/s` is neither.
    r"|://|/\S*/|(^|\s)[~/]|/.*\.[A-Za-z]"
)
"""What in a line may be copied: an end of line in it would be copied, too."""

_TWO_COLUMNS = re.compile(r" *\S+(?: \S+)*  +(?=\S)")

# Magenta and red are read on white and on black; yellow, cyan and green vanish on white, blue on black.
_STYLES = {"[simulated]": "35", "warning:": "1;35", "next:": "1"}
"""The colours (SGR) of what a line begins with: a badge, something to read, something to type."""

_KINDS = re.compile(rf"(?P<start> *)(?P<word>{'|'.join(map(re.escape, _STYLES))})")

ConfigPath = Annotated[
    str, typer.Argument(metavar="CONFIG", help="The run config, a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="A.B=VALUE",
        help="Override a key of the config; the value is YAML. Repeatable.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on one line of stdout.")
]


def place(text: str) -> str:
    """Return the path of this machine that `text` means, with `~` filled in, or the URL that it is."""
    if is_bucket_url(text) or is_database_url(text):
        return text
    return str(given_path(text))


def echo(text: str = "") -> None:
    """Print a line for people, on stderr. Text from outside can neither steer their terminal nor begin a line."""
    # A terminal that was closed must not end anything: it only means that nobody reads this.
    with suppress(OSError):
        # By the stream itself, which a progress block replaces while it is drawn: typer keeps
        # the stream of before, and the block would be painted over the line. At once, or
        # lines of two threads would mix.
        line = _wrap_lines(single_line(redact(text)))
        # In colour the first word, where that says what kind of line it is.
        kind = _KINDS.match(line) if _has_colours() else None
        if kind is not None:
            style = _STYLES[kind["word"]]
            word = f"\x1b[{style}m{kind['word']}\x1b[0m"
            line = f"{kind['start']}{word}{line[kind.end() :]}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _wrap_lines(text: str) -> str:
    """Return text with no line wider than the terminal, as it is where there is none."""
    if not sys.stderr.isatty():
        return text
    width = _USUAL_WIDTH
    with suppress(OSError, ValueError):
        # Some terminals say 0.
        width = os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_WIDTH
    return "\n".join(_wrap(line, width) for line in text.split("\n"))


def _wrap(line: str, width: int) -> str:
    """Return a line that is broken between words where it is too wide; what follows is indented."""
    from rich.cells import cell_len

    # A terminal breaks the others wherever its edge is, and joins them again when they are copied.
    # It knows as well how wide Chinese characters are, between which there are no spaces.
    is_left = len(line) != cell_len(line) or _COPIED.search(line)
    if len(line) <= width or is_left:
        return line
    # `  name   value` goes on below its value, a sentence a little to the right of its beginning.
    columns = _TWO_COLUMNS.match(line)
    start = len(line) - len(line.lstrip())
    indent = columns.end() if columns and columns.end() < width // 2 else start + 2
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=" " * start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _has_colours() -> bool:
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stderr.isatty()


def print_error(error: PixmillError) -> None:
    """Print what is wrong and how to fix it."""
    with suppress(OSError):
        message = escape_control_chars(redact(str(error)))
        text = _wrap_lines(f"error: {message}")
        if _has_colours():
            text = typer.style(text, fg="red")
        typer.echo(text, err=True)
        if error.hint:
            hint = escape_control_chars(redact(error.hint))
            typer.echo(_wrap_lines(f"hint: {hint}"), err=True)


def print_json(value: dict[str, Any]) -> None:
    """Print one object on one line of stdout; NaN and infinities, which JSON lacks, are null."""
    # A program reads this, so it is not cut like text for people; keys are masked all the same.
    text = json.dumps(_replace_non_finite(value), ensure_ascii=False, allow_nan=False)
    sys.stdout.write(visible_json(mask_secrets(text)) + "\n")
    sys.stdout.flush()


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(part) for part in value]
    return value


def print_problem_rows(
    config: "Config", count: int, statuses: Sequence[str] = PROBLEMS
) -> None:
    """Print the first rows of the dataset with one of the `statuses`, of which there are `count`."""
    from pixmill.datasets.problem_rows import find_problem_rows

    if not count:
        return
    rows = find_problem_rows(config, statuses)
    for row in rows:
        echo(f"      {row.describe()}")
    if rows and count > len(rows):
        echo(f"      … and {count - len(rows):,} more; the report has all of them")


def print_unlisted(count: int) -> None:
    """Say how many of `count` findings or rows were not printed, as only the first `SHOWN` are."""
    if count > SHOWN:
        echo(f"      … and {count - SHOWN:,} more; --json lists them")


class PeriodicLine:
    """Prints how far something is, in the words of `describe`, one line every `PLAIN_SECONDS`."""

    def __init__(self, describe: Callable[[Any], str]) -> None:
        self._describe = describe
        self._next = time.monotonic() + PLAIN_SECONDS

    def show(self, progress: Any) -> None:
        """Print `progress` if the last line is old enough."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            echo(self._describe(progress))


class _WarningLines(logging.Handler):
    """Log records from WARNING up as lines for people, above a progress block if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        echo(f"{record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """Print what the library warns of on stderr, and only there."""
    log = logging.getLogger("pixmill")
    log.propagate = False
    log.addHandler(_WarningLines(logging.WARNING))


def exit_interrupted(*, as_json: bool) -> NoReturn:
    """End a command that a person interrupted and that has nothing to continue from."""
    echo("interrupted; the same command starts over")
    if as_json:
        print_json({"exit_code": EXIT_INTERRUPTED})
    exit_process(EXIT_INTERRUPTED)


def exit_process(code: int, *, at_once: bool = False) -> NoReturn:
    """End the process with `code`, without running exit handlers where they would hang or change the code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # The interpreter would flush again at its exit, fail, and exit with 120.
            at_once = True
    # Prefect's exit handlers try for minutes to reach a server that is gone. After an interrupt, threads may
    # still wait for a host that does not answer, and the interpreter would wait for them.
    if at_once or "prefect" in sys.modules or code == EXIT_INTERRUPTED:
        os._exit(code)
    sys.exit(code)


def cost_text(value: Decimal | None, currency: str) -> str:
    """Return what something costs for people; an unknown price is unknown, never 0."""
    if value is None:
        return "unknown (set budget.price_per_call or budget.prices)"
    return money(value, currency)
