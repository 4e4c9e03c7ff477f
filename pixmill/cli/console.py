"""What commands share in talking to people and programs."""

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.ledger_address import is_database_url
from pixmill.errors import PixmillError
from pixmill.local_paths import given_path
from pixmill.redaction import (
    escape_control_chars,
    mask_secrets,
    redacted,
    single_line,
    visible_json,
)
from pixmill.signals import EXIT_INTERRUPTED

ConfigPath = Annotated[
    str, typer.Argument(metavar="CONFIG", help="The run config, a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        help="Override a key of the config; the value is YAML. Repeatable.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on one line of stdout.")
]


def place(text: str) -> str:
    """Return what a command was given as a path of this machine, as it is meant, or as the URL that it is."""
    return (
        text if is_bucket_url(text) or is_database_url(text) else str(given_path(text))
    )


def echo(text: str = "") -> None:
    """Print a line for people, on stderr. Text from outside can neither steer their terminal nor begin a line.

    A terminal that was closed is no reason for anything to end: then nobody reads it.
    """
    with suppress(OSError):
        typer.echo(single_line(redacted(text)), err=True)


class _Warnings(logging.Handler):
    """Log records from WARNING up as lines for people, above a progress block if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        echo(f"{record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """Print what the library warns of on stderr, and only there."""
    log = logging.getLogger("pixmill")
    log.propagate = False
    handler = _Warnings(logging.WARNING)
    log.addHandler(handler)


def print_error(error: PixmillError) -> None:
    """Print what is wrong and how to fix it, if there is still somebody to read it."""
    with suppress(OSError):
        typer.secho(
            f"error: {escape_control_chars(redacted(str(error)))}", fg="red", err=True
        )
        if error.hint:
            typer.echo(f"hint: {escape_control_chars(redacted(error.hint))}", err=True)


def print_json(value: dict[str, Any]) -> None:
    """Print one object on one line of stdout; a number that JSON has no word for is null."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    sys.stdout.write(visible_json(mask_secrets(text)) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def leave(code: int, *, at_once: bool = False) -> NoReturn:
    """End the process. After Prefect `at_once`: its exit handlers try for minutes to reach a server that is gone.

    When interrupted as well: threads may wait for a host that does not answer. And where stdout or stderr is gone: the
    interpreter would make another exit code of that.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            at_once = True
    if at_once or "prefect" in sys.modules or code == EXIT_INTERRUPTED:
        os._exit(code)
    sys.exit(code)


def money(amount: float | None, currency: str) -> str:
    """Return an amount for people; an unknown one is unknown, never 0."""
    return (
        "unknown (set budget.price_per_call)"
        if amount is None
        else f"{amount:,.2f} {currency}"
    )


def duration(seconds: float) -> str:
    """Return a duration for people: `45 s`, `12 min`, `3 h 05 min`, `2 days 4 h`."""
    minutes = round(seconds / 60)
    hours = seconds / 3600
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{int(hours // 24)} days {int(hours % 24)} h"
