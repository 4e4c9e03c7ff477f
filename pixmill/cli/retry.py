"""The command `retry`: pays once more for jobs that have an outcome."""

from typing import Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides
from pixmill.cli.run import RunRequest, pay


def retry(
    config: ConfigPath,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Jobs with this status: failed (the default), refused, in_doubt, or "
            "succeeded. Repeatable.",
        ),
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Jobs with this error code. Repeatable."),
    ] = None,
    in_doubt: Annotated[
        bool, typer.Option("--in-doubt", help="The same as --status in_doubt.")
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Jobs that meet this condition on the dataset's columns.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before paying.")
    ] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Pay once more for jobs that failed, or have another outcome.

    The old outcome stays until a new one replaces it. Then it continues like run.
    """
    from pixmill.config.loading import load_config
    from pixmill.execution.retry_selection import select_for_retry

    settings = load_config(config, overrides or ())
    statuses = [*(status or ()), *(("in_doubt",) if in_doubt else ())]
    wanted = select_for_retry(settings, statuses, code or (), where)
    pay(
        RunRequest(settings, config, overrides or [], yes=yes, retried=wanted),
        as_json=as_json,
    )
