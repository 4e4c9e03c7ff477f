"""The command `repair`: brings missing and damaged images back without paying for anything."""

import signal
from typing import TYPE_CHECKING

import typer

from pixmill.cli.console import (
    SHOWN,
    ConfigPath,
    Json,
    Overrides,
    PeriodicLine,
    echo,
    exit_interrupted,
    exit_process,
    print_json,
    print_unlisted,
)
from pixmill.cli.gate import print_published
from pixmill.cli.progress import InputLook
from pixmill.text import cli_arguments, to_minute

if TYPE_CHECKING:
    from pixmill.execution.damaged_records import Checked


SHOWN_REFUSALS = 3
"""Different things that image hosts said, which are printed."""


def repair(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Fetch missing and damaged images again, without paying.

    Works while their URLs live; then publishes and lists what is lost. Exits with 7 where
    quality.gate refuses the dataset.
    """
    from pixmill.config.loading import load_config
    from pixmill.execution.repair import repair as repair_images
    from pixmill.execution.stop_reasons import ALLOW_HOSTS

    settings = load_config(config, overrides or ())
    # Until the library drains by itself, a SIGTERM ends this command as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = PeriodicLine(_describe_progress)
    inputs = InputLook()
    try:
        repaired = repair_images(settings, progress.show, inputs.show)
        inputs.end()
        codes = repaired.codes
        pending = codes["image_pending"]
        lost = codes["image_lost"]
        echo(f"{_describe_progress(repaired.checked)}; {repaired.fetched:,} fetched")
        print_published(repaired.report)
        if repaired.missing_inputs:
            echo(f"  {repaired.missing_inputs:,} rows lack their input image")
        if codes:
            echo(f"  rows without their image: {pending:,} pending, {lost:,} lost")
            for row in repaired.missing[:SHOWN]:
                line = f"row {row.row_number} · {row.row_key}: {row.error_code}"
                if row.url_expires_at:
                    line += f", its URL expires {to_minute(row.url_expires_at)} UTC"
                echo(f"      {line}")
            print_unlisted(codes.total())
        typed = cli_arguments(config, overrides or ())
        for problem in repaired.refusals[:SHOWN_REFUSALS]:
            echo(f"  not fetched: {problem}")
        if repaired.refusals:
            echo(f"  {ALLOW_HOSTS}")
        if pending:
            echo(f"next: pixmill repair {typed}")
        elif repaired.report.has_refused_dataset:
            echo(f"next: pixmill publish {typed}")
    except (KeyboardInterrupt, typer.Abort):
        exit_interrupted(as_json=as_json)
    if as_json:
        print_json(repaired.as_dict())
    exit_process(repaired.exit_code)


def _describe_progress(checked: "Checked") -> str:
    return f"{checked.images:,} images read, {checked.forgotten:,} gone or damaged"
