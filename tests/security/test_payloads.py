"""Hostile ids, names, prompts, URLs and files: what must never be fetched, written, run or believed (4.3 to 4.7)."""

import csv
import pickle
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.datasets.export import Choice, Format, export
from pixmill.datasets.loading import load_results
from pixmill.datasets.report import write_report
from pixmill.datasets.verification import verify
from pixmill.errors import PixmillError, UserError
from pixmill.http.transport import Reply
from pixmill.provider.error_codes import code_table
from pixmill.provider.responses import read_answer
from pixmill.storage.image_store import ImageStore
from tests.conftest import Project, results, run_config
from tests.faulty_server import FaultyServer, answer
from tests.pixmill.datasets.published import INPUT, Shelf
from tests.pixmill.run_checks import Provider, configure_run
from tests.pixmill.sample_pictures import JPEG

PATHS = [
    "../../x", "../" * 30 + "tmp/x", "/tmp/x", "//host/share/x", "~/x", "C:\\x", "..\\..\\x", "\\\\host\\x", "CON",
    "aux", "nul.txt", "con.jpg", "a\0b", "a" * 300, "字" * 120, ".", "..", "...", "-rf", "--out", "$(touch x)",
    "`touch x`", "a;touch x", "%2e%2e%2fx", "..%c0%afx", "\uff0e\uff0e\uff0fx", "a\u2215b", "a\u202etxt", "file:///etc/passwd",
    "{x}", "{0.__class__}", "a/b/c", "images/ab/x.jpg", "ledger.db", "x\n../y", " ../x", "pets/../../x",
]  # fmt: skip


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file outside the store that nothing may change or take away."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    yield victim
    assert victim.read_text() == "untouched"
    assert not victim.is_symlink()


def test_no_text_of_the_table_or_the_provider_becomes_a_path(
    project: Project, monkeypatch: pytest.MonkeyPatch, outside: Path
) -> None:
    """4.4: hostile ids, prompts and column names, and providers that name files. Data they are and data they stay."""
    monkeypatch.chdir(project.folder)
    usable = [path for path in PATHS if path.isprintable() and not path.startswith("{")]
    with Provider() as provider:
        config = configure_run(project, provider.url, 1, input={"row_key": ["id"]})
        rows = [
            {
                "id": path,
                "photo": "https://e.example/a.jpg",
                "text": path,
                "../../col": path,
            }
            for path in usable
        ]
        project.write_rows(rows)
        report = run_config(config)
        before = tree(project.folder)
        published = results(report)
        write_report(load_config(config))
        for kind, name in (
            ("csv", "t.csv"),
            ("jsonl", "t.jsonl"),
            ("parquet", "t.parquet"),
        ):
            export(
                load_config(config), kind, project.folder / "exports" / name, Choice()
            )  # type: ignore[arg-type]
    assert report["exit_code"] == 0
    assert [row["row_key"] for row in published] == usable
    fixed = {"pets.csv", "pets.yaml", "victim", "out"}
    assert {path.split("/")[0] for path in before} == fixed
    assert tree(project.folder) - before == {
        "exports",
        "exports/t.csv",
        "exports/t.jsonl",
        # The card of the Parquet file.
        "exports/t.md",
        "exports/t.parquet",
    }
    assert all(path.isascii() and len(path) < 100 for path in before)


@pytest.mark.parametrize("name", PATHS, ids=ascii)
def test_a_config_can_not_name_its_dataset_out_of_the_store(
    name: str, project: Project
) -> None:
    """4.4: the name becomes a folder, so only what is a plain name everywhere is one."""
    config = project.write_config(name=name)
    if name in ("CON", "aux"):
        assert load_config(config).dataset_folder.name == name, (
            "reserved only where pixmill does not run"
        )
    else:
        with pytest.raises(UserError, match="name"):
            load_config(config)


WHILE_WRITTEN = ".{}.tmp"


