"""The command `notify`: whether those whom a config names would hear of its runs.

And what commands that pay call in the end, so that they do hear of them.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pixmill.cli.console import (
    ConfigPath,
    Json,
    Overrides,
    echo,
    exit_process,
    print_json,
)

if TYPE_CHECKING:
    from pixmill.config.model import Config
    from pixmill.execution.run_summary import RunSummary

EXIT_UNDELIVERED = 3


def notify(
    config: ConfigPath,
    test: Annotated[
        bool, typer.Option("--test", help="Send each target a test message.")
    ] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check who is notified of runs, and send them a test message.

    Exit 3 where a target can't be reached.
    """
    from pixmill.config.loading import load_config
    from pixmill.errors import UserError
    from pixmill.execution.delivery import check_target, deliver, find_targets
    from pixmill.execution.notification import SEND_SECONDS, compose_test
    from pixmill.text import cli_arguments

    settings = load_config(config, overrides or ())
    if not settings.notify.to:
        raise UserError(
            f"{config} names nobody to notify",
            hint="notify: {to: [PIXMILL_ALERTS]}, where that environment variable has an "
            "Apprise URL",
        )
    targets = find_targets(settings)
    if test:
        command = f"pixmill status {cli_arguments(config, overrides or ())}"
        results = deliver(compose_test(settings, command), targets, SEND_SECONDS)
    else:
        results = [check_target(target) for target in targets]
    done = "delivered" if test else "set"
    for result in results:
        service = f" ({result.service})" if result.service else ""
        echo(f"{result.name}{service}: {result.problem or done}")
    failed = any(result.problem for result in results)
    exit_code = EXIT_UNDELIVERED if failed else 0
    if not test and not failed:
        when = "runs with problems"
        if "always" in settings.notify.on:
            when = "runs of any kind"
        echo(f"after {when}; --test sends each a message")
    if as_json:
        shown = [result._asdict() for result in results]
        print_json({"exit_code": exit_code, "tested": test, "targets": shown})
    # A service that does not answer must not hold up the end.
    exit_process(exit_code, at_once=True)


def notify_of_run(config: "Config", summary: "RunSummary", command: str) -> None:
    """Notify those whom a config names of a run; `command` is what to type next."""
    if not config.notify.to:
        return
    # Only where somebody is named: it brings what draws pictures.
    from pixmill.execution.notification import Finished, notify

    for target in notify(config, Finished(summary, command)):
        if not target.problem:
            echo(f"notified: {target.name} ({target.service})")


def notify_of_error(config: "Config", error: Exception, command: str) -> None:
    """Notify those whom a config names of what kept a run from its end, unless somebody watches."""
    # Who sits at a terminal reads it there.
    if not config.notify.to or sys.stdin.isatty():
        return
    from pixmill.execution.notification import BrokenOff, notify

    notify(config, BrokenOff(error, command))
