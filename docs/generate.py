"""The reference pages that are made from the code: columns, error codes, reasons for invalid rows, flags, Python API.

    python docs/generate.py      # or `make docs`: writes them anew

`tests/test_docs.py` fails while a page on disk is not what the code says.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from pixmill import errors, tuning
from pixmill.backoff import Backoff
from pixmill.cli import app
from pixmill.datasets.own_columns import OWN_COLUMNS
from pixmill.datasets.own_error_codes import OWN_CODES
from pixmill.planning.plan import Plan
from pixmill.planning.row_checks import REASONS, REMEDIES
from pixmill.provider.error_codes import (
    CODES_OF_OPERATIONS,
    GATEWAY_CODES,
    MEANINGS,
    OUTPUT_REDRAWN,
    SERVICE_CODES,
    SUCCESS,
    CodePolicy,
    CodeTable,
    Verdict,
    classify,
)
from pixmill.tables.batch import FLAWS
from pixmill.tuning import THROTTLES_PER_JOB

DOCS = Path(__file__).parent
ROOT = DOCS.parent

MADE = "<!-- Made from the code by `make docs`: changes here are lost. -->"
MADE_BELOW = (
    "<!-- Made from the code by `make docs`: changes below this line are lost. -->"
)

FUNCTIONS = (
    ("pixmill/config/loading.py", "load_config"),
    ("pixmill/api.py", "plan"),
    ("pixmill/datasets/loading.py", "load_results"),
    ("pixmill/datasets/verification.py", "verify"),
    ("pixmill/execution/repair.py", "repair"),
)
"""What `import pixmill` offers, in the order in which a program needs it."""

PLAN_MEMBERS = (
    "invalid",
    "distinct",
    "to_pay",
    "cost",
    "rate",
    "bound",
    "example",
    "pending_jobs",
    "summary",
)

FLOWS = (
    ("flows/generate.py", "generate_dataset"),
    ("flows/maintain.py", "maintain_dataset"),
    ("flows/sweep.py", "sweep_parameters"),
)

_THROTTLED = f"this uses up no attempts, and after {THROTTLES_PER_JOB} times the row is `failed` until the next run"

WHAT_FOLLOWS: Mapping[Verdict, str] = {
    Verdict.RETRY: "The same call is sent again, `retry.max_attempts` times in all; then the row is `failed`,"
    " and the next runs retry it, until `retry.max_runs` of them have",
    Verdict.THROTTLE_RATE: f"Fewer calls per second, then the same call again; {_THROTTLED}",
    Verdict.THROTTLE_CONCURRENCY: f"Fewer calls at once, then the same call again; {_THROTTLED}",
    Verdict.REFUSED: "The row is `refused` and never sent again without your consent",
    Verdict.FAILED: "The row is `failed` and never sent again without your consent",
    Verdict.STOP: "The run ends, as no job can succeed before that is fixed; the row is `skipped`, and"
    " the next run sends it",
    Verdict.IN_DOUBT: "The row is `in_doubt`: it may have been charged, and is sent again only where"
    " `pixmill retry` or the config's `in_doubt: retry` asks for it",
}
"""What pixmill does after each verdict that leaves a code behind."""

ANSWERS_WITHOUT_CODE = range(300, 600)
"""HTTP statuses that are ruled by themselves; below, an answer without a code is a `broken_answer`."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def columns_page() -> str:
    """Return docs/dataset-columns.md."""
    rows = (
        (
            f"`{of.name}`",
            _type_name(of.type),
            _sentence(of.meaning),
            _sentence(of.when_null),
        )
        for of in OWN_COLUMNS
    )
    return f"""# The columns of a dataset

{MADE}

A dataset (`dataset.parquet`) has one row for each job, so one for each row of your table where there is no sweep and
one replicate; an invalid row is one row too. Its columns, in this order:

1. Those of your table, with their names, types and values.
2. pixmill's own, below. Where your table has a column of that name, pixmill's is called `pixmill_<name>`; with both
   taken, `pixmill_pixmill_<name>`. `pixmill.load_results()` and all commands find them under any of these.
3. After `replicate`, one column for each axis of the sweep: `param_<path>`, dots as underscores
   (`controlnet_args.0.strength` is `param_controlnet_args_0_strength`). Its type is that of the axis' values; it is
   null where the value is `null`, and for invalid rows.

`pixmill.load_results()` adds `path`, the first image's file as a path that opens. Columns about a call describe
the one that led to the outcome; times are in UTC. Rows with the same request share its `job_key` and repeat its
values, except for `cost`.

{table(("column", "Arrow type", "meaning", "null where"), rows)}

The schema's metadata holds under the key `pixmill` a JSON object for programs: `own` (pixmill's names to those in the
file), `axes`, `columns`, `row_key`, `provider`, `currency`.
"""


