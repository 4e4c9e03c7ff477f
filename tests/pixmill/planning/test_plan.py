"""Plans: every row is valid or invalid for a named reason, and every job key is counted once."""

import csv
import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError, TableError
from pixmill.planning.plan import BATCH_JOBS, Plan
from pixmill.planning.planner import make_plan
from pixmill.tables import InputTable, RowBatch
from tests.conftest import Project

GOOD = "https://images.example.com/cat.jpg"


def planned(project: Project, **changes: Any) -> Plan:
    return make_plan(load_config(project.write_config(**changes)), None)


def plan_of(project: Project, rows: list[dict[str, str]], **changes: Any) -> Plan:
    project.write_rows(rows)
    return planned(project, **changes)


def keys(plan: Plan) -> list[str | None]:
    return [key for batch in plan.batches() for key in batch.keys]


def row(**cells: str) -> dict[str, str]:
    return {"id": "1", "photo": GOOD, "text": "a cat", **cells}


@pytest.mark.parametrize(
    ("cells", "reason", "column"),
    [
        ({"text": ""}, "empty_prompt", "text"),
        ({"text": " \t\u3000"}, "empty_prompt", "text"),
        ({"text": "x" * 4001}, "prompt_too_long", "text"),
        ({"text": "x" * 2_000_000}, "prompt_too_long", "text"),
        ({"text": "bell \x07"}, "control_character", "text"),
        ({"text": "nul \x00"}, "control_character", "text"),
        ({"text": "c1 \x9b31m"}, "control_character", "text"),
        ({"text": "esc \x1b[31m"}, "control_character", "text"),
        ({"photo": ""}, "missing_url", "photo"),
        ({"photo": "  "}, "missing_url", "photo"),
        ({"photo": "not a url"}, "malformed_url", "photo"),
        ({"photo": "https://"}, "malformed_url", "photo"),
        ({"photo": "https://a.example.com/x y.jpg"}, "malformed_url", "photo"),
        ({"photo": "https://a.example.com:99999/x.jpg"}, "malformed_url", "photo"),
        ({"photo": "file:///etc/passwd"}, "url_scheme", "photo"),
        ({"photo": "ftp://a.example.com/x.jpg"}, "url_scheme", "photo"),
        ({"photo": "data:image/png;base64,AAAA"}, "url_scheme", "photo"),
        (
            {"photo": "https://user:secret@a.example.com/x.jpg"},
            "url_credentials",
            "photo",
        ),
        ({"photo": "http://127.0.0.1/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://10.1.2.3/x.jpg"}, "private_address", "photo"),
        (
            {"photo": "http://169.254.169.254/latest/meta-data"},
            "private_address",
            "photo",
        ),
        ({"photo": "http://100.64.0.1/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://[::1]/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://[64:ff9b::7f00:1]/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://2130706433/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://0x7f000001/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://127.1/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://localhost:8080/x.jpg"}, "private_address", "photo"),
        ({"photo": "http://db.LOCALHOST/x.jpg"}, "private_address", "photo"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_row_is_invalid_with_its_number_column_and_reason(
    project: Project, cells: dict[str, str], reason: str, column: str
) -> None:
    """G9, G11, G12, G18."""
    plan = plan_of(project, [row(), row(**cells), row()])
    assert (plan.rows, plan.invalid, dict(plan.reasons)) == (3, 1, {reason: 1})
    (example,) = plan.examples[reason]
    assert (example.row_number, example.problem.column) == (2, column)
    assert keys(plan)[1] is None
    assert "secret" not in example.problem.message


@pytest.mark.parametrize(
    "cells",
    [
        {"text": "NA"},
        {"text": "null"},
        {"text": "0"},
        {"text": "007"},
        {"text": "two\nlines\tand a tab"},
        {"text": "🐈 家猫 e\u0301 \u202eright to left"},
        {"text": "x" * 4000},
        {"text": '"quoted", with {braces} and \\'},
        {"photo": "http://images.example.com:8080/a/b.jpg?w=1&h=2#part"},
        {"photo": "https://images.example.com/%E7%8C%AB.jpg"},
        {"photo": "https://images.example.com/猫.jpg"},
        {"photo": "https://bücher.example/cover.jpg"},
        {"photo": "https://8.8.8.8/x.jpg"},
        {"photo": "https://sub.localfood.example.com/x.jpg"},
    ],
    ids=str,
)
def test_an_unusual_but_good_row_is_valid(
    project: Project, cells: dict[str, str]
) -> None:
    """G10, G12: text is kept as it is."""
    plan = plan_of(project, [row(**cells)])
    assert plan.invalid == 0
    (job,) = plan.pending_jobs()
    body = json.loads(job.payload())
    assert body["image_urls"] == [cells.get("photo", GOOD)]
    if "e\u0301" not in cells.get("text", ""):
        assert body["prompt"] == cells.get("text", "a cat")


def test_a_prompt_over_the_warning_length_is_valid_but_counted(
    project: Project,
) -> None:
    plan = plan_of(project, [row(text="x" * 801), row(text="x" * 800)])
    assert (plan.invalid, plan.long_prompts) == (0, 1)
    stricter = {
        **project.config["input"],
        "max_prompt_chars": 800,
        "warn_prompt_chars": 10,
    }
    again = planned(project, input=stricter)
    assert (again.invalid, again.long_prompts) == (1, 2)


def test_equal_rows_are_one_job_and_one_payment(project: Project) -> None:
    """G1."""
    plan = plan_of(project, [row(id="1"), row(id="2"), row(id="3", text="a dog")])
    assert (plan.rows, plan.distinct, plan.to_pay) == (3, 2, 2)
    assert keys(plan)[0] == keys(plan)[1] != keys(plan)[2]
    assert [job.row_number for job in plan.pending_jobs()] == [1, 3]


def test_all_rows_of_a_row_key_with_different_content_are_invalid(
    project: Project,
) -> None:
    """G2: the first of them too, whatever lies between."""
    rows = [
        row(id="a"),
        row(id="b"),
        row(id="a", text="a dog"),
        row(id="b"),
        row(id="c", text="an owl"),
    ]
    plan = plan_of(project, rows, input={"row_key": ["id"]})
    assert dict(plan.reasons) == {"duplicate_row_key": 2}
    assert [key is None for key in keys(plan)] == [True, False, True, False, False]
    assert [job.row_number for job in plan.pending_jobs()] == [2, 5]


def test_a_missing_row_key_is_invalid(project: Project) -> None:
    assert dict(plan_of(project, [row(id="")], input={"row_key": ["id"]}).reasons) == {
        "missing_row_key": 1
    }


def test_unicode_spellings_of_one_prompt_are_one_job(project: Project) -> None:
    """G13: NFC and NFD."""
    plan = plan_of(project, [row(text="caf\u00e9"), row(text="cafe\u0301")])
    assert plan.distinct == 1


def test_order_and_other_columns_do_not_matter(project: Project) -> None:
    """G3: identity is content, not position."""
    rows = project.rows(50)
    first = set(keys(plan_of(project, rows)))
    random.Random(3).shuffle(rows)
    assert (
        set(keys(plan_of(project, [{**cells, "note": "x"} for cells in rows]))) == first
    )


def test_ignored_url_parameters_do_not_change_the_job_but_are_sent(
    project: Project,
) -> None:
    signed = [row(photo=f"{GOOD}?w=5&X-Sig={sign}") for sign in ("a", "b")]
    plan = plan_of(project, signed, input={"ignore_url_params": ["X-Sig"]})
    assert plan.distinct == 1
    (job,) = plan.pending_jobs()
    assert json.loads(job.payload())["image_urls"] == [f"{GOOD}?w=5&X-Sig=a"]
    assert planned(project, input={"ignore_url_params": []}).distinct == 2


def test_the_limit_takes_the_first_pending_rows(project: Project) -> None:
    plan = plan_of(project, project.rows(10))
    assert [job.row_number for job in plan.pending_jobs(3)] == [1, 2, 3]
    assert list(plan.pending_jobs(0)) == []


@dataclass
class CountedTable:
    """A table that counts the rows that are read of it."""

    table: InputTable
    rows_read: int = 0

    def batches(self, size: int) -> Iterator[RowBatch]:
        for batch in self.table.batches(size):
            self.rows_read += batch.rows.num_rows
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)


def test_the_table_is_read_again_only_as_far_as_jobs_are_wanted(
    project: Project,
) -> None:
    # Batches of eight rows.
    plan = plan_of(project, project.rows(40), seed={"replicates": BATCH_JOBS // 8})
    table = CountedTable(plan.table)
    counted = replace(plan, table=cast(InputTable, table))
    assert list(counted.jobs_to_pay(0)) == []
    assert table.rows_read == 0
    assert len(list(counted.jobs_to_pay(1))) == 1
    # While one is looked at, the next is read.
    assert table.rows_read == 16
    assert len(list(counted.batches())) == 5


def test_a_prompt_template_is_filled_from_the_row(project: Project) -> None:
    plan = plan_of(
        project, [row(mood="calm")], request={"prompt": "{text}, {mood}, {{raw}}"}
    )
    (job,) = plan.pending_jobs()
    assert json.loads(job.payload())["prompt"] == "a cat, calm, {raw}"


def test_an_empty_prompt_cell_is_invalid_even_in_a_template(project: Project) -> None:
    plan = plan_of(project, [row(text="")], request={"prompt": "{text}, in watercolor"})
    assert dict(plan.reasons) == {"empty_prompt": 1}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{txet}", "has no column 'txet'"),
        ("{text.upper}", "no column"),
        ("{text!r}", "{text!r}"),
        ("{}", "{}"),
        ("{text:>9}", "{text:>9}"),
    ],
)
def test_a_template_that_names_no_column_is_one_error(
    project: Project, template: str, said: str
) -> None:
    project.write_rows([row()])
    with pytest.raises(TableError) as caught:
        planned(project, request={"prompt": template})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "cells", "expected"),
    [
        ("fixed", {}, 7),
        ("column", {"s": "123"}, 123),
        ("column", {"s": "2147483647"}, 2**31 - 1),
        ("column", {"s": "0"}, 0),
    ],
)
def test_seed_policies(
    project: Project, policy: str, cells: dict[str, str], expected: int
) -> None:
    columns = {"image_url": "photo", "prompt": "text"} | (
        {"seed": "s"} if policy == "column" else {}
    )
    plan = plan_of(
        project, [row(**cells)], seed={"policy": policy}, input={"columns": columns}
    )
    (job,) = plan.pending_jobs()
    assert json.loads(job.payload())["seed"] == expected