@pytest.mark.parametrize("planted", ["{}", WHILE_WRITTEN])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_link_planted_where_an_export_goes_is_replaced_and_not_followed(
    kind: Format, planted: str, tmp_path: Path
) -> None:
    """4.4: at the target, and under the name that it has while it is written."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(0)])
    out = tmp_path / f"table.{kind}"
    out.with_name(planted.format(out.name)).symlink_to(outside)
    export(load_config(shelf.path), kind, out, Choice())
    assert outside.read_text() == "untouched"
    assert not out.is_symlink()


def test_a_link_planted_at_a_stored_image_is_replaced_and_not_followed(
    tmp_path: Path, outside: Path
) -> None:
    store = tmp_path / "store"
    stored = store / ImageStore(store).save(JPEG).file_name
    stored.unlink()
    stored.symlink_to(outside)
    ImageStore(store).save(JPEG)
    assert stored.read_bytes() == JPEG
    assert not stored.is_symlink()


@pytest.mark.parametrize("planted", ["{}", WHILE_WRITTEN])
def test_links_planted_where_a_run_publishes_are_replaced_and_not_followed(
    planted: str, project: Project
) -> None:
    """4.4: the dataset, what lies beside it, and the report."""
    outside = project.folder / "outside"
    outside.write_text("untouched")
    with Provider() as provider:
        config = configure_run(project, provider.url, 2)
        folder = load_config(config).dataset_folder
        names = (
            "dataset.parquet",
            "manifest.json",
            "config.yaml",
            "invalid.parquet",
            "report/index.html",
        )
        for path in (folder / name for name in names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(planted.format(path.name)).symlink_to(outside)
        report = run_config(config)
    assert report["exit_code"] == 0
    assert outside.read_text() == "untouched"
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


CELLS = [
    start + rest
    for start in ("=", "+", "-", "@", "\t=", "\r=", "\n=", "\0=", "＝", "＋", "－", "＠", " =", "   +")
    for rest in ("1+1", "cmd|' /C calc'!A0", 'HYPERLINK("https://evil.example","x")')
]  # fmt: skip


def test_no_cell_of_a_csv_export_is_a_formula(tmp_path: Path) -> None:
    """4.5: at least forty payloads, as values and as a column's name, also after spaces; numbers stay numbers."""
    assert len(CELLS) >= 40
    shelf = Shelf(tmp_path)
    own = INPUT.append(pa.field("=1+1", pa.string())).append(pa.field("n", pa.int64()))
    shelf.publish(
        [shelf.job(at, **{"=1+1": cell, "n": -at}) for at, cell in enumerate(CELLS)],
        own,
    )
    out = tmp_path / "pets.out.csv"
    export(load_config(shelf.path), "csv", out, Choice())
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    cells = [cell for row in rows for cell in row if not cell.lstrip("-").isdigit()]
    for cell in cells:
        first = unicodedata.normalize("NFKC", cell.lstrip(" "))[:1]
        assert first not in ("=", "+", "-", "@", "\t", "\r", "\n", "\0"), repr(cell)
    at = rows[0].index("n")
    assert [row[at] for row in rows[1:]] == [
        str(-number) for number in range(len(CELLS))
    ]


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._mark,)


def test_a_pickle_planted_in_the_store_never_runs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.7: beside and in place of what is read again, in Prefect's result store, and as an answer."""
    mark = tmp_path / "it-ran"
    bomb = pickle.dumps(Bomb(mark))
    results_of_prefect = tmp_path / "prefect" / "storage"
    monkeypatch.setenv("PREFECT_HOME", str(results_of_prefect.parent))
    results_of_prefect.mkdir(parents=True)
    with Provider() as provider:
        config = configure_run(project, provider.url, 2)
        folder = load_config(config).dataset_folder
        run_config(config)
        for name in ("a.pickle", "a", "b.pkl"):
            for place in (
                results_of_prefect,
                folder,
                folder / "runs",
                folder / "history",
                folder.parent / "images",
            ):
                place.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(bomb)
        for run in (folder / "runs").glob("*.json"):
            run.write_bytes(bomb)
        (folder / "manifest.json").write_bytes(bomb)
        run_config(config)
        load_results(folder)
        verify(load_config(config), lambda _: None)
    assert read_answer(Reply(200, {}, bomb), code_table("x")).image_urls == ()
    (folder / "dataset.parquet").write_bytes(bomb)
    with pytest.raises((PixmillError, OSError, pa.ArrowException)):
        load_results(folder)
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists()


