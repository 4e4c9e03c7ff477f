"""What people are told of a run who did not watch it: a message with counts, money, codes and pictures."""

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.contact_sheet import Figure, draw_contact_sheet, jpeg_of
from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.our_error_codes import OUR_CODES
from pixmill.datasets.refused_dataset import refused_folder
from pixmill.datasets.schema import our_columns
from pixmill.errors import PixmillError
from pixmill.execution.delivery import Delivery, Message, deliver, find_targets
from pixmill.execution.run_summary import RunSummary
from pixmill.execution.summary_words import describe_summary
from pixmill.ledger import open_ledger, queries
from pixmill.provider.error_codes import MEANINGS
from pixmill.redaction import redact, single_line
from pixmill.storage import open_store
from pixmill.text import counted
from pixmill.threads import start_thread

log = logging.getLogger(__name__)

SEND_SECONDS = 15.0
"""How long a message waits for the services that take it: some want a pause of five seconds between
the text and its picture."""

SECONDS = 20.0
"""How long the end of a run waits for its message at most: Apprise takes two seconds to start, and
a picture in a bucket has to be fetched."""

SHOWN_CODES = 3
SHEET_PICTURES = 12
SHEET_COLUMNS = 4
_TITLE_CHARS = 160
"""Of a title, which is the subject of a mail and the line that a phone shows."""


class Finished(NamedTuple):
    """A run that came to its end."""

    summary: RunSummary

    command: str
    """What to type next."""


class BrokenOff(NamedTuple):
    """A run that ended with an error instead of a summary, most often before it began."""

    error: Exception

    command: str
    """What to type next."""


def notify(config: Config, ending: Finished | BrokenOff) -> tuple[Delivery, ...]:
    """Tell those whom `notify` of the config names how a run went, where it wants that.

    It never raises and returns after `SECONDS` at the latest, with what came of each target: a run
    is as good as it was, whoever hears of it. Warnings name the targets that heard nothing.
    """
    if not config.notify.to:
        return ()
    if isinstance(ending, Finished) and ending.summary.run_id is None:
        # It ended before it began: somebody said no, or there was nothing to retry.
        return ()
    wanted = config.notify.on
    if "always" not in wanted and not ("problems" in wanted and _is_problem(ending)):
        return ()
    compose = partial(compose_message, config, ending)
    delivered: list[Delivery] = []
    # On a thread of its own, as a name server, a disk or a service may hang.
    sending = start_thread(
        lambda: delivered.extend(_send(config, compose)), "pixmill-notify"
    )
    sending.join(SECONDS)
    if sending.is_alive():
        log.warning(
            "not everybody was notified of this run within %.0f s; "
            "`pixmill notify CONFIG --test` shows who answers",
            SECONDS,
        )
    return tuple(delivered)


def compose_message(config: Config, ending: Finished | BrokenOff) -> Message:
    """Return the message about the ending of a run of `config`, its text without secrets."""
    if isinstance(ending, BrokenOff):
        error = ending.error
        # What an error of the program itself says is for its log, where it has a traceback.
        reason = str(error) if isinstance(error, PixmillError) else type(error).__name__
        lines = [reason, getattr(error, "hint", "")]
        sheet = None
    else:
        summary = ending.summary
        reason = summary.reason
        if summary.shrunk:
            reason += f", but {summary.shrunk.describe()}"
        lines = _describe_run(config, summary)
        sheet = contact_sheet_of(config, summary)
    message = _message(config, reason, lines, ending.command, sheet)
    return message._replace(is_problem=_is_problem(ending))


def _message(
    config: Config,
    reason: str,
    lines: Sequence[str],
    command: str,
    sheet: bytes | None,
) -> Message:
    """Put a message together: a title, lines, where to type which command, and pictures."""
    name = f"{config.name} (simulated)" if config.simulated else config.name
    title = single_line(redact(f"{name}: {reason}"))
    if len(title) > _TITLE_CHARS:
        title = f"{title[: _TITLE_CHARS - 1]}…"
    where = f"in {Path.cwd()} on {socket.gethostname()}"
    shown = [*filter(None, lines), "", f"next: {command}", where]
    if config.output.report_url:
        shown.append(f"report: {config.report_address}")
    body = "\n".join(single_line(redact(line)) for line in shown)
    return Message(title, body, is_problem=False, sheet=sheet)


