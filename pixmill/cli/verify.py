"""The commands that look after what was published: verify reads it again, repair brings missing images back."""

import shlex
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, leave, print_json
from pixmill.cli.progress import PLAIN_SECONDS, InputLook
from pixmill.signals import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pixmill.datasets.verification import Verified
    from pixmill.execution.damaged_records import Checked
    from pixmill.execution.repair import Repaired

SHOWN = 20
"""Findings and rows that are printed; `--json` lists more."""


def verify(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Read dataset, history, images and ledger again and name what is wrong. Exit 3 if anything is."""
    from pixmill.config.loading import load_config
    from pixmill.datasets.verification import verify as verify_dataset

    settings = load_config(config, overrides or ())

    def check() -> tuple[int, dict[str, Any]]:
        found = verify_dataset(settings, _EveryFewSeconds(_hashed).show)
        _say_verified(found, config)
        return found.exit_code, found.as_dict()

    _carry_out(check, as_json)


def repair(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Fetch missing and damaged images while their URLs live, publish, list what is lost. Never pays."""
    from pixmill.config.loading import load_config
    from pixmill.execution.repair import repair as repair_images

    settings = load_config(config, overrides or ())

    def mend() -> tuple[int, dict[str, Any]]:
        look = InputLook()
        repaired = repair_images(settings, _EveryFewSeconds(_searched).show, look.show)
        look.end()
        _say_repaired(repaired, config)
        return repaired.exit_code, repaired.as_dict()

    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # until the run drains, it ends like Ctrl-C
    _carry_out(mend, as_json)


class _EveryFewSeconds:
    """Prints how far something is, in `words`, one line every few seconds."""

    def __init__(self, words: Callable[[Any], str]) -> None:
        self._words = words
        self._next = time.monotonic() + PLAIN_SECONDS

    def show(self, now: Any) -> None:
        """Print `now` if it is time again."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            echo(self._words(now))


def _carry_out(work: Callable[[], tuple[int, dict[str, Any]]], as_json: bool) -> None:
    """Do `work`, print what it says and leave with its exit code, also where a person ends it."""
    try:
        code, said = work()
    except (KeyboardInterrupt, typer.Abort):
        echo("interrupted; the same command begins anew")
        code = EXIT_INTERRUPTED
        said = {"exit_code": EXIT_INTERRUPTED}
    if as_json:
        print_json(said)
    leave(code)


def _hashed(found: "Verified") -> str:
    return f"{found.rows:,} rows and {found.images:,} images read, {found.problems.total():,} wrong"


def _searched(checked: "Checked") -> str:
    return f"{checked.images:,} images read, {checked.forgotten:,} gone or damaged"


def _say_verified(found: "Verified", config: str) -> None:
    echo(
        f"{found.rows:,} rows, {found.images:,} images, {found.versions:,} earlier versions read"
    )
    if not found.problems:
        echo("all of it is as it was stored")
        return
    echo(
        ", ".join(
            f"{count:,} {problem.replace('_', ' ')}"
            for problem, count in found.problems.most_common()
        )
    )
    for finding in found.findings[:SHOWN]:
        echo(f"  {finding.file}: {finding.message}")
        echo(f"      {finding.remedy}")
    _say_rest(found.problems.total())
    echo(f"next: pixmill repair {shlex.quote(config)}")


def _say_repaired(repaired: "Repaired", config: str) -> None:
    checked = repaired.checked
    codes = repaired.codes
    echo(
        f"{checked.images:,} images read, {checked.forgotten:,} gone or damaged; {repaired.fetched:,} fetched"
    )
    echo(f"  {repaired.report['dataset']}")
    if repaired.missing_inputs:
        echo(f"  {repaired.missing_inputs:,} rows lack their input image")
    if codes:
        echo(
            f"  rows without their image: {codes['image_pending']:,} pending, {codes['image_lost']:,} lost"
        )
        for row in repaired.missing[:SHOWN]:
            until = (
                f", its URL ends at {row.url_expires_at}" if row.url_expires_at else ""
            )
            echo(
                f"      row {row.row_number} ({row.row_key!r}): {row.error_code}{until}"
            )
        _say_rest(codes.total())
    if codes["image_pending"]:
        echo(f"next: pixmill repair {shlex.quote(config)}")


def _say_rest(count: int) -> None:
    if count > SHOWN:
        echo(f"      … and {count - SHOWN:,} more; --json lists them")
