"""Rows become jobs: templates filled in, seeds drawn, keys computed, a batch at a time.

`JobMaker` is built once for a config and a table; `expand` is pure, so that the plan, the run and the dataset
each stream the table anew and agree on every job, and none keeps more than a batch in memory.
"""

import json
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from pixmill.canonical import json_text, normalized
from pixmill.config import Config
from pixmill.errors import TableError
from pixmill.identity import (
    RequestShape,
    file_identity,
    request_shape,
    row_seeds,
    url_list,
    without_params,
)
from pixmill.images import local_image_problem
from pixmill.jobs import JobBatch, LocalImage, RowImages
from pixmill.operations import MAX_SEED, image_index_problem, resolve_parameters, with_field
from pixmill.rows import (
    Found,
    Problem,
    blank_problems,
    problem,
    prompt_problems,
    seed_problems,
    text_array,
    url_problems,
)
from pixmill.table import InputTable, RowBatch, as_text, delimiter_hint


class JobMaker:
    """Turns row batches of one table into job batches under one config."""

    def __init__(self, config: Config, table: InputTable) -> None:
        self._config = config
        self._input = config.input
        self._request = config.request
        self._prompt_column = config.input.column("prompt")
        self._seed_column = config.input.column("seed")
        self._template = _template(config, self._prompt_column)
        self._ignored = frozenset(config.input.ignore_url_params)
        self.read_columns = self._columns_read()
        _require_columns(table, [*self.read_columns, *config.input.row_key], config)
        params = resolve_parameters(config.request.req_key, config.request.params)
        self._params: Mapping[str, Any] = params
        self._shape = request_shape(config.request.operation, config.request.req_key, params)
        self._shape_of = lru_cache(4096)(self._mapped_shape)

    def expand(self, batch: RowBatch) -> JobBatch:
        """Return the jobs of `batch`, with the problem of every row that is invalid by itself."""
        count = batch.rows.num_rows
        texts = {name: text_array(as_text(batch.rows[name])) for name in {*self.read_columns, *self._input.row_key}}
        prompts = self._prompts(texts, count)
        problems: dict[int, Problem] = {at: Problem(*bad) for at, bad in batch.bad.items()}
        raw = texts.get(self._prompt_column or "")
        filled = raw if raw is not None else self._template_cells(texts)
        note(problems, prompt_problems(filled, prompts, self._prompt_column, self._input.max_prompt_chars))
        images = self._images(batch, texts, problems)
        shapes = self._shapes(batch, texts, problems, count)
        seeds = self._seeds(images.identities, raw, texts, problems, count)
        row_keys = self._row_keys(texts, problems, count)
        prompt_list: list[str] = prompts.to_pylist()
        keys = self._keys(images.identities, prompt_list, seeds, shapes, problems)
        long = pc.sum(pc.greater(pc.utf8_length(prompts), self._input.warn_prompt_chars)).as_py() or 0
        return JobBatch(batch, problems, keys, seeds, prompt_list, images, shapes, row_keys, long)

    def _columns_read(self) -> tuple[str, ...]:
        fields = [column for _, column in sorted(self._input.field_columns.items())]
        template = [name for _, name in self._template if name]
        named = [*self._input.image_columns, self._prompt_column, *template, *fields, self._seed_column]
        return tuple(dict.fromkeys(name for name in named if name))

    def _prompts(self, texts: Mapping[str, pa.Array], count: int) -> pa.Array:
        parts: list[Any] = []
        for literal, name in self._template:
            parts += [pa.scalar(literal)] if literal else []
            parts += [texts[name]] if name else []
        if not any(isinstance(part, pa.Array) for part in parts):
            return pa.repeat("".join(part.as_py() for part in parts), count)
        joined = pc.binary_join_element_wise(*parts, pa.scalar(""), null_handling="replace", null_replacement="")
        return _in_nfc(joined)

    def _template_cells(self, texts: Mapping[str, pa.Array]) -> pa.Array | None:
        """The cells that the template reads, joined: where all are blank, the prompt says nothing of its row."""
        cells = [texts[name] for _, name in self._template if name]
        if not cells:
            return None
        return pc.binary_join_element_wise(*cells, pa.scalar(""), null_handling="replace", null_replacement="")

    def _images(self, batch: RowBatch, texts: Mapping[str, pa.Array], problems: dict[int, Problem]) -> RowImages:
        if self._input.local_images:
            return self._local_images(batch, texts, problems)
        for name in self._input.image_columns:
            note(problems, url_problems(texts[name], name))
        columns = [[value or "" for value in texts[name].to_pylist()] for name in self._input.image_columns]
        sent = [f"[{url}]" for url in map(json_text, columns[0])]
        if len(columns) > 1:
            sent = [url_list(urls) for urls in zip(*columns, strict=True)]
        identities = sent
        if self._ignored:
            kept = [[without_params(url, self._ignored) for url in column] for column in columns]
            identities = [url_list(urls) for urls in zip(*kept, strict=True)]
        return RowImages(identities, sent, [()] * len(sent))

    def _local_images(self, batch: RowBatch, texts: Mapping[str, pa.Array], problems: dict[int, Problem]) -> RowImages:
        folder = batch.file.parent.resolve()
        columns = [texts[name].to_pylist() for name in self._input.image_columns]
        rows: list[tuple[LocalImage, ...]] = []
        for at, names in enumerate(zip(*columns, strict=True)):
            images = []
            for column, name in zip(self._input.image_columns, names, strict=True):
                path = (folder / (name or "").replace("\0", "")).resolve()
                reason = "missing_image_file" if not name else _file_problem(path, folder)
                if reason:
                    problems.setdefault(at, problem(reason, column))
                else:
                    images.append(LocalImage(str(path), _file_hash(path)))
            rows.append(tuple(images))
        return RowImages([file_identity([image.sha256 for image in row]) for row in rows], [""] * len(rows), rows)

    def _shapes(
        self, batch: RowBatch, texts: Mapping[str, pa.Array], problems: dict[int, Problem], count: int
    ) -> list[RequestShape]:
        fields = self._input.field_columns
        if not fields:
            return [self._shape] * count
        columns = [_field_values(batch.rows[column], texts[column]) for column in fields.values()]
        shapes = []
        for at, values in enumerate(zip(*columns, strict=True)):
            shape = self._shape_of(values)
            if isinstance(shape, Problem):
                problems.setdefault(at, shape)
                shape = self._shape
            shapes.append(shape)
        return shapes

    def _mapped_shape(self, values: tuple[Any, ...]) -> RequestShape | Problem:
        params: Mapping[str, Any] = self._params
        for (path, column), value in zip(self._input.field_columns.items(), values, strict=True):
            if value is None or value == "":
                return problem("bad_field", column, f"{path} is empty")
            params = with_field(params, path, value)
        try:
            shape = request_shape(self._request.operation, self._request.req_key, params)
        except ValueError as error:
            if not isinstance(error, ValidationError):
                return problem("bad_field", None, str(error))
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            return problem("bad_field", self._input.field_columns.get(path), f"{path}: {first['msg']}")
        index = image_index_problem(params, len(self._input.image_columns))
        return problem("bad_field", None, index) if index else shape

    def _seeds(
        self,
        images: Sequence[str],
        raw: pa.Array | None,
        texts: Mapping[str, pa.Array],
        problems: dict[int, Problem],
        count: int,
    ) -> list[int | None]:
        base = self._config.seed.base
        if self._config.seed.policy == "fixed":
            return [base] * count
        if self._seed_column is not None:
            seeds = [_seed(value) for value in texts[self._seed_column].to_pylist()]
            note(problems, seed_problems(seeds, self._seed_column))
            return seeds
        prompts = [""] * count if raw is None else _in_nfc(pc.fill_null(raw, "")).to_pylist()
        return list(row_seeds(base, images, prompts, 0))

    def _row_keys(self, texts: Mapping[str, pa.Array], problems: dict[int, Problem], count: int) -> list[str]:
        names = self._input.row_key
        if not names:
            return [""] * count
        for name in names:
            note(problems, blank_problems(texts[name], name, "missing_row_key"))
        if len(names) == 1:
            return [value or "" for value in texts[names[0]].to_pylist()]
        rows = zip(*(texts[name].to_pylist() for name in names), strict=True)
        return [json.dumps(values, ensure_ascii=False, separators=(",", ":")) for values in rows]

    def default_row_keys(self, batch: RowBatch) -> list[str]:
        """Return the row keys of a table without `row_key`: 16 hex over the texts of the columns that are read."""
        columns = [text_array(as_text(batch.rows[name])).to_pylist() for name in self.read_columns]
        joined = (
            ",".join("null" if value is None else json_text(normalized(value)) for value in row)
            for row in zip(*columns, strict=True)
        )
        return [sha256(f"[{text}]".encode()).hexdigest()[:16] for text in joined]

    def _keys(
        self,
        images: Sequence[str],
        prompts: Sequence[str],
        seeds: Sequence[int | None],
        shapes: Sequence[RequestShape],
        problems: Mapping[int, Problem],
    ) -> list[str | None]:
        texts = map(json_text, prompts)
        drawn = [seed or 0 for seed in seeds]
        keys: list[str | None]
        if self._input.field_columns:
            rows = zip(shapes, images, texts, drawn, strict=True)
            keys = [shape.job_key(image, text, seed) for shape, image, text, seed in rows]
        else:
            keys = list(self._shape.job_keys(images, texts, drawn))
        for at in problems:
            keys[at] = None
        return keys