def compose_test(config: Config, command: str) -> Message:
    """Return a message that says of itself that it is a test, with the last run's pictures.

    `command` is what it names to type next.
    """
    last = RunSummary(reason="test message")
    ledger = open_ledger(config.ledger_address, read_only=True)
    if ledger:
        with closing(ledger):
            for run in ledger.read(queries.last_runs, config.name, 1):
                last = last._replace(run_id=run["run_id"])
    lines = [
        "This is a test: no run has ended. Messages about runs have counts, cost, error codes and "
        "the next command here, and some of the new pictures below."
    ]
    sheet = contact_sheet_of(config, last)
    return _message(config, last.reason, lines, command, sheet)


def contact_sheet_of(config: Config, summary: RunSummary) -> bytes | None:
    """Return a JPEG of some pictures that a run paid for; None where there are none.

    Nothing that is wrong with pictures or their dataset is an error here.
    """
    try:
        figures = _pictures_of(config, summary)
        if not figures:
            return None
        columns = min(SHEET_COLUMNS, len(figures))
        return jpeg_of(draw_contact_sheet(figures, columns))
    except Exception as error:
        log.warning("there is no contact sheet of this run: %s", error)
        return None


def _is_problem(ending: Finished | BrokenOff) -> bool:
    if isinstance(ending, BrokenOff):
        return True
    # A table that lost rows by mistake takes their pictures out of the dataset, with exit code 0.
    return ending.summary.exit_code != 0 or ending.summary.shrunk is not None


def _send(config: Config, compose: Callable[[], Message]) -> Sequence[Delivery]:
    try:
        delivered = deliver(compose(), find_targets(config), SEND_SECONDS)
    except Exception as error:
        # Whatever it is, the run is over and all of it is recorded.
        log.warning("nobody was notified of this run: %s", error)
        return ()
    for delivery in delivered:
        if delivery.problem:
            log.warning(
                "%s was not notified of this run; `pixmill notify CONFIG --test` says why",
                delivery.name,
            )
    return delivered


def _describe_run(config: Config, summary: RunSummary) -> list[str]:
    """Return counts, money and the most frequent codes of the problems that a run brought, a line each."""
    ledger = open_ledger(config.ledger_address, read_only=True)
    with closing(ledger) if ledger else nullcontext():
        words = describe_summary(config, ledger, summary)
        codes: dict[str, int] = {}
        if ledger and summary.run_id:
            codes = ledger.read(queries.problem_codes, summary.run_id)
    meanings = {
        **MEANINGS,
        **{own_code.code: own_code.meaning for own_code in OUR_CODES},
    }
    lines = [f"{what}: {value}" for what, value in words.items()]
    for code, jobs in [*codes.items()][:SHOWN_CODES]:
        meaning = f": {meanings[code]}" if code in meanings else ""
        lines.append(f"{counted(jobs, 'job')} with {code}{meaning}")
    return lines


def _pictures_of(config: Config, summary: RunSummary) -> list[Figure]:
    """Return some pictures that a run paid for, spread evenly over its rows."""
    folder = config.dataset_folder
    if summary.has_refused_dataset:
        folder = refused_folder(config)
    try:
        dataset = pq.ParquetFile(folder / DATASET)
    except OSError:
        # Not published, or not on this machine any more.
        return []
    with dataset:
        names = our_columns(dataset.schema_arrow)
        wanted = [names[name] for name in ("run_id", "file_name", "row_key")]
        table = dataset.read(wanted)
    is_new = pc.and_(
        pc.equal(table[wanted[0]], summary.run_id), pc.is_valid(table[wanted[1]])
    )
    rows = table.filter(pc.fill_null(is_new, False))
    step = max(1, -(-rows.num_rows // SHEET_PICTURES))
    store = open_store(config)
    figures = []
    for at in range(0, rows.num_rows, step):
        (row,) = rows.slice(at, 1).to_pylist()
        file = store.file(row[wanted[1]])
        figures.append(Figure(file, row[wanted[2]] or ""))
    return figures