@pytest.mark.parametrize("seed", ["", "-1", "1.5", "x", "2147483648", "1e3", "９"])
def test_a_bad_seed_cell_is_invalid(project: Project, seed: str) -> None:
    columns = {"image_url": "photo", "prompt": "text", "seed": "s"}
    plan = plan_of(
        project, [row(s=seed)], seed={"policy": "column"}, input={"columns": columns}
    )
    assert dict(plan.reasons) == {"bad_seed": 1}


def test_columns_map_to_request_fields_by_the_type_of_the_schema(
    project: Project,
) -> None:
    columns = {
        "image_url": "photo",
        "prompt": "text",
        "controlnet_args.0.strength": "best",
        "ddim_steps": "n",
        "use_rephraser": "r",
    }
    rows = [
        row(best="0.80", n="25", r="false"),
        row(best="7", n="25", r="true"),
        row(best="", n="25", r="true"),
        row(best="0.5", n="25.5", r="true"),
    ]
    plan = plan_of(project, rows, input={"columns": columns, "max_invalid": 1})
    assert dict(plan.reasons) == {"bad_field": 3}
    (job,) = plan.pending_jobs()
    body = json.loads(job.payload())
    assert (
        body["controlnet_args"][0]["strength"],
        body["ddim_steps"],
        body["use_rephraser"],
    ) == (
        0.8,
        25,
        False,
    )


