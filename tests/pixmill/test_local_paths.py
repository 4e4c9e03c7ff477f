"""Paths as people write them: each form is the place that is meant, wherever a path is taken, or a mistake."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pixmill.cli.console import place
from pixmill.config.loading import load_config
from pixmill.datasets.loading import load_results
from pixmill.errors import ConfigError, UserError
from pixmill.local_paths import folder_problem, given_path, local_path
from tests.conftest import Project, run_config
from tests.real_command import Command, CommandResult

URL = "is not supported; write"
FORMS = [
    ("~/x", "{home}/x"),
    ("~", "{home}"),
    ("~/", "{home}"),
    ("~/x/", "{home}/x"),
    ("~/a b/ü", "{home}/a b/ü"),
    ("~root/x", str(Path("~root/x").expanduser())),
    ("./~/x", "./~/x"),
    ("x/~/y", "x/~/y"),
    ("x~", "x~"),
    ("../x", "../x"),
    ("a/../b/", "a/../b/"),
    ("x*.csv", "x*.csv"),
    ("/data//x", "/data//x"),
    ("out:v2", "out:v2"),
    ("C:/x", "C:/x"),
    ("costs in $.csv", "costs in $.csv"),
]
"""What is written, and what it means."""

MISTAKES = [
    ("", "is empty"),
    (" ", "is empty"),
    ("~nobody-here/x", "no home folder of a user 'nobody-here'"),
    ("file:///data/x", "not a file:// URL: write /data/x"),
    ("file:/data/a%20b", "not a file:// URL: write /data/a b"),
    ("FILE://localhost/data/x", "not a file:// URL: write /data/x"),
    ("gs://bucket/x", f"gs:// {URL}"),
    ("https://bucket.s3.amazonaws.com/x", f"https:// {URL}"),
    ("s3:/bucket/x", f"s3:// {URL}"),
    ("$HOME/x", "contains $HOME, which is not expanded: write the path itself"),
    ("x\0y", "contains a NUL"),
]
MISTAKES_OF_COMMANDS = [
    (
        "/data/${USER}/x",
        "contains ${USER}, which is not expanded: write the path itself",
    ),
    (
        "/data/${NAME:-x}",
        "contains ${NAME:-x}, which is not expanded: write the path itself",
    ),
]
"""In a config they are environment variables."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is not the working directory, which is empty."""
    folder = tmp_path / "home"
    here = tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(here)
    return folder


@pytest.mark.parametrize(("written", "meant"), FORMS)
def test_a_path_is_the_place_that_is_meant(
    written: str, meant: str, home: Path
) -> None:
    root = Path("~root").expanduser()
    wanted = meant.format(home=home).replace("/root", str(root), 1)
    assert local_path(written) == wanted
    assert local_path(wanted) == wanted
    assert given_path(written) == Path(wanted)


@pytest.mark.parametrize(("written", "problem"), [*MISTAKES, *MISTAKES_OF_COMMANDS])
def test_what_is_no_path_is_said(written: str, problem: str, home: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        local_path(written)
    with pytest.raises(UserError, match=re.escape(problem)):
        given_path(written)


@pytest.mark.parametrize("name", ["$HOME", "a${b}", "file:x", "gs:"])
def test_a_path_that_is_there_as_it_is_written_is_meant(name: str, home: Path) -> None:
    Path(name).mkdir()
    assert local_path(f"{name}/../{name}") == f"{name}/../{name}"


def test_a_folder_called_by_a_tilde_is_not_taken_for_the_home_unasked(
    home: Path,
) -> None:
    """Earlier versions made it, and what they paid for is in there."""
    Path("~/x").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"write \./~/x for the first, or move it"):
        local_path("~/x")
    assert local_path("./~/x") == "./~/x"


def test_a_file_is_no_folder_and_nothing_is_below_it(home: Path) -> None:
    Path("file").touch()
    Path("link").symlink_to("file")
    assert folder_problem(Path("file")) == "is a file"
    assert folder_problem(Path("link")) == "is a file"
    assert "leads through" in str(folder_problem(Path("file/below")))
    assert folder_problem(Path("new/below")) is None
    assert folder_problem(Path()) is None


# In a config.

KEYS = ("store", "input.path", "provider.api_key_file")
SMALL = {
    "name": "pets",
    "input": {"path": "pets.csv"},
    "provider": {"kind": "gateway", "base_url": "https://gateway.example.com"},
}


