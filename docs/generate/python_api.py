"""docs/python-api.md: what a program can call, with signatures and docstrings."""

import ast
import inspect
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from docs.generate.markdown import MADE, table
from docs.generate.places import ROOT
from pixmill import errors
from pixmill.api.results import Results
from pixmill.planning.plan import Plan

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


FLOWS = (
    ("flows/generate.py", "generate_dataset"),
    ("flows/maintain.py", "maintain_dataset"),
    ("flows/sweep.py", "order_sweep", "sweep_parameters"),
)


def make_page() -> str:
    """Return docs/python-api.md."""
    functions = "\n".join(_function_section(*named) for named in FUNCTIONS)
    flows = "\n".join(_function_section(*named) for named in FLOWS)
    kinds = (
        (f"`{name}`", f"`{kind.__bases__[0].__name__}`", _summary(kind))
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