def test_typed_columns_are_typed_in_fields_and_text_in_templates(
    project: Project,
) -> None:
    """G16."""
    table = pa.table(
        {
            "photo": [GOOD, GOOD],
            "text": ["a", "b"],
            "best": [0.5, 1.0],
            "n": pa.array([3, 4], pa.int8()),
        }
    )
    pq.write_table(table, project.folder / "pets.parquet")
    columns = {
        "image_url": "photo",
        "prompt": "text",
        "controlnet_args.0.strength": "best",
    }
    plan = planned(
        project,
        input={"path": str(project.folder / "pets.parquet"), "columns": columns},
        request={"prompt": "{n} times {text} at {best}"},
    )
    bodies = [json.loads(job.payload()) for job in plan.pending_jobs()]
    assert [body["prompt"] for body in bodies] == ["3 times a at 0.5", "4 times b at 1"]
    assert [body["controlnet_args"][0]["strength"] for body in bodies] == [0.5, 1]


def test_several_image_columns_are_sent_in_order(project: Project) -> None:
    columns = {"image_url": ["photo", "mask"], "prompt": "text"}
    plan = plan_of(
        project,
        [row(mask="https://b.example.com/m.png"), row(mask="")],
        input={"columns": columns, "max_invalid": 1},
    )
    assert dict(plan.reasons) == {"missing_url": 1}
    (job,) = plan.pending_jobs()
    assert json.loads(job.payload())["image_urls"] == [
        GOOD,
        "https://b.example.com/m.png",
    ]


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        (f" {GOOD}", GOOD),
        (f"{GOOD}\t", GOOD),
        (f"\u00a0{GOOD}\u00a0", GOOD),
        (f"\ufeff{GOOD}", GOOD),
        (f"{GOOD}\u200b\ufeff", GOOD),
        (f"{GOOD}\r\n", GOOD),
    ],
)
def test_blanks_around_an_image_url_are_not_sent_and_said(
    project: Project, cell: str, sent: str
) -> None:
    """They come from pages and sheets, and the job is that of the clean URL."""
    plan = plan_of(project, [row(photo=cell), row(id="2", photo=sent)])
    assert (plan.invalid, plan.distinct, plan.notes["stripped_url"]) == (0, 1, 1)
    (job,) = plan.pending_jobs()
    assert job.request()["image_urls"] == [sent]


