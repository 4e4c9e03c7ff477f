"""`pixmill export` as people and programs use it."""

import json
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.export.targets import check_target
from pixmill.datasets.report.page import check_page
from pixmill.errors import UserError
from pixmill.ledger import open_ledger
from tests.conftest import Project, run_config
from tests.pixmill.datasets.published import Shelf
from tests.real_command import Command


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    good = [shelf.job(at, file_name=shelf.image(at)) for at in range(20)]
    shelf.publish(
        [*good, shelf.job(20, status="failed"), shelf.job(21, error_code="image_lost")]
    )
    return shelf


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset"])
def test_an_export_for_training_says_what_it_wrote_and_what_it_left_out(
    shelf: Shelf, pixmill: Command, kind: str
) -> None:
    out = str(shelf.folder / "images")
    shown = pixmill(
        "export",
        shelf.path,
        "--format",
        kind,
        "--out",
        out,
        "--split",
        "val=0.2",
        "--split",
        "test=0.3",
        "--json",
    )
    said = shown.report
    assert shown.exit_code == 0
    assert (said["rows"], said["format"], said["out"]) == (20, kind, out)
    assert sum(said["splits"].values()) == 20
    assert said["splits"].keys() == {"train", "val", "test"}
    assert said["left_out"] == {"failed": 1, "image_lost": 1}
    first, second, third = shown.stderr.splitlines()
    assert first.startswith(f"wrote 20 samples to {out} (")
    assert second == "  left out, as they have no image: 1 failed, 1 image lost"
    assert third.startswith("read it with: ")
    assert out in third


def test_a_contact_sheet_says_which_images_it_lacks(
    tmp_path: Path, pixmill: Command
) -> None:
    shelf = Shelf(tmp_path)
    names = [shelf.image(at) for at in range(3)]
    shelf.publish([shelf.with_images(shelf.job(0), names), shelf.job(1)])
    out = str(tmp_path / "sheet.png")
    shown = pixmill(
        "export", shelf.path, "--format", "contact-sheet", "--out", out, "--json"
    )
    assert shown.stderr.splitlines() == [
        f"drew 2 pictures to {out}",
        "  not drawn: 2 further images",
    ]
    assert shown.report["left_out"] == {"further_images": 2}


def test_a_table_of_some_rows_with_their_split(shelf: Shelf, pixmill: Command) -> None:
    out = shelf.folder / "few.jsonl"
    options = (
        "--where",
        "status == 'succeeded' and row_number <= 8",
        "--split",
        "val=0.5",
        "--split-by",
        "id",
    )
    shown = pixmill(
        "export", shelf.path, "--format", "jsonl", "--out", str(out), *options
    )
    assert (shown.exit_code, shown.stdout) == (0, "")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row_key"] for row in rows] == [f"r{at}" for at in range(8)]
    assert {row["split"] for row in rows} == {"train", "val"}


def test_a_csv_export_with_raw_cells_pays_for_nothing_as_a_table(
    project: Project, pixmill: Command
) -> None:
    """G27: texts that a spreadsheet would run are other prompts with an apostrophe, and the command says so."""
    rows = project.rows(4)
    texts = ["-5 degrees, a barn", "=a pet", "+1 pet", 'two\nlines, "quoted"']
    project.write_rows(
        [{**row, "text": text} for row, text in zip(rows, texts, strict=True)]
    )
    config, paid = project.write_config(), []
    assert run_config(config)["calls"] == 4
    for options in ((), ("--raw-cells",)):
        out = str(project.folder / "again.csv")
        shown = pixmill(
            "export", config, "--format", "csv", "--out", out, "--force", *options
        )
        said = " cells that a spreadsheet would run" in shown.stderr
        assert (shown.exit_code, said) == (0, not options)
        paid.append(run_config(config, f"input.path={out}", "name=again")["calls"])
    assert paid == [3, 0]


