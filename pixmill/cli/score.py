"""The command `score`: fills in scores of images that are there, without paying for anything."""

import signal

import typer

from pixmill.cli.console import (
    ConfigPath,
    Json,
    Overrides,
    echo,
    exit_interrupted,
    exit_process,
    print_json,
)
from pixmill.cli.gate import print_published
from pixmill.text import cli_arguments


def score(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Score the images that were not scored yet, without paying.

    By the checks and scorers of the config's `quality`; then publishes the scores. Exits with 7
    where quality.gate refuses the dataset.
    """
    from pixmill.config.loading import load_config
    from pixmill.execution.score import score as score_images

    settings = load_config(config, overrides or ())
    # Until the library drains by itself, a SIGTERM ends this command as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        scored = score_images(settings)
    except (KeyboardInterrupt, typer.Abort):
        exit_interrupted(as_json=as_json)
    echo(f"{scored.images:,} images scored")
    for (scorer, reason), images in scored.failures.items():
        echo(f"  {images:,} without a score of {scorer}: {reason}")
    print_published(scored.report)
    if scored.report.has_refused_dataset:
        echo(f"next: pixmill publish {cli_arguments(config, overrides or ())}")
    if as_json:
        print_json(scored.as_dict())
    exit_process(scored.exit_code)
