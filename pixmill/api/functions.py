"""`pixmill.run` and `pixmill.plan`: from a table to a dataset, or to what it would cost."""

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pixmill.api.arguments import read_arguments
from pixmill.api.frames import forget_frames
from pixmill.api.interruptible import carry_out
from pixmill.api.results import Results, ShownPlan
from pixmill.cli.notify import notify_of_error, notify_of_run
from pixmill.cli.progress import InputLook
from pixmill.config.model import Config
from pixmill.errors import ConfigError, Interrupted, PlanWarning, RunWarning
from pixmill.execution.delivery import check_targets
from pixmill.execution.prepare import prepare
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.spending_rules import check_consent
from pixmill.planning.plan import Plan
from pixmill.planning.plan_warnings import find_warnings
from pixmill.planning.planner import plan_config
from pixmill.signals import EXIT_INTERRUPTED

FRAMES = "input"
"""The folder of a dataset that holds the tables that were in memory."""

_PLAN_IT = "pixmill.plan(…) with the arguments of this run"
"""What to call after a run without results: its config need not be in a file."""

AnyConfig = str | Path | Mapping[str, Any] | Config


def run(
    table_or_config: Any = None,
    *,
    config: AnyConfig | None = None,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    max_calls: int | None = None,
    yes: bool = False,
    new_store: bool = False,
    **sections: Any,
) -> Results:
    """Make the dataset of a table: plan, pay for what is missing, publish. Called again, it continues.

    The first argument is a table (a path, or what has `__arrow_c_stream__`: a frame of pandas or
    polars, a table of pyarrow, a relation of DuckDB; a dataset of Hugging Face), whose config is
    `config` and `sections`; or it is the config itself (a path, a dict, what `load_config` returns).
    `sections` are those of a config as keywords (`name`, `input`, `request`, `sweep`, …), and take
    precedence over the same keys of the config, as `overrides` (`a.b=value`) do over both.

        pixmill.run(frame, name="pets", request={"prompt": "{text}, in watercolor"})
        pixmill.run("pets.yaml", limit=3, max_calls=10)

    `limit` is how many jobs are paid for at most, `max_calls` is `budget.max_calls`. A run that pays
    a real provider needs a cap (`max_calls`, or another one in `budget`) or `yes=True`, and where the
    store has no ledger yet `new_store=True`.

    Ctrl-C finishes the calls in flight, publishes, and raises Interrupted. Whatever else ended a run
    early is in the results, and is a RunWarning. Before anything is sent, what `pixmill plan` warns of
    is a PlanWarning, and ConfigError, TableError and SpendingRefused are raised; LedgerError,
    StoreError and PixmillError where a run can't go on.
    """
    if max_calls is not None:
        overrides = [*overrides, f"budget.max_calls={max_calls}"]
    arguments = read_arguments(table_or_config, config, overrides, sections)
    settings = arguments.config
    if settings.execution.engine != "threads":
        raise ConfigError(
            f"execution.engine: {settings.execution.engine} is for `pixmill run` and the flows",
            hint="execution={'engine': 'threads'} runs it in this process",
        )
    check_targets(settings)
    settings = arguments.write_frame(settings.dataset_folder / FRAMES)
    try:
        summary = _pay(settings, limit, yes=yes, new_store=new_store)
    except Exception as error:
        notify_of_error(settings, error, _PLAN_IT)
        raise
    if arguments.frame is not None:
        forget_frames(Path(settings.input.path), settings.output.keep_versions + 1)
    results = Results(settings, summary)
    notify_of_run(
        settings, summary, summary.next_command(results.config_file, overrides=())
    )
    if results.exit_code == EXIT_INTERRUPTED:
        raise Interrupted(results.reason, results)
    if results.exit_code:
        warnings.warn(results.reason, RunWarning, stacklevel=2)
    return results


def _pay(
    settings: Config, limit: int | None, *, yes: bool, new_store: bool
) -> RunSummary:
    """Plan a run, pay for it if that was agreed to, and publish."""
    look = InputLook()
    with ExitStack() as stack:
        prepared = stack.enter_context(prepare(settings, limit, look.show))
        look.end()
        if prepared.to_pay:
            for warning in find_warnings(prepared.plan):
                # At the line that called `run`.
                warnings.warn(warning, PlanWarning, stacklevel=3)
        check_consent(
            prepared.plan,
            prepared.to_pay,
            yes=yes,
            new_store=new_store,
            known=prepared.known_ledger,
        )
        return carry_out(prepared, stack.pop_all())


def plan(
    table_or_config: Any = None,
    *,
    config: AnyConfig | None = None,
    overrides: Sequence[str] = (),
    **sections: Any,
) -> Plan:
    """Return the plan of a run with these arguments, which are those of `run`; nothing is sent or
    written.

    Raises ConfigError, TableError where the table can't be used and LedgerError where the ledger
    can't be read.
    """
    arguments = read_arguments(table_or_config, config, overrides, sections)
    if arguments.frame is None:
        return ShownPlan.of(plan_config(arguments.config))
    folder = tempfile.mkdtemp(prefix="pixmill-plan-")
    try:
        made = ShownPlan.of(plan_config(arguments.write_frame(Path(folder))))
    except BaseException:
        shutil.rmtree(folder)
        raise
    # A plan streams its table whenever it is asked for jobs.
    weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made