def note(problems: dict[int, Problem], found: Found) -> None:
    """Add what was `found` to `problems`; the first problem of a row stays."""
    for position, bad in found:
        problems.setdefault(position, bad)


def _template(config: Config, prompt_column: str | None) -> list[tuple[str, str | None]]:
    """Return the prompt as (literal, column) pieces; plain names only, as a prompt is no place for code."""
    if config.request.prompt is None:
        return [("", prompt_column)]
    pieces = []
    for literal, name, spec, conversion in string.Formatter().parse(config.request.prompt):
        if name is not None and (not name or spec or conversion):
            raise TableError(
                f"request.prompt holds {{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}",
                hint="a placeholder is the plain name of a column, such as {text}; write {{ and }} for braces",
            )
        pieces.append((normalized(literal), name))
    return pieces


def _require_columns(table: InputTable, needed: Sequence[str], config: Config) -> None:
    missing = [name for name in dict.fromkeys(needed) if name not in table.schema.names]
    if missing:
        has = ", ".join(table.schema.names)
        wanted = ", ".join(repr(name) for name in missing)
        raise TableError(
            f"{config.input.path} has no column {wanted}; it has: {has}",
            hint=_separator_hint(table) or "name the columns in input.columns, input.row_key and request.prompt",
        )


def _separator_hint(table: InputTable) -> str:
    hint = delimiter_hint(table.schema)
    return f"{hint} Then set input.delimiter" if hint else ""


def _in_nfc(texts: pa.Array) -> pa.Array:
    """Return texts in Unicode NFC; ASCII is, and asking costs a tenth of normalizing."""
    ascii_only = pc.all(pc.string_is_ascii(texts)).as_py()
    return texts if ascii_only is not False else pc.utf8_normalize(texts, form="NFC")


def _field_values(column: Any, text: pa.Array) -> list[Any]:
    """Typed values of numbers and booleans, the text of everything else: the operation's schema reads both."""
    kind = column.type
    typed = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return (column if typed else text).to_pylist()  # type: ignore[no-any-return]


def _seed(text: str | None) -> int | None:
    value = int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 10 else None
    return value if value is not None and value <= MAX_SEED else None


def _file_problem(path: Path, folder: Path) -> str | None:
    if not path.is_relative_to(folder):
        return "image_file_outside"
    return local_image_problem(path)


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of_version(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(100_000)
def _hash_of_version(path: Path, _modified: int, _size: int) -> str:
    """The hash of a file's content, read once for the several passes over a table."""
    return sha256(path.read_bytes()).hexdigest()
