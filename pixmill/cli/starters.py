"""Configs to start from: an example with its table and images, and one for a table of one's own."""

import os
import shlex
import sys
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copyfile, copytree
from typing import TYPE_CHECKING, Any

import typer

from pixmill.cli.console import echo
from pixmill.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTER = ("pets.yaml", "pets.csv", "pets")
"""What is written: a config, its table, and the folder of the images that the table names; beside them a schema."""

TEXT_TO_IMAGE = "jimeng_t2i_v31"
"""The operation for tables without images."""


def write_example(folder: Path) -> None:
    """Write the example to `folder`. Raises UserError where something of it exists, and writes nothing then."""
    # Checked for all of them first: half a project would be worse than none.
    existing = [name for name in STARTER if (folder / name).exists()]
    if existing:
        raise UserError(
            f"{folder / existing[0]} exists already",
            hint="choose another folder; nothing was written",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in STARTER:
            source = files("pixmill.cli.templates").joinpath(name)
            with as_file(source) as template:
                if template.is_dir():
                    copytree(template, folder / name, copy_function=copyfile)
                else:
                    copyfile(template, folder / name)
        _write_schema(folder)
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}") from None
    echo(f"wrote {', '.join(str(folder / name) for name in STARTER)}")
    echo(f"next: cd {shlex.quote(str(folder))} && pixmill run {STARTER[0]}")


def write_for_table(path: Path, out: Path | None) -> None:
    """Write a config for the table at `path`. Raises UserError and TableError, and writes nothing then."""
    from pixmill.config.json_schema import SCHEMA_FILE
    from pixmill.planning.table_roles import find_roles, is_named_key
    from pixmill.tables import open_table
    from pixmill.tables.discovery import name_dataset
    from pixmill.tables.spreadsheets import dialect_of

    name = name_dataset(str(path))
    config = out or Path(f"{name}.yaml")
    # A link whose file is gone is somebody's as well.
    if os.path.lexists(config):
        raise UserError(
            f"{config} exists already",
            hint="--out names another file; nothing was written",
        )
    # What spreadsheets save in China, where it is not UTF-8.
    dialect = dialect_of(str(path), "gb18030")
    table = open_table(
        str(path), encoding=dialect.encoding, delimiter=dialect.delimiter
    )
    roles = find_roles(table, path.parent.resolve())
    kind = "image_url"
    images = _choose("has the image URLs", roles.image_url)
    if images is None:
        kind = "image_file"
        images = _choose("has the image files", roles.image_file)
    prompt = _choose("has the prompts", roles.prompt)
    # A column of prompts may be unique as well, and no key that anybody would want, unless it is a name
    # and there is nothing else.
    keys = [key for key in roles.row_key if key != prompt]
    keys = keys or [key for key in roles.row_key if is_named_key(key)]
    key = _choose("is the key of a row", keys)
    is_guess = len(keys) == 1 or not _is_on_terminal()
    if prompt is None and images is None:
        raise UserError(
            f"no column of {path} looks like image URLs, image files or prompts; it has: "
            f"{', '.join(table.schema.names)}",
            hint="`pixmill init DIR` writes an example to edit",
        )
    source: dict[str, Any] = {"path": str(path)}
    if dialect.encoding not in ("utf-8", "utf-8-sig"):
        source["encoding"] = dialect.encoding
    if dialect.delimiter:
        source["delimiter"] = dialect.delimiter
    found = {"row key": key, "images": images, "prompt": prompt}
    text = _config_text(
        config, name, source, _row_key_line(key, is_guess), kind, images, prompt
    )
    try:
        config.write_text(text, encoding="utf-8")
        if not (config.parent / SCHEMA_FILE).exists():
            _write_schema(config.parent)
    except OSError as error:
        raise UserError(f"{config} can't be written: {error.strerror}") from None
    columns = ", ".join(f"{role} {name or 'none'}" for role, name in found.items())
    echo(f"wrote {config}; columns found by their names and content: {columns}")
    echo(f"next: pixmill validate {shlex.quote(str(config))}")


def _choose(what: str, candidates: "Sequence[str]") -> str | None:
    """Return the column that `what` is said of: the likeliest, or what a person on a terminal says."""
    if not candidates:
        return None
    # A program has nobody to ask, and what was chosen is printed.
    if len(candidates) == 1 or not _is_on_terminal():
        return candidates[0]
    listed = ", ".join(candidates)
    while True:
        given: str = typer.prompt(
            f"Which column {what} ({listed})?", default=candidates[0], err=True
        )
        if given in candidates:
            return given
        echo(f"{given!r} is not one of them")


def _is_on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _row_key_line(key: str | None, is_guess: bool) -> str:
    """Return the line of `row_key` in a config."""
    wanted = "unique, and the same when the table grows, is edited or sorted"
    if key is None:
        return (
            f"  # row_key: [column]   # no column looks like one ({wanted});\n"
            "  # without it an edited row is a new one"
        )
    guess = "a guess: check it; " if is_guess else ""
    return f"  row_key: {_flow([key])}   # {guess}{wanted}"


def _config_text(
    place: Path,
    name: str,
    source: dict[str, Any],
    row_key: str,
    kind: str,
    images: str | None,
    prompt: str | None,
) -> str:
    """Return a config with comments, to read and to edit at `place`."""
    columns: dict[str, str] = {}
    if images:
        columns[kind] = images
    if prompt:
        columns["prompt"] = prompt
    lines = [
        "# yaml-language-server: $schema=config.schema.json",
        f"# `pixmill plan {shlex.quote(str(place))}` shows what it would do; `pixmill run` "
        "does it,",
        "# for free: the built-in simulator answers. Every key and its default: docs/config.md.",
        "version: 1",
        f"name: {_flow(name)}",
        "store: out                # ledger and images; keep it, it is the record of what was paid",
        "",
        "input:",
        *(f"  {key}: {_flow(value)}" for key, value in source.items()),
        row_key,
        f"  columns: {_flow(columns)}",
        "",
        "request:",
    ]
    if not images:
        lines.append(
            f"  req_key: {TEXT_TO_IMAGE}   # makes pictures from prompts alone"
        )
    template = f"{{{prompt}}}" if prompt else "in watercolor"
    # With a name that a placeholder can't have, the mapped column itself is the prompt.
    if prompt is None or not set(prompt) & set("{}:!"):
        written = _flow(template, quoted=True)
        lines.append(f"  prompt: {written}   # a template over the row's columns")
    elif images:
        lines.append("  params: {}")
    if images and prompt:
        lines += [
            "  # The model rewrites each prompt by default. To compare prompts or strengths:",
            "  # params: {use_rephraser: false}",
        ]
    lines += [
        "",
        "# To pay a real provider, put the key into PIXMILL_API_KEY and change this to",
        "#   provider: {kind: gateway, base_url: https://gateway.example.com}",
        "provider: {kind: simulator}",
        "",
        "limits: {qps: 4, concurrency: 4}    # what your account allows",
        "budget: {max_calls: 100}            # each run stops here; of a month: max_cost_per_month",
        "",
    ]
    return "\n".join(lines)


def _write_schema(folder: Path) -> None:
    """Write the schema beside a config, whose first line names it for editors."""
    from pixmill.config.json_schema import SCHEMA_FILE, schema_text

    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")


def _flow(value: Any, *, quoted: bool = False) -> str:
    """Return a value as YAML on one line."""
    from pixmill.config.yaml_writer import write_yaml  # not for every command

    style = '"' if quoted else None
    written = write_yaml(
        value, default_flow_style=True, default_style=style, width=1_000_000
    )
    return written.removesuffix("\n").removesuffix("\n...")
