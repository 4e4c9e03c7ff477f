"""The reference pages that are made from the code: columns, codes, reasons, operations, flags, Python API, schema.

    python docs/generate.py      # or `make docs`: writes them anew

`tests/test_docs.py` fails while a page on disk is not what the code says.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from pixmill import errors, tuning
from pixmill.api.results import Results
from pixmill.backoff import Backoff
from pixmill.cli import app
from pixmill.config.json_schema import schema_text
from pixmill.datasets.own_columns import OWN_COLUMNS
from pixmill.datasets.own_error_codes import OWN_CODES
from pixmill.planning.plan import Plan
from pixmill.planning.row_checks import REASONS, REMEDIES
from pixmill.provider.error_codes import (
    GATEWAY_CODES,
    MEANINGS,
    OUTPUT_REDRAWN,
    SERVICE_CODES,
    SUCCESS,
    CodePolicy,
    CodeTable,
    Verdict,
    classify,
    codes_of_operation,
)
from pixmill.request.canonical_json import canonical_json
from pixmill.request.operations import OPERATIONS
from pixmill.request.operations.operation import (
    AigcMeta,
    InputImages,
    LogoInfo,
    Operation,
    Parameters,
)
from pixmill.request.registry import resolve_parameters
from pixmill.tables.batch import FLAWS
from pixmill.tuning import THROTTLES_PER_JOB

DOCS = Path(__file__).parent
ROOT = DOCS.parent

MADE = "<!-- Made from the code by `make docs`: changes here are lost. -->"
MADE_BELOW = (
    "<!-- Made from the code by `make docs`: changes below this line are lost. -->"
)

RESULTS_MEMBERS = (
    "df",
    "summary",
    "exit_code",
    "reason",
    "cost",
    "images",
    "dataset",
    "report",
    "config_file",
)

FUNCTIONS = (
    ("pixmill/config/loading.py", "load_config"),
    ("pixmill/api/functions.py", "plan"),
    ("pixmill/api/functions.py", "run"),
    ("pixmill/datasets/loading.py", "load_results"),
    ("pixmill/datasets/verification.py", "verify"),
    ("pixmill/execution/repair.py", "repair"),
)
"""What `import pixmill` offers, in the order in which a program needs it."""

PLAN_MEMBERS = (
    "invalid",
    "distinct",
    "to_pay",
    "most_cost",
    "least_cost",
    "rate",
    "bound",
    "example",
    "pending_jobs",
    "summary",
)

FLOWS = (
    ("flows/generate.py", "generate_dataset"),
    ("flows/maintain.py", "maintain_dataset"),
    ("flows/sweep.py", "order_sweep", "sweep_parameters"),
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
4. At the end, where the config has [`quality`](quality.md): for each check `score_<name>` (double, 0 to 1, 1 is good)
   and `flag_<name>` (bool), for each scorer of your own `score_<name>`, or `score_<name>_<key>` where it returns
   several. They are about the first image of the row; null where there is none, where it was not scored, or where
   the scorer failed.
5. Last, where the config has [`quality.until`](quality.md#candidates): `accepted` (bool, null where that is not known
   yet) and `candidate` (int32, from 0), which candidate of its row this is. `replicate` is 0 then.

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


def operations_page() -> str:
    """Return docs/operations-reference.md."""
    overview = table(
        ("req_key", "what it does", "called", "images", "prompt", "seed", "pictures"),
        (_operation_row(operation) for operation in OPERATIONS.values()),
    )
    sections = "\n".join(map(_operation_section, OPERATIONS.values()))
    return f"""# Operations

{MADE}