def codes_page() -> str:
    """Return docs/error-codes.md."""
    own = (
        (
            f"`{of.code}`",
            of.status,
            of.charged,
            _sentence(of.meaning),
            _sentence(of.remedy),
        )
        for of in OWN_CODES
    )
    return f"""# Error codes

{MADE}

What `error_code` of a dataset can hold. It is null for a success whose image is there, and for invalid rows it is the
[reason](invalid-rows.md). A row that is `skipped` has the code of its last answer, where there was one.

*Charged* says what pixmill counts the call as. The provider does not document whether failures are charged, so it is
`no` only where the call was rejected before any image was made; `unknown` counts against caps as if it was, and
`pixmill bill` shows it as a range. `retry.codes` in the [config](config.md) changes what a code means.

## What follows

{table(("verdict", "what pixmill does"), ((f"`{of}`", f"{text}.") for of, text in WHAT_FOLLOWS.items()))}

What was refused with {" or ".join(f"`{code}`" for code in sorted(OUTPUT_REDRAWN))} is first generated again with
another seed, at most `retry.rerolls` times. `pixmill retry --code CODE` pays again for what ended with a code.

## pixmill's own

{table(("code", "status", "charged", "meaning", "what to do"), own)}

## The provider's: service

{_rulings(SERVICE_CODES)}

These deviate for one `req_key`:

{_deviations()}

## The provider's: gateway

{_rulings(GATEWAY_CODES)}

## Answers without a code

The code is `http_` and the HTTP status, such as `http_502`. The same rules hold for a name that is in no table and for
a number that repeats the status (the code stays what it is); any other number that is in no table is `failed`, charged
`unknown`.

{table(("status", "verdict", "charged"), _status_rows())}

A 5xx with an error object in its body shows that the service itself knows that the call failed.
"""


def reasons_page() -> str:
    """Return docs/invalid-rows.md."""
    of_values = (
        (f"`{reason}`", _sentence(meaning), _sentence(REMEDIES[reason]))
        for reason, meaning in REASONS.items()
    )
    of_lines = (
        (f"`{reason}`", _sentence(flaw.meaning), _sentence(flaw.remedy))
        for reason, flaw in FLAWS.items()
    )
    head = ("reason", "meaning", "what to do")
    return f"""# Reasons for invalid rows

{MADE}

An invalid row is never sent and costs nothing. `pixmill validate` and `plan` show them before anything is paid; a run
continues without them, unless they are a larger share of all rows than `input.max_invalid`. They are listed in
`invalid.parquet` beside the dataset (row number, column, reason, message, the cells as they were), and in the dataset
their `status` is `invalid` and their `error_code` the reason. A row has the first reason that applies. Correct the
table and run the same command again: only what is new is paid for.

## What a row asks for

Reasons that begin with `input_` are found by looking at the images themselves, where `input.images` is `check` or
`keep`; `input_damaged` is found in local files too.

{table(head, of_values)}

## Lines that can't be read as rows

A flaw in a cell that nothing reads does not make the row invalid: the cell is null in the dataset, and `plan` says so.

{table(head, of_lines)}
"""