def test_an_image_url_with_escapes_of_html_is_sent_as_it_stands_and_said(
    project: Project,
) -> None:
    plan = plan_of(
        project, [row(photo=f"{GOOD}?a=1&amp;b=2"), row(photo=f"{GOOD}?a=1&b=2")]
    )
    assert (plan.invalid, plan.distinct, plan.notes["escaped_url"]) == (0, 2, 1)


@pytest.mark.parametrize(
    "url",
    [
        "https://[cdn-host]/b.jpg?sig=1",
        "https://[::1/b.jpg?sig=1",
        "https://a]b/x.jpg?sig=1",
        "https://[1.2.3.4]/x.jpg?sig=1",
        "https://[v1.a]/x.jpg?sig=1",
        "https://a.example.com\u2100/x.jpg?sig=1",
        "https://a.example.com:port/x.jpg?sig=1",
        "//a.example.com/x.jpg?sig=1",
        "?sig=1",
    ],
)
def test_a_url_that_can_not_be_split_is_one_invalid_row(
    project: Project, url: str
) -> None:
    plan = plan_of(
        project,
        [row(photo=f"{GOOD}?sig=1"), row(photo=url), row(photo=f"{GOOD}?sig=2")],
        input={"ignore_url_params": ["sig"], "max_invalid": 1},
    )
    assert (dict(plan.reasons), plan.distinct) == ({"malformed_url": 1}, 1)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("template", [None, "{text}!"])
def test_line_ends_of_any_system_are_newlines_of_a_prompt(
    project: Project, end: str, template: str | None
) -> None:
    """An export of Excel has CRLF inside of its quotes, and asks for the same image."""
    request = {} if template is None else {"prompt": template}
    plan = plan_of(project, [row(text=f"a cat{end}asleep"), row(text="a cat\nasleep")],
                   request=request)  # fmt: skip
    assert (plan.invalid, plan.distinct) == (0, 1)


