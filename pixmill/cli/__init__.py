"""The command line: parse, call the library, print. Human text goes to stderr, `--json` prints one line to stdout.

Heavy imports stand inside the commands, so that `--help` and mistakes in a config answer at once.
"""

import gc
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder

import typer

from pixmill.cli import bill, compare, export, ledger, promote, report, retry
from pixmill.cli import init as files
from pixmill.cli import plan as look
from pixmill.cli import run as pay
from pixmill.cli import simulate as serve
from pixmill.cli import verify as check
from pixmill.cli.console import echo, leave, print_error, show_warnings
from pixmill.errors import PixmillError, UserError
from pixmill.memory import keep_little
from pixmill.redaction import redact_logs, shown_traceback
from pixmill.signals import EXIT_INTERRUPTED

app = typer.Typer(
    help="Turn a table of image URLs and prompts into a verified image dataset, paying for nothing twice.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(files.init)
app.command("validate")(look.validate)
app.command("plan")(look.plan)
app.command("run")(pay.run)
app.command("status")(look.status)
app.command("verify")(check.verify)
app.command("repair")(check.repair)
app.command("retry")(retry.retry)
app.command("report")(report.report)
app.command("bill")(bill.bill)
app.command("export")(export.export)
app.command("compare")(compare.compare)
app.command("promote")(promote.promote)
app.add_typer(ledger.ledger, name="ledger")
app.command("simulate")(serve.simulate)


def main() -> None:
    """Run the command line. A user's mistake exits 2 without a traceback, an internal error 1."""
    sys.meta_path.insert(0, _NoPandas())
    keep_little()
    gc.set_threshold(
        100_000, 50, 50
    )  # a million rows are many objects and no cycles: searching them cost a tenth
    redact_logs()
    show_warnings()
    leave(_carried_out())


def _carried_out() -> int:
    """Carry out what the command line says and return the exit code, with a word about what went wrong."""
    try:
        return app(standalone_mode=False) or 0
    except UserError as error:
        print_error(error)
        return 2
    except PixmillError as error:
        print_error(error)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        echo("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        return 1
    except Exception as error:
        return _shown(error)


def _shown(error: Exception) -> int:
    """Print a usage error as typer words it, anything else with its traceback; return the exit code."""
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if show and isinstance(code, int):
        with suppress(OSError):
            show()
        return code
    with suppress(OSError):
        typer.echo(shown_traceback(error), err=True)
    return 1


class _NoPandas(MetaPathFinder):
    """Says that there is no pandas: pyarrow's first `pa.array` would import it, which takes over a second."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        """Refuse pandas, leave every other module to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError(
                "the command line does without pandas", name=fullname
            )