@pytest.mark.parametrize(
    ("name", "kind", "begins"),
    [
        ("t.csv", "csv", b"id,"),
        ("t.JSONL", "jsonl", b"{"),
        ("t.parquet", "parquet", b"PAR1"),
        ("t", "parquet", b"PAR1"),
        ("t.png", "contact-sheet", b"\x89PNG"),
    ],
)
def test_without_a_format_the_ending_of_the_file_says_what_is_written(
    shelf: Shelf, pixmill: Command, name: str, kind: str, begins: bytes
) -> None:
    out = shelf.folder / name
    shown = pixmill("export", shelf.path, "--out", str(out), "--json")
    assert (shown.exit_code, shown.report["format"]) == (0, kind)
    assert out.read_bytes().startswith(begins)


def test_an_ending_of_another_format_is_a_mistake_that_names_both(
    shelf: Shelf, pixmill: Command
) -> None:
    out = shelf.folder / "t.csv"
    for kind in ("parquet", "imagefolder", "contact-sheet"):
        shown = pixmill("export", shelf.path, "--out", str(out), "--format", kind)
        assert shown.exit_code == 2
        assert f"ends in .csv, which is csv, and --format is {kind}" in shown.stderr
        assert not out.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--raw-cells", "--format", "jsonl"), "--raw-cells is about CSV"),
        (("--where", "statsu == 'failed'"), "did you mean `status`"),
        (("--split", "val=2"), "error: --split val=2 is not a valid split"),
    ],
)
def test_a_mistake_exits_2_without_a_traceback_and_writes_nothing(
    shelf: Shelf, pixmill: Command, options: tuple[str, ...], says: str
) -> None:
    shown = pixmill(
        "export", shelf.path, "--out", str(shelf.folder / "x"), "--json", *options
    )
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (shelf.folder / "x").exists()


def test_an_export_replaces_no_input_config_ledger_or_store_and_others_only_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(0)])
    table = tmp_path / "pets.csv"
    (tmp_path / "tables" / "deep").mkdir(parents=True)
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    mine = tmp_path / "mine.csv"
    for file in (table, mine, shelf.store / "ledger.db", tmp_path / "tables/a.csv"):
        file.write_text("mine")
    never = "is read as a part of the input table"
    store = "is a part of the store"
    cases = [
        (str(table), "pets.csv", never),
        (str(table), "link.csv", never),
        ("tables", "tables/new.csv", never),
        ("tables", "tables/a.csv", never),
        ("tables/*.csv", "tables/new.csv", never),
        ("tables/*.csv", "tables/a.csv", never),
        ("tables/**/*.csv", "tables/deep/new.csv", never),
        ("tables/*.csv", "tables/deep/new.csv", ""),
        ("tables/*.csv", "tables/new.parquet", ""),
        (str(table), "new.csv", ""),
        (str(table), shelf.path, "is the config itself"),
        (str(table), "out/ledger.db", store),
        (str(table), "out/ledger.db-wal", store),
        (str(table), "out/images/new.csv", store),
        (str(table), "out/pets/dataset.parquet", store),
        (str(table), "out/simulated/ledger.db", store),
        (str(table), "out/new.csv", ""),
        (str(table), "mine.csv", "exists already"),
    ]
    for path, out, message in cases:
        config = load_config(shelf.path, [f"input.path={path}"])
        for force in (False, True):
            if not message or (force and out == "mine.csv"):
                check_target(config, shelf.path, Path(out), overwrite=force)
                continue
            with pytest.raises(UserError, match=message):
                check_target(config, shelf.path, Path(out), overwrite=force)