def test_seeds_as_pandas_writes_them_are_whole_numbers(project: Project) -> None:
    cells = [
        "42",
        "42.0",
        "42.",
        "42.00",
        "42.5",
        "4e1",
        "-1.0",
        "",
        "2147483647.0",
        "2147483648.0",
    ]
    rows = [row(id=str(at), seed=cell) for at, cell in enumerate(cells)]
    columns = {"image_url": "photo", "prompt": "text", "seed": "seed"}
    plan = plan_of(
        project,
        rows,
        input={"columns": columns, "max_invalid": 1},
        seed={"policy": "column"},
    )
    assert (dict(plan.reasons), plan.distinct) == ({"bad_seed": 5}, 2)


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([[GOOD]]),
        pa.array([{"bytes": b"", "path": GOOD}]),
        pa.array([[("a", GOOD)]], pa.map_(pa.string(), pa.string())),
    ],
    ids=["list", "struct", "map"],
)
@pytest.mark.parametrize("role", ["image_url", "image_file"])
def test_a_nested_column_as_an_image_is_refused_with_its_name_and_type(
    project: Project, odd: pa.Array, role: str
) -> None:
    pq.write_table(
        pa.table({"odd": odd, "text": ["a cat"]}), project.folder / "t.parquet"
    )
    columns = {role: "odd", "prompt": "text"}
    project.config["input"] = {}
    with pytest.raises(TableError) as caught:
        planned(
            project,
            input={"path": str(project.folder / "t.parquet"), "columns": columns},
        )
    assert str(caught.value).startswith(f"column 'odd' is {odd.type}".partition("<")[0])


@pytest.mark.parametrize(
    "cell", ["NaN", "-Infinity", "1e400", "18446744073709551615", '"\\ud800"']
)
def test_a_json_cell_that_no_column_can_hold_matters_where_it_is_read(
    project: Project, cell: str
) -> None:
    line = json.dumps(row()).removesuffix("}")
    (project.folder / "t.jsonl").write_text(f'{line}, "n": {cell}, "m": {cell}}}\n')
    project.config["input"] = {
        "path": str(project.folder / "t.jsonl"),
        "max_invalid": 1,
    }
    columns = {"image_url": "photo", "prompt": "text"}
    plan = planned(project, input={"columns": columns})
    assert (plan.invalid, plan.notes["unread_cell"]) == (0, 1)
    for reader in ({"row_key": ["m"]}, {"columns": {**columns, "scale": "m"}}):
        read = planned(project, input={"row_key": [], "columns": columns, **reader})
        told = [
            problem for batch in read.batches() for problem in batch.problems.values()
        ]
        assert [problem.column for problem in told] == ["m"]


@pytest.mark.parametrize("cell", ["", " ", None])
def test_a_row_that_leaves_a_place_of_the_template_empty_is_invalid(
    project: Project, cell: str | None
) -> None:
    rows = [row(style="in oil"), row(style=cell)]
    pq.write_table(pa.Table.from_pylist(rows), project.folder / "t.parquet")
    project.config["input"]["path"] = str(project.folder / "t.parquet")
    plan = planned(project, request={"prompt": "{text}, {style}"})
    assert (plan.invalid, plan.reasons) == (1, {"empty_variable": 1})
    (shown,) = plan.examples["empty_variable"]
    assert shown.problem.column == "style"
    assert planned(project, request={"prompt": "{text}"}).invalid == 0
    allowed = planned(
        project,
        request={"prompt": "{text}, {style}"},
        input={**project.config["input"], "allow_empty": ["style"]},
    )
    assert (allowed.invalid, allowed.distinct) == (0, 2)


def test_the_prompt_column_may_be_empty_where_the_config_says_so(
    project: Project,
) -> None:
    project.write_rows([row(text=""), row(text="a cat")])
    assert planned(project, request={"prompt": "a pet {text}"}).invalid == 1
    allowed = {**project.config["input"], "allow_empty": ["text"]}
    plan = planned(project, request={"prompt": "a pet {text}"}, input=allowed)
    assert (plan.invalid, plan.distinct) == (0, 2)
    plan = planned(project, request={"prompt": "{text}"}, input=allowed)
    assert plan.reasons == {"empty_prompt": 1}
    with pytest.raises(ConfigError, match="names 'txet', which the prompt does not"):
        planned(project, input={**allowed, "allow_empty": ["txet"]})