def written_config(key: str, value: str) -> Path:
    """A config with `value` at `key`, in a file."""
    section, _, name = key.partition(".")
    of_section = SMALL.get(section)
    changed = {**of_section, name: value} if isinstance(of_section, dict) else value
    path = Path("pets.yaml")
    path.write_text(yaml.safe_dump({**SMALL, section: changed}))
    return path


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("written", "meant"), FORMS)
def test_every_path_of_a_config_is_the_place_that_is_meant(
    key: str, written: str, meant: str, home: Path
) -> None:
    loaded = load_config(written_config(key, written))
    assert loaded.model_dump()  # it can be written down
    value = loaded
    for part in key.split("."):
        value = getattr(value, part)
    assert str(value) == meant.format(home=home).replace(
        "/root", str(Path("~root").expanduser()), 1
    )


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("written", "problem"), MISTAKES)
def test_every_path_of_a_config_that_is_none_is_a_mistake_with_its_key(
    key: str, written: str, problem: str, home: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written_config(key, written))
    assert f"  {key}: " in str(caught.value)
    # Of an empty text pydantic says so where a key is not a path alone.
    words = [problem] if written else [problem, "at least 1 character"]
    assert any(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        ("taken", "store: is a file"),
        ("taken/below", "store: leads through"),
        ("", "store: "),
    ],
)
def test_a_store_that_can_be_no_folder_is_a_mistake(
    store: str, problem: str, home: Path
) -> None:
    Path("taken").touch()
    with pytest.raises(ConfigError, match=problem):
        load_config(written_config("store", store))


def test_a_store_that_is_a_lone_tilde_is_not_silently_the_default(home: Path) -> None:
    """YAML reads `~` as null."""
    Path("pets.yaml").write_text("name: pets\nstore: ~\ninput: {path: pets.csv}\n")
    with pytest.raises(
        ConfigError, match="store: is null, which is how YAML reads a lone ~"
    ):
        load_config("pets.yaml")


def test_an_unquoted_home_is_where_a_run_stores_and_publishes(
    project: Project, home: Path
) -> None:
    project.write_rows(project.rows(2))
    (home / "pets.csv").write_bytes((project.folder / "pets.csv").read_bytes())
    config = project.write_config(store="~/somewhere", input={"path": "~/pets.csv"})
    Path(config).rename(home / "pets.yaml")
    report = run_config("~/pets.yaml")
    assert (report["succeeded"], report["exit_code"]) == (2, 0)
    assert (home / "somewhere" / "simulated" / "pets" / "dataset.parquet").exists()
    assert list(Path().iterdir()) == []
    assert len(load_results("~/somewhere/simulated/pets")) == 2
    assert len(load_results("~/pets.yaml")) == 2


# After a command.


class RawValue(NamedTuple):
    """A command with a path in it, and what it leaves in the home folder."""

    arguments: tuple[str, ...]
    leaves: str = ""


COMMANDS = {
    "validate --out": RawValue(("validate", "{config}", "--out={path}"), "x"),
    "export --out": RawValue(
        ("export", "{config}", "--format", "csv", "--out={path}"), "x"
    ),
    "report --out": RawValue(("report", "{config}", "--out={path}"), "x"),
    "ledger backup --out": RawValue(
        ("ledger", "backup", "{store}", "--out={path}"), "x"
    ),
    "init": RawValue(("init", "{path}"), "x"),
    "run --rehearse": RawValue(("run", "{config}", "--rehearse={path}")),
    "simulate --faults": RawValue(("simulate", "--faults={path}")),
    "bill": RawValue(("bill", "{path}")),
    "bill --against": RawValue(("bill", "{store}", "--against={path}")),
    "ledger stats": RawValue(("ledger", "stats", "{path}")),
    "compare": RawValue(("compare", "{path}", "{config}")),
    "compare --store": RawValue(("compare", "pets", "pets", "--store={path}")),
    "promote --picks": RawValue(("promote", "{config}", "--picks={path}")),
    "promote --input": RawValue(
        ("promote", "{config}", "--point=base", "--input={path}")
    ),
    "plan": RawValue(("plan", "{path}")),
}


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A config that has been run. Commands write to the home folder, not here."""
    project = Project(tmp_path_factory.mktemp("paid"))
    project.write_rows(project.rows(2))
    run_config(project.write_config())
    return project


@pytest.fixture
def told(
    paid: Project, home: Path, pixmill: Command
) -> Callable[[RawValue, str], CommandResult]:
    """Carries out a command with a path in it, on a config that has been run."""

    def carried_out(given: RawValue, path: str) -> CommandResult:
        store = paid.folder / "out" / "simulated"
        arguments = (
            part.format(config=paid.path, store=store, path=path)
            for part in given.arguments
        )
        return pixmill(*arguments)

    return carried_out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_finds_the_home_and_says_what_is_no_path(
    command: str, told: Callable[[RawValue, str], CommandResult], home: Path
) -> None:
    given = COMMANDS[command]
    there = told(given, "~/x")
    if given.leaves:
        assert there.exit_code == 0, there.stderr
        assert (home / given.leaves).exists()
    else:
        assert str(home / "x") in there.stderr + there.stdout
    assert not Path("~").exists()
    # One of the mistakes shows that the command looks for them all.
    said = told(given, "$HOME/x")
    assert said.exit_code == 2
    assert "contains $HOME" in said.stderr
    assert "Traceback" not in said.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/x?region=eu-1",
        "S3://bucket",
        "postgresql+psycopg://db.example.com/x",
    ],
)
def test_a_url_that_a_command_takes_stays_as_it_is(url: str) -> None:
    assert place(url) == url
