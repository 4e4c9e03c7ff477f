"""The command `verify`: reads again what was published and stored, and says what is not as it was."""

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
from pixmill.text import cli_arguments, counted, in_words

if TYPE_CHECKING:
    from pixmill.datasets.findings import Verified


def verify(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Read everything stored again, and name what is wrong.

    Dataset, history, images and ledger. Writes nothing. Exit 3 if anything is wrong.
    """
    from pixmill.config.loading import load_config
    from pixmill.datasets.verification import verify as verify_dataset

    settings = load_config(config, overrides or ())
    progress = PeriodicLine(
        lambda found: (
            f"{found.rows:,} rows and {found.images:,} images read, "
            f"{found.problems.total():,} problems"
        )
    )
    try:
        found = verify_dataset(settings, progress.show)
        _print_findings(found, cli_arguments(config, overrides or ()))
    except (KeyboardInterrupt, typer.Abort):
        exit_interrupted(as_json=as_json)
    if as_json:
        print_json(found.as_dict())
    exit_process(found.exit_code)


def _print_findings(found: "Verified", arguments: str) -> None:
    versions = counted(found.versions, "earlier version")
    echo(f"{found.rows:,} rows, {found.images:,} images, {versions} read")
    if not found.problems:
        echo("everything is as it was stored")
        return
    counts = (
        f"{count:,} {in_words(problem)}"
        for problem, count in found.problems.most_common()
    )
    echo(", ".join(counts))
    for finding in found.findings[:SHOWN]:
        echo(f"  {finding.file}: {finding.message}")
        echo(f"      {finding.remedy}")
    print_unlisted(found.problems.total())
    # What the ledger does not know can't be repaired with it.
    if set(found.problems) - {"not_in_ledger", "ledger"}:
        echo(f"next: pixmill repair {arguments}")