@pytest.mark.parametrize(
    ("prompt", "sweep", "said"),
    [
        ("a {{text}}", {}, "contains {{text}}, which is sent as {text}"),
        ("a {{ text }}", {}, "contains {{ text }}, which is sent as {text}"),
        ("{text} {{mood}} {mood}", {"mood": ["calm"]}, "contains {{mood}}"),
        ("a {Text}", {}, "contains {Text}, and the table has 'text'"),
        ("{TEXT}", {"TEXT": ["a cat"]}, "contains {TEXT}, and the table has 'text'"),
    ],
)
def test_a_placeholder_that_is_nearly_a_column_is_a_mistake(
    project: Project, prompt: str, sweep: dict[str, Any], said: str
) -> None:
    project.write_rows([row()])
    with pytest.raises(TableError) as caught:
        planned(project, request={"prompt": prompt}, sweep=sweep)
    assert said in str(caught.value)
    assert "write {" in (caught.value.hint or "")


def test_doubled_braces_around_anything_else_are_plain_braces(project: Project) -> None:
    project.write_rows([row(text="a cat")])
    plan = planned(project, request={"prompt": "{text} {{like this}} {{ x }}"})
    job = next(plan.pending_jobs())
    assert job.request()["prompt"] == "a cat {like this} { x }"


def picture(path: Path, size: tuple[int, int] = (64, 64), kind: str = "PNG") -> None:
    Image.new("RGB", size, (200, 30, 60)).save(path, kind)


def cut(path: Path, kind: str, **options: Any) -> None:
    """Write the first two thirds of a picture whose header says nothing of that."""
    Image.effect_noise((64, 64), 80).save(path, kind, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def odd_files(folder: Path) -> dict[str, str]:
    """Make odd things that a cell can name, and return what each row's problem is, by what the cell says."""
    cut(folder / "cut.jpg", "JPEG")
    cut(folder / "steps.jpg", "JPEG", progressive=True)
    cut(folder / "cut.png", "PNG")
    picture(folder / "flipped.png")
    data = bytearray((folder / "flipped.png").read_bytes())
    data[60] ^= 1
    (folder / "flipped.png").write_bytes(data)
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "ring.png").symlink_to("back.png")
    (folder / "back.png").symlink_to("ring.png")
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "out.png").symlink_to("/etc/passwd")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    damaged = dict.fromkeys(
        ["cut.jpg", "steps.jpg", "cut.png", "flipped.png"], "input_damaged"
    )
    missing = ["itself.png", "ring.png", "nowhere.png", "folder.png", "pipe.png", "n" * 300 + ".png",
               "a/" * 3000 + "b.png", "nul\0.png", ".", "whole.png/more"]  # fmt: skip
    return {**damaged, **dict.fromkeys(missing, "image_file_missing"), "out.png": "image_file_outside",
            "  ": "missing_image_file"}  # fmt: skip


def test_an_odd_image_file_is_one_invalid_row(project: Project) -> None:
    odd = odd_files(project.folder)
    picture(project.folder / "whole.png")
    picture(project.folder / "nul.png")
    rows = [{"file": name, "text": "a cat"} for name in ["whole.png", *odd]]
    plan = plan_of(
        project,
        rows,
        input={"columns": {"image_file": "file", "prompt": "text"}, "max_invalid": 1},
    )
    assert dict(plan.reasons) == Counter(odd.values())
    assert (plan.to_pay, plan.invalid) == (1, len(odd))
    bad = {
        batch.rows.rows["file"][at].as_py(): problem.reason
        for batch in plan.batches()
        for at, problem in batch.problems.items()
    }
    assert bad == odd


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("pets/a.png", "pets\\a.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("caf\u00e9/a.png", "cafe\u0301\\a.png"),
        ("odd\\name.png", "odd\\name.png"),
    ],
)
def test_an_image_file_is_found_as_other_systems_spell_it(
    project: Project, there: str, named: str
) -> None:
    """Tables of Windows separate folders by backslashes, archives of macOS decompose accents."""
    file = project.folder / there
    file.parent.mkdir(exist_ok=True)
    picture(file)
    columns = {"image_file": "file", "prompt": "text"}
    plan = plan_of(
        project, [{"file": named, "text": "a cat"}], input={"columns": columns}
    )
    assert (plan.invalid, plan.to_pay) == (0, 1)