An operation is what one `req_key` does. pixmill knows the fields, ranges and defaults of the ones below, so that a
wrong value, a missing image column or a prompt that is too long is a mistake before anything is paid. No live call was
made to write this down: each section names its source. Any other `req_key` works too: its `request.params` pass
unchecked, and `request.mode` says how it is called. [An operation of your
own](../CONTRIBUTING.md#an-operation-of-your-own) takes a file.

Configs to start from: [text to image](../configs/text-to-image.yaml), [edits by
instruction](../configs/edit.yaml), [inpainting](../configs/inpaint.yaml), [several
references](../configs/references.yaml), [upscaling](../configs/upscale.yaml), [a comparison of
models](../configs/compare-models.yaml).

{overview}

* **called**: `sync` is one call that waits for the pictures, `async` a submit and then polls. The first is what
  `request.mode: auto` takes.
* **images**: input images of a request, one column of `input.columns.image_url` (or `image_file`) for each.
* **seed**: the provider's default. pixmill always sends one, as the API does not return the one that it drew. Without a
  seed, replicates are told apart by their numbers, and a picture can't be drawn a second time.
* **pictures**: the most that one answer has. Each is charged where the price is per image.

A field whose default is "not sent" is left to the provider. `prompt`, `seed` and the input images are set by pixmill,
from the row.

## Delivery

Every operation has `return_url`, nearly all have `logo_info`, newer ones `aigc_meta`. pixmill sends them where the
operation wants them: with the call, or with the polls of one that is asynchronous. `return_url` is not in the job key.

{_fields_table((LogoInfo, "logo_info."), (AigcMeta, "aigc_meta."))}

{sections}"""


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
        (f"`{name}`", f"`{kind.__base__.__name__}`", _summary(kind))
        for name, kind in vars(errors).items()
        # Not what the module imports.
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    )
    return f"""# The Python API

{MADE}

[Python and notebooks](python.md) shows how these are used: what a table may be, what raises, what Ctrl-C does.

## Functions

`import pixmill` costs nothing: each of these is loaded when it is first used.

{functions}
## Plan

What `pixmill.plan` returns. Its counts of jobs are of distinct ones: equal requests are one.

{table(("member", "meaning"), _members(Plan, PLAN_MEMBERS))}

## Results

What `pixmill.run` returns. [Python and notebooks](python.md) says what raises and what is in there.

{table(("member", "meaning"), _members(Results, RESULTS_MEMBERS))}

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
        "operations-reference.md": operations_page(),
        "commands.md": commands_page(),
        "python-api.md": api_page(),
        "../configs/config.schema.json": schema_text(),
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
        for req_key, operation in OPERATIONS.items()
        for code, of in codes_of_operation(operation).items()
    )
    return table(("req_key", "code", "verdict", "charged", "meaning"), rows)


def _operation_row(operation: Operation) -> tuple[str, ...]:
    prompt = "none"
    if operation.prompt:
        limits = (
            (f"at most {operation.prompt.limit}", operation.prompt.limit),
            (f"{operation.prompt.advised} advised", operation.prompt.advised),
        )
        prompt = ", ".join(text for text, limit in limits if limit) or "yes"
    most = {
        operation.outputs(operation_defaults(operation) | changed, 0)
        for changed in ({}, {"force_single": False})
    }
    return (
        f"[`{operation.req_key}`](#{_anchor(operation.req_key)})",
        _sentence(operation.title),
        ", ".join(operation.modes),
        _image_count(operation.images),
        prompt,
        str(operation.seed.default) if operation.seed else "none",
        "–".join(map(str, sorted(most))),
    )


def operation_defaults(operation: Operation) -> dict[str, Any]:
    """Return what a request without `params` sends."""
    return resolve_parameters(operation, {})


def _image_count(images: InputImages) -> str:
    if images.most == 0:
        return "none"
    if images.most is None:
        return f"{images.least} or more"
    count = str(images.least)
    if images.most != images.least:
        count = f"{images.least}–{images.most}"
    return f"{count}, the last is the mask" if images.mask is not None else count


def _anchor(req_key: str) -> str:
    """Return how the page's host calls the section of a heading in code."""
    return req_key.lower().replace(".", "")


def _operation_section(operation: Operation) -> str:
    images = ""
    if operation.images.most != 0:
        forms = " or ".join(
            {"url": "URLs (`image_url`)", "bytes": "files (`image_file`)"}[form]
            for form in sorted(operation.images.forms, reverse=True)
        )
        limits = operation.images.describe_limits()
        images = f" Input images come as {forms}, JPEG or PNG, each {limits}."
    schema = operation.parameters
    if schema is None:
        raise ValueError(f"{operation.req_key} has no schema to describe")
    return f"""## `{operation.req_key}`

{_sentence(operation.title)}. Source: {operation.source}.{images}

{_fields_table((schema, ""))}
"""


