"""The command line: parse, call the library, print. Human text goes to stderr, `--json` prints one line to stdout.

A command is the function of its name in the module of its name. Heavy imports are inside the commands, so that
`--help` and mistakes in a config answer at once.
"""

import gc
from contextlib import suppress
from typing import Annotated

import typer

from pixmill.cli import (
    bill,
    compare,
    export,
    init,
    ledger,
    notify,
    plan,
    promote,
    publish,
    repair,
    report,
    retry,
    run,
    schema,
    score,
    simulate,
    status,
    validate,
    verify,
    view,
)
from pixmill.cli.console import echo, exit_process, print_error, show_warnings
from pixmill.cli.pandas_block import block_pandas
from pixmill.errors import PixmillError, UserError
from pixmill.memory import keep_little_memory
from pixmill.redaction import redact_logs, shown_traceback
from pixmill.signals import EXIT_INTERRUPTED

EXIT_INTERNAL = 1
EXIT_USER = 2

# Plain help and errors: boxes and colours are noise in a log.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # As wide as the terminal is, within what can be read.
        "max_content_width": 140,
    },
)


def _print_version(asked: bool) -> None:
    if asked:
        # Ten milliseconds, a tenth of the start, that no other command needs.
        from importlib.metadata import version

        typer.echo(f"pixmill {version('pixmill')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Turn a table of image URLs and prompts into a verified image dataset, paying for nothing twice."""


# In the order in which a person meets them: `--help` lists them like that.
app.command("init")(init.init)
app.command("validate")(validate.validate)
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("notify")(notify.notify)
app.command("verify")(verify.verify)
app.command("repair")(repair.repair)
app.command("score")(score.score)
app.command("publish")(publish.publish)
app.command("retry")(retry.retry)
app.command("report")(report.report)
app.command("view")(view.view)
app.command("bill")(bill.bill)
app.command("export")(export.export)
app.command("compare")(compare.compare)
app.command("promote")(promote.promote)
app.add_typer(ledger.ledger, name="ledger")
app.command("schema")(schema.schema)
app.command("simulate")(simulate.simulate)


def main() -> None:
    """Run the command line. A user's mistake exits 2 without a traceback, an internal error 1."""
    block_pandas()
    keep_little_memory()
    # A million rows are many objects and no cycles: looking for cycles among them took a tenth of the time.
    gc.set_threshold(100_000, 50, 50)
    redact_logs()
    show_warnings()
    exit_process(_run_command())


def _run_command() -> int:
    """Run the command that the arguments name and return the exit code; print what went wrong."""
    try:
        return app(standalone_mode=False) or 0
    except UserError as error:
        print_error(error)
        return EXIT_USER
    except PixmillError as error:
        print_error(error)
        return EXIT_INTERNAL
    except (KeyboardInterrupt, typer.Abort):
        echo("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `| head` does.
        return EXIT_INTERNAL
    except Exception as error:
        # A usage error. Typer's classes come from the click that it brings along, so they are known
        # by what they can do.
        show = getattr(error, "show", None)
        code = getattr(error, "exit_code", None)
        if show and isinstance(code, int):
            with suppress(OSError):
                show()
            return code
        with suppress(OSError):
            typer.echo(shown_traceback(error), err=True)
        return EXIT_INTERNAL
