"""The command `publish`: what becomes of a dataset that the gate refused."""

from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, print_json
from pixmill.cli.gate import print_gate
from pixmill.text import cli_arguments


def publish(
    config: ConfigPath,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Publish the refused dataset as it is."),
    ] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what quality.gate refused last; --accept publishes it.

    Never pays.
    """
    from pixmill.config.loading import load_config
    from pixmill.datasets.refused_dataset import accept_refused, find_refused
    from pixmill.datasets.report import page_beside, write_report
    from pixmill.execution.run_summary import EXIT_REFUSED
    from pixmill.storage import open_store

    settings = load_config(config, overrides or ())
    store = open_store(settings)
    if accept:
        exit_code = 0
        refused = accept_refused(settings)
        write_report(settings)
        echo(f"{refused.rows:,} rows are published as they were refused")
    else:
        exit_code = EXIT_REFUSED
        refused = find_refused(settings)
        echo(f"{refused.rows:,} rows are not published")
        print_gate(refused.gate.as_dict())
    page = page_beside(refused.path)
    echo(f"  {store.display_name(refused.path)}")
    echo(f"  {store.display_name(page)}")
    if not accept:
        typed = cli_arguments(config, overrides or ())
        echo(f"next: pixmill publish {typed} --accept")
    if as_json:
        print_json(
            {
                "exit_code": exit_code,
                "rows": refused.rows,
                "dataset": store.display_name(refused.path),
                "report": store.display_name(page),
                "gate": refused.gate.as_dict(),
            }
        )
    raise typer.Exit(exit_code)