def _fields_table(*schemas: tuple[type[Parameters], str]) -> str:
    rows = (row for schema, prefix in schemas for row in _field_rows(schema, prefix))
    return table(("field", "takes", "default", "meaning"), rows)


def _field_rows(
    schema: type[Parameters], prefix: str
) -> Iterator[tuple[str, str, str, str]]:
    described = schema.model_json_schema()
    meanings = _field_meanings(schema)
    for name, field in described["properties"].items():
        field = _without_null(field)
        takes = _takes(field, described.get("$defs", {}))
        of_schema = schema.model_fields[name]
        default = "required"
        if not of_schema.is_required():
            given = of_schema.get_default()
            default = "not sent" if given is None else f"`{_default_text(given)}`"
        meaning = _sentence(meanings[name]) if name in meanings else ""
        yield f"`{prefix}{name}`", takes, default, meaning


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    options: list[dict[str, Any]] = field.get("anyOf", [field])
    return next(of for of in options if of.get("type") != "null")


def _takes(field: dict[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say what a field takes, by its JSON schema."""
    if "$ref" in field:
        return "see [delivery](#delivery)"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        item = definitions[field["items"]["$ref"].rpartition("/")[2]]
        inner = (
            f"`{name}`: {_takes(of, definitions)}"
            for name, of in item["properties"].items()
        )
        return "a list of " + "; ".join(inner)
    kind = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true, false",
        "string": "text",
    }.get(field.get("type", ""), "")
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is None and high is None:
        return kind
    more = "above " if "exclusiveMinimum" in field else ""
    less = "below " if "exclusiveMaximum" in field else ""
    if high is None:
        return f"{kind}, {more or 'at least '}{low:,}"
    return f"{kind}, {more}{low:,} to {less}{high:,}"


def _default_text(value: Any) -> str:
    if isinstance(value, Parameters):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, tuple):
        value = [of.model_dump() for of in value]
    return canonical_json(value)


def _field_meanings(schema: type[Parameters]) -> dict[str, str]:
    """Return what stands under the fields of a model and of those that it builds on."""
    meanings: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not issubclass(base, Parameters):
            continue
        (tree,) = ast.parse(inspect.getsource(base)).body
        for field, below in pairwise(
            tree.body if isinstance(tree, ast.ClassDef) else ()
        ):
            if not isinstance(field, ast.AnnAssign) or not isinstance(below, ast.Expr):
                continue
            if isinstance(below.value, ast.Constant):
                text = str(below.value.value)
                meanings[ast.unparse(field.target)] = " ".join(text.split())
    return meanings


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


def _function_section(file: str, name: str, shown: str | None = None) -> str:
    """Return a function's signature as its source has it, and its docstring; it may be `shown` as another name."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    function = next(
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    arguments = function.args
    unset = len(arguments.args) - len(arguments.defaults)
    listed = [
        *_parameters(arguments.args, [*[None] * unset, *arguments.defaults]),
        *(["*"] if arguments.kwonlyargs else []),
        *_parameters(arguments.kwonlyargs, arguments.kw_defaults),
        *([f"**{ast.unparse(arguments.kwarg)}"] if arguments.kwarg else []),
    ]
    result = ast.unparse(function.returns) if function.returns else "None"
    shown = shown or name
    lines = "".join(f"    {parameter},\n" for parameter in listed)
    signature = f"{shown}(\n{lines}) -> {result}"
    module = file.removesuffix(".py").replace("/", ".")
    package = "pixmill" if module.startswith("pixmill") else module
    text = inspect.cleandoc(ast.get_docstring(function) or "")
    return f"### {package}.{shown}\n\n```python\n{signature}\n```\n\n{text}\n"


def _parameters(
    names: Iterable[ast.arg], defaults: Iterable[ast.expr | None]
) -> Iterator[str]:
    """Yield parameters as a signature has them."""
    for name, default in zip(names, defaults, strict=True):
        shown = f" = {ast.unparse(default)}" if default else ""
        yield f"{ast.unparse(name)}{shown}"


def _members(kind: type, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield what of a class is of use to a program, with its meaning."""
    for name in names:
        member = getattr(kind, name)
        call = "" if isinstance(member, property | cached_property) else "()"
        yield f"`{name}{call}`", _summary(member)


def _summary(documented: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    paragraph = (inspect.getdoc(documented) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
