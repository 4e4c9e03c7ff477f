"""docs/commands.md: what is written by hand, and below it the flags of every command."""

from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.markdown import table
from docs.generate.places import DOCS
from pixmill.cli import app

MADE_BELOW = (
    "<!-- Made from the code by `make docs`: changes below this line are lost. -->"
)


def make_page() -> str:
    """Return docs/commands.md: what is written by hand, and below it arguments and flags of every command."""
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    by_hand = written.partition(MADE_BELOW)[0]
    sections = "\n".join(_command_section(*named) for named in _commands())
    return f"{by_hand}{MADE_BELOW}\n\n{sections}"


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
        default = "required" if param.required else f"`{param.default}`"
        return f"`{param.metavar}`", default, param.help
    context = command.context_class(command)
    name = param.get_help_record(context)[0].replace("|", r"\|")
    default = "" if param.default in (None, False) else f"`{param.default}`"
    return f"`{name}`", "required" if param.required else default, param.help