def commands_page() -> str:
    """Return docs/commands.md: what is written by hand, and below it arguments and flags of every command."""
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    by_hand = written.partition(MADE_BELOW)[0]
    sections = "\n".join(_command_section(*named) for named in _commands())
    return f"{by_hand}{MADE_BELOW}\n\n{sections}"


def api_page() -> str:
    """Return docs/python-api.md."""
    functions = "\n".join(_function_section(*named) for named in FUNCTIONS)
    flows = "\n".join(_function_section(*named) for named in FLOWS)
    kinds = (
        (f"`{name}`", f"`{kind.__base__.__name__}`", _first_line(kind))
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
    )
    return f"""# The Python API

{MADE}

```python
import pixmill

config = pixmill.load_config("pets.yaml", ["budget.max_calls=100"])
plan = pixmill.plan(config)  # what a run would do; nothing is sent
plan.to_pay, plan.cost(plan.to_pay)  # 12, 2.4
pets = pixmill.load_results("pets.yaml")  # a pandas DataFrame, one row per job
```

To pay for a dataset from Python, call the [flow](#flows) `generate_dataset`, or run `pixmill run` as a process.

## Functions

`import pixmill` costs nothing: each of these is loaded when it is first used.

{functions}
## Plan

What `pixmill.plan` returns. Its counts of jobs are of distinct ones: equal requests are one.

{table(("member", "meaning"), _plan_members())}

## Flows

Each is a Prefect flow and can be called like a function, or [deployed](operations.md). Without a configured API,
Prefect starts a server of its own.

{flows}
## Errors

All are in `pixmill.errors`. The text says what is wrong and where, `error.hint` how to fix it.

{table(("class", "is a", "meaning"), kinds)}
"""


def limits_page() -> str:
    """Return the page on limits, with the table of `pixmill/tuning.py` as it is now."""
    page = (DOCS / "how-limits-work.md").read_text()
    before, begin, rest = page.partition(
        "<!-- constants: made from the code by `make docs` -->\n"
    )
    _, end, after = rest.partition("<!-- end of constants -->")
    return before + begin + tuning_tables() + end + after


