"""The command `simulate`: the simulator as a server, for any client."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pixmill.cli.console import echo
from pixmill.local_paths import given_path


def simulate(
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8900,
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="What a call takes.")
    ] = 0.2,
    qps: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Calls per second before 50429; unlimited by default."
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Calls in flight before 50430; unlimited by default."
        ),
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
    """Run a server that answers like the provider, for free.

    With real checks of keys and signatures, limits, and image URLs that expire.
    """
    from pixmill.simulator import serve, settings_from_environment

    settings = settings_from_environment(
        latency=latency, qps=qps, concurrency=concurrency, faults=faults, bill=bill
    )
    for line in settings.made_up:
        # As it is, and not masked: a key of this simulator is no secret, and who calls it needs it.
        sys.stderr.write(f"export {line}\n")
    serve(settings, port=port, on_ready=_say_how_to_call_it)


def _say_how_to_call_it(url: str) -> None:
    echo(f"simulator at {url} (Ctrl-C ends it)")
    echo("  a config calls it with:")
    echo(f"      provider: {{kind: gateway, base_url: {url}}}")
    # Its pictures are at the same private address, which nobody fetches unasked.
    echo("      output: {allow_hosts: [127.0.0.1]}")
