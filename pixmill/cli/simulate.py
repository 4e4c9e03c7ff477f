"""The command that runs the simulator as a server of its own: simulate."""

from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import echo
from pixmill.local_paths import given_path


def simulate(
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8900,
    latency: Annotated[
        float, typer.Option(min=0, help="Seconds that a call takes.")
    ] = 0.2,
    qps: Annotated[
        float | None,
        typer.Option(help="Calls per second before 50429; unlimited by default."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Calls in flight before 50430; unlimited by default."),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=given_path,
            help="YAML file of faults to answer with.",
        ),
    ] = None,
    bill: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=given_path,
            help="Append a line per call to this file.",
        ),
    ] = None,
) -> None:
    """Answer like the provider, for free: real checks of keys and signatures, limits, expiring image URLs."""
    from pixmill.simulator import serve, settings_from_environment

    settings = settings_from_environment(
        latency=latency, qps=qps, concurrency=concurrency, faults=faults, bill=bill
    )
    for line in settings.made_up:
        echo(line)
    serve(
        settings,
        port=port,
        on_ready=lambda url: echo(f"simulator at {url} (Ctrl-C ends it)"),
    )
