"""The command `retry`: pays once more for jobs that have an outcome."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from pixmill.cli.console import ConfigPath, Json, Overrides, echo, place
from pixmill.cli.run import RunRequest, pay
from pixmill.errors import UserError
from pixmill.text import counted

if TYPE_CHECKING:
    from pixmill.config.model import Config


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
    picks: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            parser=place,
            help="Reject the candidates that this table marks, and ask for the next ones.",
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
    if picks:
        if status or code or in_doubt or where:
            raise UserError("--picks says by itself which candidates it is about")
        _record_picks(settings, picks)
        # What is rejected makes the next candidates pending, and no job is paid for again.
        pay(RunRequest(settings, config, overrides or [], yes=yes), as_json=as_json)
    statuses = [*(status or ()), *(("in_doubt",) if in_doubt else ())]
    wanted = select_for_retry(settings, statuses, code or (), where)
    pay(
        RunRequest(settings, config, overrides or [], yes=yes, retried=wanted),
        as_json=as_json,
    )


def _record_picks(config: "Config", picks: str) -> None:
    from pixmill.execution.known_ledger import check_knows_jobs
    from pixmill.execution.picks import record_picks
    from pixmill.ledger import open_ledger

    # Opening one would make it.
    check_knows_jobs(config)
    with closing(open_ledger(config.ledger_address)) as ledger:
        found = record_picks(config, ledger, picks)
    echo(
        f"{counted(found.rejected, 'candidate')} rejected, {found.starred:,} not any more"
    )