def tuning_tables() -> str:
    """Return a table for each section of `pixmill/tuning.py`: a number, its unit, and why it is what it is."""
    source = Path(tuning.__file__).read_text()
    text = ""
    for section in re.split(r"^# (?=[A-Z])", source, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        constants = re.findall(
            r'^([A-Z_]+) = .*?\n"""(.*?)\n"""', body, re.MULTILINE | re.DOTALL
        )
        rows = []
        for name, doc in constants:
            unit, why = doc.split("\n\n", 1)
            reason, _, change = " ".join(why.split()).partition(" More: ")
            more, _, less = change.partition(" Less: ")
            rows.append(
                (
                    f"`{name}`",
                    _tuning_value(name),
                    unit,
                    reason,
                    f"more: {more}<br>less: {less}",
                )
            )
        text += (
            f"\n### {title}\n\n"
            + table(("name", "value", "unit", "why", "to change it"), rows)
            + "\n"
        )
    return text + "\n"


def _tuning_value(name: str) -> str:
    value = getattr(tuning, name)
    if isinstance(value, Backoff):
        return f"{value.first:g}, doubling to {value.cap:g}"
    return f"{value:g}"


def pages() -> dict[str, str]:
    """Return every page that is made from the code, by its file name."""
    return {
        "dataset-columns.md": columns_page(),
        "error-codes.md": codes_page(),
        "invalid-rows.md": reasons_page(),
        "how-limits-work.md": limits_page(),
        "commands.md": commands_page(),
        "python-api.md": api_page(),
    }


def _type_name(kind: pa.DataType) -> str:
    """The type as Arrow writes it, without the names of list items, which differ by Arrow's version."""
    return "`" + str(kind).replace("element: ", "").replace("item: ", "") + "`"


def _sentence(text: str) -> str:
    first = text[0] if text.startswith(("pixmill", "`")) else text[0].upper()
    return first + text[1:]


def _rulings(codes: CodeTable) -> str:
    rows = (
        (f"`{code}`", f"`{ruling.verdict}`", ruling.charged, _sentence(MEANINGS[code]))
        for code, ruling in codes.items()
        if code != SUCCESS
    )
    return table(("code", "verdict", "charged", "meaning"), rows)


def _deviations() -> str:
    rows = (
        (
            f"`{req_key}`",
            f"`{code}`",
            f"`{of.verdict}`",
            of.charged,
            _sentence(MEANINGS[code]),
        )
        for req_key, codes in CODES_OF_OPERATIONS.items()
        for code, of in codes.items()
    )
    return table(("req_key", "code", "verdict", "charged", "meaning"), rows)


def _status_rows() -> Iterator[tuple[str, str, str]]:
    def rulings(status: int) -> tuple[CodePolicy, CodePolicy]:
        return classify(None, status, {}, has_error_body=True), classify(
            None, status, {}, has_error_body=False
        )

    for (stated, silent), grouped in groupby(ANSWERS_WITHOUT_CODE, rulings):
        statuses = list(grouped)
        span = str(statuses[0]) + (f"–{statuses[-1]}" if len(statuses) > 1 else "")
        if stated == silent:
            yield span, f"`{stated.verdict}`", stated.charged
        else:
            yield f"{span} with an error object", f"`{stated.verdict}`", stated.charged
            yield f"{span} without", f"`{silent.verdict}`", silent.charged


def _commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, such as `ledger backup`."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        for inner_name, inner_command in inner.items():
            yield f"{name} {inner_name}", inner_command
        if not inner:
            yield name, command


def _command_section(name: str, command: Any) -> str:
    usage = [
        param.metavar for param in command.params if param.param_type_name == "argument"
    ]
    heading = f"### pixmill {name}"
    shown = " ".join(["pixmill", name, *usage])
    rows = (_param_row(param, command) for param in command.params)
    flags = table(("argument or flag", "default", "meaning"), rows)
    return f"{heading}\n\n`{shown}`: {command.help}\n\n{flags}\n"


def _param_row(param: Any, command: Any) -> tuple[str, str, str]:
    if param.param_type_name == "argument":
        return f"`{param.metavar}`", "required", param.help
    context = command.context_class(command)
    name = param.get_help_record(context)[0].replace("|", r"\|")
    default = "" if param.default in (None, False) else f"`{param.default}`"
    return f"`{name}`", "required" if param.required else default, param.help


def _function_section(file: str, name: str) -> str:
    """Return a function's signature as its source has it, and its docstring."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    function = next(
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    arguments = function.args
    parameters = [*arguments.args, *arguments.kwonlyargs]
    defaults = [
        *[None] * (len(arguments.args) - len(arguments.defaults)),
        *arguments.defaults,
        *arguments.kw_defaults,
    ]
    listed = [
        f"    {ast.unparse(one)}" + (f" = {ast.unparse(default)}" if default else "")
        for one, default in zip(parameters, defaults, strict=True)
    ]
    result = ast.unparse(function.returns) if function.returns else "None"
    signature = f"{name}(\n" + ",\n".join(listed) + f",\n) -> {result}"
    module = file.removesuffix(".py").replace("/", ".")
    package = "pixmill" if module.startswith("pixmill") else module
    text = inspect.cleandoc(ast.get_docstring(function) or "")
    return f"### {package}.{name}\n\n```python\n{signature}\n```\n\n{text}\n"


def _plan_members() -> Iterator[tuple[str, str]]:
    """Yield what of a plan is of use to a program, with its meaning."""
    for name in PLAN_MEMBERS:
        member = getattr(Plan, name)
        call = "" if isinstance(member, property) else "()"
        yield f"`{name}{call}`", _first_line(member)


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