YAML = [
    "!!python/object/apply:os.system ['touch {mark}']",
    "!!python/object/apply:subprocess.check_output [['touch', '{mark}']]",
    "!!python/object/new:os.system ['touch {mark}']",
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{mark}']]",
    "!!python/object:pixmill.config.model.Config {{}}",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object/apply:eval [\"open('{mark}', 'w')\"]",
    "!!python/object/apply:builtins.exec [\"open('{mark}', 'w')\"]",
    "!!python/tuple [a, b]",
    "!!python/bytes aGk=",
    "!ruby/object:Gem::Requirement {{}}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {mark}']",
]


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_yaml_makes_no_objects_in_a_config_an_override_or_a_faults_file(
    text: str, project: Project, tmp_path: Path
) -> None:
    """4.7: wherever YAML of others is read."""
    mark = tmp_path / "it-ran"
    payload = text.format(mark=mark)
    config = project.write_config()
    project.write_rows(project.rows(1))
    with pytest.raises(UserError):
        load_config(config, [f"name={payload}"])
    Path(config).write_text(
        f"{Path(config).read_text()}\nname: {payload}\n".replace("name: pets\n", "")
    )
    with pytest.raises(UserError):
        load_config(config)
    assert not mark.exists()


def test_where_yaml_makes_objects_the_trap_works(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    yaml.unsafe_load(YAML[0].format(mark=mark))
    assert mark.exists()


INSIDE = [
    "127.0.0.1",
    "2130706433",
    "0x7f.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "localhost",
    "127.1",
]
"""One disguise of each kind; all of them, against the fetcher itself, are in test_ssrf.py."""


@pytest.mark.parametrize("images", ["check", "keep"])
def test_the_look_at_input_images_reaches_nothing_inside(
    images: str, project: Project
) -> None:
    """4.3: the free fetch before paying refuses what the provider must not be told of either."""
    with FaultyServer(answer(JPEG)) as trap, Provider() as provider:
        config = configure_run(
            project, provider.url, 1, input={"images": images, "max_invalid": 1.0}
        )
        urls = [
            f"{scheme}://{host}:{trap.port}/a.jpg"
            for host in INSIDE
            for scheme in ("http", "https")
        ]
        urls += [
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_SET",
            f"https://user:pw@127.0.0.1:{trap.port}/",
        ]
        project.write_rows(
            [{"id": str(at), "photo": url, "text": "a"} for at, url in enumerate(urls)]
        )
        report = run_config(config)
    assert (trap.connections, provider.requests) == (0, [])
    assert report["invalid"] == len(urls)


def test_a_paid_answer_and_a_repair_fetch_nothing_inside(project: Project) -> None:
    """4.3: URLs out of an answer, when it comes and when its image is fetched again later."""
    from pixmill.execution.repair import repair

    with FaultyServer(answer(JPEG)) as trap:
        urls = [f"https://{host}:{trap.port}/a.jpg" for host in INSIDE]
        body = b'{"code": 10000, "status": 10000, "data": {"image_urls": ["%s"]}}'
        with FaultyServer(*(answer(body % url.encode()) for url in urls)) as provider:
            config = configure_run(
                project,
                provider.url,
                len(urls),
                output={"images": "download"},
                limits={"concurrency": 1},
                stop={"images": 100},
            )
            report = run_config(config)
            repaired = repair(load_config(config), lambda _: None, lambda _: None)
    assert report["images_missing"] == report["succeeded"] == len(urls)
    assert repaired.fetched == trap.connections == 0