def test_a_table_of_invalid_rows_and_a_page_replace_only_their_like(
    project: Project, pixmill: Command
) -> None:
    rows = project.rows(3)
    rows[0]["text"] = ""
    project.write_rows(rows)
    config = project.write_config()
    table = project.folder / "pets.csv"
    before = table.read_bytes()
    shown = pixmill("validate", config, "--out", str(table), "--force")
    assert (shown.exit_code, table.read_bytes()) == (2, before)
    bad = str(project.folder / "bad.csv")
    for _ in range(2):
        assert pixmill("validate", config, "--out", bad).exit_code == 3
    Path(bad).write_text("mine")
    assert "--force replaces it" in pixmill("validate", config, "--out", bad).stderr
    page = project.folder / "index.html"
    for text, is_ours in (
        ("<title>mine</title>", False),
        ("<title>a · pixmill</title>", True),
    ):
        page.write_text(text)
        if is_ours:
            check_page(page)
            continue
        with pytest.raises(UserError, match="not a page of pixmill"):
            check_page(page)


WRITING_COMMANDS = [
    ("init", "{table}", "--out", "{target}"),
    ("promote", "{config}", "--point", "base", "--out", "{target}"),
    ("export", "{config}", "--format", "csv", "--out", "{target}"),
    ("export", "{config}", "--format", "csv", "--out", "{target}", "--force"),
    ("export", "{config}", "--format", "imagefolder", "--out", "{target}", "--force"),
    ("export", "{config}", "--format", "contact-sheet", "--out", "{target}", "--force"),
    ("validate", "{config}", "--out", "{target}"),
    ("validate", "{config}", "--out", "{target}", "--force"),
    ("ledger", "backup", "{store}", "--out", "{target}"),
    ("report", "{config}", "--out", "{target}"),
    ("compare", "pets", "pets", "--store", "{store}", "--out", "{target}"),
]


@pytest.mark.parametrize("command", WRITING_COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["child.yaml", "pets.yaml"])
def test_no_command_writes_over_a_config_or_one_that_it_extends(
    shelf: Shelf, pixmill: Command, command: tuple[str, ...], name: str
) -> None:
    (shelf.folder / "pets.csv").write_text(
        "id,photo,text\n1,https://x.example/1.jpg,a\n"
    )
    (shelf.folder / "child.yaml").write_text("extends: pets.yaml\nlimits: {qps: 3}\n")
    open_ledger(shelf.store / "ledger.db").close()
    target = shelf.folder / name
    before = target.read_text()
    places = {
        "table": str(shelf.folder / "pets.csv"),
        "config": str(shelf.folder / "child.yaml"),
        "store": str(shelf.store),
        "target": str(target),
    }
    done = pixmill(*(part.format(**places) for part in command))
    assert (done.exit_code, target.read_text()) == (2, before), done.stderr


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("all.md", "has the name of the dataset card"),
        ("all.MD", "has the name of the dataset card"),
        ("d.parquet", "is a folder, where the dataset card of"),
        (".", "is a folder"),
    ],
)
def test_a_table_whose_card_has_no_place_is_not_written(
    shelf: Shelf, pixmill: Command, name: str, mistake: str
) -> None:
    (shelf.folder / "d.md").mkdir()
    before = sorted(shelf.folder.iterdir())
    # A folder without a name is one of its own kind: `Path(".").name` is empty.
    out = name if name == "." else str(shelf.folder / name)
    for force in ((), ("--force",)):
        shown = pixmill(
            "export", shelf.path, "--format", "parquet", "--out", out, *force
        )
        assert shown.exit_code == 2
        assert mistake in shown.stderr
    assert sorted(shelf.folder.iterdir()) == before


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_force_is_needed_for_every_file_that_an_export_writes(
    shelf: Shelf, pixmill: Command, kind: str
) -> None:
    out = shelf.folder / f"all.{kind}"
    arguments = ("export", shelf.path, "--format", kind, "--out", str(out))
    card = shelf.folder / "all.md"
    card.write_text("mine")
    refused = pixmill(*arguments)
    is_in_the_way = kind == "parquet"
    assert (refused.exit_code == 2) is is_in_the_way
    assert card.read_text() == "mine"
    assert out.exists() is not is_in_the_way
    assert pixmill(*arguments, "--force").exit_code == 0
    assert (card.read_text() == "mine") is not is_in_the_way