def test_local_images_are_sent_inline_and_known_by_their_content(
    project: Project,
) -> None:
    picture(project.folder / "a.png")
    picture(project.folder / "same.png")
    picture(project.folder / "wide.png", (400, 100))
    picture(project.folder / "anim.gif", kind="GIF")
    (project.folder / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 4_700_001)
    (project.folder.parent / "outside.png").write_bytes(b"x")
    names = [
        "a.png",
        "same.png",
        "wide.png",
        "anim.gif",
        "big.png",
        "none.png",
        "",
        "../outside.png",
        "/etc/passwd",
    ]
    rows = [{"file": name, "text": "a cat"} for name in names]
    plan = plan_of(
        project,
        rows,
        input={"columns": {"image_file": "file", "prompt": "text"}, "max_invalid": 1},
    )
    assert dict(plan.reasons) == {
        "image_file_ratio": 1,
        "image_file_format": 1,
        "image_file_too_large": 1,
        "image_file_missing": 1,
        "missing_image_file": 1,
        "image_file_outside": 2,
    }
    assert plan.distinct == 1
    (job,) = plan.pending_jobs()
    sent = json.loads(job.payload())
    assert len(sent["binary_data_base64"]) == 1
    assert "image_urls" not in sent
    (project.folder / "a.png").write_bytes(b"another")
    with pytest.raises(TableError, match=r"a\.png changed"):
        job.payload()


def test_a_missing_column_names_what_there_is(project: Project) -> None:
    """G15."""
    project.write_rows([{"Photo": GOOD, "text": "a"}])
    with pytest.raises(TableError, match="no column 'photo'; it has: Photo, text"):
        planned(project)


def test_a_semicolon_file_is_told_apart_from_a_missing_column(
    project: Project,
) -> None:
    """G7: the message says what to do."""
    (project.folder / "pets.csv").write_text(f"id;photo;text\n1;{GOOD};a cat\n")
    with pytest.raises(TableError) as caught:
        planned(project)
    assert "input.delimiter" in caught.value.hint
    assert planned(project, input={"delimiter": ";"}).to_pay == 1


def test_a_row_with_the_wrong_number_of_cells_is_invalid_and_the_rest_go_on(
    project: Project,
) -> None:
    """G7."""
    with gzip.open(project.folder / "pets.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows(
            [["photo", "text"], [GOOD, "a"], [GOOD], [GOOD, "b", "c"], [GOOD, "d"]]
        )
    plan = planned(project, input={"path": str(project.folder / "pets.csv.gz")})
    assert (plan.rows, dict(plan.reasons), plan.to_pay) == (4, {"column_count": 2}, 2)


def test_an_empty_table_is_a_valid_plan(project: Project) -> None:
    """G8."""
    plan = plan_of(project, [])
    assert (plan.rows, plan.distinct, plan.to_pay) == (0, 0, 0)


def test_the_plan_says_what_bounds_the_time(project: Project) -> None:
    project.write_rows([row()])
    gateway = {"kind": "gateway", "base_url": "https://g.example.com"}
    plan = planned(project, provider=gateway, limits={"qps": 2, "concurrency": 4})
    assert (
        plan.bound()
        == "4 calls in flight at 5.9 s each are 0.68 calls/s; 12 in flight would reach your 2 calls/s"
    )
    assert (
        "your limit of 2 calls/s"
        in planned(project, limits={"qps": 2, "concurrency": 40}).bound()
    )


def test_the_counts_of_the_json_plan_add_up(project: Project) -> None:
    plan = plan_of(
        project,
        [row(), row(), row(text=""), row(text="b")],
        budget={"price_per_call": 0.2},
    )
    counts = plan.summary()
    assert (
        counts["jobs"]
        == (counts["rows"] - counts["invalid"]) * counts["points"] + counts["invalid"]
    )
    states = ("cached", "refused", "failed", "in_doubt", "pending")
    assert counts["distinct"] == sum(counts[state] for state in states) == 2
    assert counts["cost"] == {"pending": 0.4, "currency": "CNY"}
