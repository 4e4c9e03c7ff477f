"""Outcomes that a publication takes from the published dataset: the same as those of the ledger, and few are looked up.

Each publication here is made twice: as it would be, and again without what the manifest says of its origin, so that
all outcomes come from the ledger. Their contents are the same to the byte.
"""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets import provenance, published_outcomes
from pixmill.datasets.page_preserving_writer import content_digest
from pixmill.datasets.published_outcomes import PublishedOutcomes
from pixmill.datasets.publishing import publish
from pixmill.ledger import Ledger
from pixmill.planning.planner import make_plan
from tests.conftest import Project
from tests.pixmill.datasets.publishing import edit_ledger, opened
from tests.pixmill.paid import pay_for_everything

ROWS = 60
STEPS = 8
IMAGE = {"file_name": "images/ab/c.jpg", "sha256": "ab", "width": 4}


class Publication(NamedTuple):
    digest: str
    """Of the dataset's content."""
    asked: list[str]
    """The job keys that the ledger was asked for."""
    table: pa.Table


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the outcomes that the ledger is asked for, from now on."""
    keys: list[str] = []
    look_up = Ledger.outcomes

    def note(
        ledger: Ledger, wanted: Sequence[str | None], places: Sequence[int] = ()
    ) -> Iterator[pa.Table]:
        keys.extend(key for key in wanted if key)
        return look_up(ledger, wanted, places)

    monkeypatch.setattr(Ledger, "outcomes", note)
    return keys


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with sixty paid rows of known price, some of which ask for the same, in ten batches."""
    monkeypatch.setattr("pixmill.planning.plan.BATCH_JOBS", 6)
    rows = project.rows(ROWS)
    rows[20] = {**rows[4], "id": "r20"}
    rows[50] = {**rows[4], "id": "r50"}
    project.write_rows(rows)
    project.write_config(
        output={"images": "url"}, input={"max_invalid": 1}, budget={"price_per_call": 2}
    )
    pay_for_everything(
        project.path, cost=2.0, finished_at=10**15, images=json.dumps([IMAGE])
    )
    return project


def config_of(project: Project) -> Config:
    return load_config(project.path)


def manifest_of(project: Project) -> Path:
    return config_of(project).dataset_folder / "manifest.json"


def publish_once(project: Project, asked: list[str], run_id: str) -> Publication:
    config = config_of(project)
    asked.clear()
    with opened(config) as ledger:
        published = publish(
            make_plan(config, ledger), ledger, run_id, even_a_step_back=True
        )
    table = pq.read_table(published.path)
    return Publication(content_digest(published.path), [*asked], table)


def forget_origin(project: Project) -> None:
    path = manifest_of(project)
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "origin": None}))


def check_published(
    project: Project, asked: list[str], run_id: str = "now"
) -> Publication:
    """Publish, and compare that with what the ledger alone gives."""
    made = publish_once(project, asked, run_id)
    forget_origin(project)
    whole = publish_once(project, asked, run_id)
    assert len(whole.asked) == made.table.num_rows - made.table["job_key"].null_count
    assert made.table.equals(whole.table)
    assert made.digest == whole.digest
    return made


def keys_of(publication: Publication, *ids: str) -> list[str]:
    rows = publication.table.select(["id", "job_key"]).to_pylist()
    return [row["job_key"] for row in rows if row["id"] in ids]


def test_only_what_was_written_to_and_new_rows_are_looked_up(
    shop: Project, asked: list[str]
) -> None:
    first = check_published(shop, asked, "first")
    assert len(first.asked) == ROWS
    assert check_published(shop, asked).asked == []
    changed = keys_of(first, "r7", "r33")
    edit_ledger(
        config_of(shop),
        "UPDATE jobs SET rephraser_result = 'new' WHERE job_key IN (?, ?)",
        *changed,
    )
    rows = shop.rows(ROWS + 1)
    # Every row moves, and the batches are made of others.
    shop.write_rows([rows[ROWS], *rows[:10], *rows[12:4:-1], *rows[14:ROWS]])
    made = check_published(shop, asked)
    assert {*keys_of(made, "r7", "r33")} == {*changed}
    # r20 and r50 asked for the same as r4 before.
    unknown = keys_of(made, f"r{ROWS}", "r20", "r50")
    assert {*made.asked} == {*changed, *unknown}
    assert made.table["rephraser_result"].to_pylist().count("new") == 3


def test_the_cost_is_on_the_first_row_that_is_left_of_a_job(
    shop: Project, asked: list[str]
) -> None:
    first = check_published(shop, asked)
    of_job = keys_of(first, "r4")[0]
    rows = shop.rows(ROWS)
    rows[20] = {**rows[4], "id": "r20"}
    rows[50] = {**rows[4], "id": "r50"}
    shop.write_rows([*rows[:4], *rows[5:]])
    made = check_published(shop, asked)
    costs = {
        row["id"]: row["cost"]
        for row in made.table.to_pylist()
        if row["job_key"] == of_job
    }
    assert costs == {"r20": 2.0, "r50": None}
    assert made.asked == []


LACKING = (
    "state = 'failed', error_code = '50411'",
    "state = 'refused', error_code = '50511'",
    "state = 'failed', error_code = NULL",
    "state = 'in_doubt', error_code = 'timeout'",
    "state = 'pending', error_code = NULL",
    "image_error = 'image_lost', images = NULL",
    "image_error = 'image_pending', images = NULL",
)
"""What an outcome that may still get better is like."""


def test_a_job_that_lacks_anything_is_looked_up_every_time(
    shop: Project, asked: list[str]
) -> None:
    shop.write_config(output={"images": "download"})
    whole = publish_once(shop, asked, "first")
    lacking = keys_of(whole, *[f"r{at}" for at in range(6, 6 + len(LACKING))])
    for outcome, key in zip(LACKING, lacking, strict=True):
        edit_ledger(
            config_of(shop), f"UPDATE jobs SET {outcome} WHERE job_key = ?", key
        )
    publish_once(shop, asked, "now")
    assert check_published(shop, asked).asked == lacking


STATES = ("succeeded", "failed", "refused", "in_doubt", "in_flight", "pending")


class Changes:
    """Changes something at random, of what a dataset is made of."""

    def __init__(self, project: Project, chance: random.Random) -> None:
        self._project = project
        self._chance = chance
        self._next = ROWS
        self._ids = list(range(ROWS))
        self._ledger = config_of(project).store_path / "ledger.db"
        self._folder = config_of(project).dataset_folder
        self._kept = project.folder / "kept"

    def sql(self, statement: str, *values: Any) -> None:
        edit_ledger(config_of(self._project), statement, *values)

    def some_jobs(self) -> str:
        """Return a condition for one job, for a few, or seldom for all."""
        where = self._chance.choice(
            ["rowid = {}", "rowid % 7 = {}", "rowid % 20 = {}", "rowid > {}"]
        )
        return "WHERE " + where.format(self._chance.randrange(ROWS))

    def outcome(self) -> None:
        state = self._chance.choice(STATES)
        code = None if state == "succeeded" else "timeout"
        self.sql(
            "UPDATE jobs SET state = ?, error_code = ?, error_message = ?, run_id = ?,"
            f" outcome_run = run_id, attempts = attempts + 1 {self.some_jobs()}",
            *(state, code, code, self._chance.choice(["earlier", "now"])),
        )

    def images(self) -> None:
        error = self._chance.choice([None, "image_lost", "image_pending"])
        images = self._chance.choice([None, "[]", json.dumps([IMAGE, IMAGE])])
        self.sql(
            f"UPDATE jobs SET image_error = ?, image_run = 'now', images = ? {self.some_jobs()}",
            *(error, images),
        )

    def cells(self) -> None:
        column = self._chance.choice(
            ["cost", "queue_ms", "effective_seed", "url_expires_at", "started_at"]
        )
        self.sql(
            f"UPDATE jobs SET {column} = ? {self.some_jobs()}",
            self._chance.choice([None, 0, 3, 2**40]),
        )
        texts = ["", "NULL", 'it\'s "quoted", \\ and\nbroken', "\u00e9\U0001f600", None]
        self.sql(
            f"UPDATE jobs SET rephraser_result = ? {self.some_jobs()}",
            self._chance.choice(texts),
        )
        urls = self._chance.choice([None, "[]", '["https://a.example/1", "b"]'])
        self.sql(f"UPDATE jobs SET output_urls = ? {self.some_jobs()}", urls)

    def keys(self) -> None:
        """Give an outcome to a job that had another one, and take one away."""
        self.sql(
            "UPDATE jobs SET job_key = 'x' || job_key WHERE rowid = ?",
            self._chance.randrange(ROWS),
        )
        self.sql(f"DELETE FROM jobs WHERE rowid = {self._chance.randrange(ROWS)}")
        self.sql(
            "REPLACE INTO jobs (job_key, state, run_id, outcome_run, rephraser_result)"
            " SELECT job_key, state, 'now', 'now', 'replaced' FROM jobs LIMIT 2"
        )
        with closing(sqlite3.connect(self._ledger)) as ledger:
            ledger.execute("VACUUM")

    def rows(self) -> None:
        ids = self._ids
        for _ in range(self._chance.randrange(12)):
            ids.pop(self._chance.randrange(len(ids)))
        for _ in range(self._chance.randrange(12)):
            # Some ask for the same as another row, some for something new.
            new = self._chance.choice([self._next, self._chance.choice(ids)])
            ids.insert(self._chance.choice([0, len(ids), 17]), new)
            self._next += 1
        if self._chance.random() < 0.2:
            self._chance.shuffle(ids)
        known = self._project.rows(self._next)
        rows = [{**known[of], "id": str(at)} for at, of in enumerate(ids)]
        if self._chance.random() < 0.5:
            rows[self._chance.randrange(len(rows))]["photo"] = "no URL"
        self._project.write_rows(rows)

    def keep(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        self._kept.mkdir()
        for path in (
            self._ledger,
            self._folder / "dataset.parquet",
            manifest_of(self._project),
        ):
            shutil.copy(path, self._kept)

    def restore(self) -> None:
        """Put some of what was kept back: the ledger, the dataset, or the dataset with its manifest."""
        if not self._kept.exists():
            return
        chosen = self._chance.choice([0, 1, 2])
        if chosen == 0:
            shutil.copy(self._kept / "ledger.db", self._ledger)
            return
        shutil.copy(self._kept / "dataset.parquet", self._folder)
        if chosen == 2:
            shutil.copy(self._kept / "manifest.json", self._folder)

    def one(self) -> None:
        """Make a change."""
        kinds = [self.outcome, self.images, self.cells, self.keys, self.rows]
        self._chance.choice([*kinds, self.keep, self.restore])()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_changes_the_dataset_is_the_one_that_the_ledger_alone_gives(
    shop: Project, asked: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    changes = Changes(shop, chance)
    shop.write_config(output={"images": chance.choice(["url", "download"])})
    check_published(shop, asked, "first")
    taken = 0
    for _ in range(STEPS):
        for _ in range(chance.randrange(4)):
            changes.one()
        made = check_published(shop, asked)
        taken += made.table.num_rows - len(made.asked)
    assert taken > ROWS


def sql(statement: str) -> Callable[[Project], None]:
    return lambda project: edit_ledger(config_of(project), statement)


def in_manifest(origin: Any) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        path = manifest_of(project)
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "origin": origin(manifest["origin"])}))

    return change


def flip_a_bit(project: Project) -> None:
    path = config_of(project).dataset_folder / "dataset.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_dataset(project: Project) -> None:
    """Put a dataset there that looks like the published one, with other outcomes."""
    path = config_of(project).dataset_folder / "dataset.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("rephraser_result")
    wrong = pa.array(["wrong"] * table.num_rows)
    pq.write_table(table.set_column(at, table.field(at), wrong), path)


REASONS: dict[str, Callable[[Project], Any]] = {
    "no dataset": lambda of: (
        config_of(of).dataset_folder / "dataset.parquet"
    ).unlink(),
    "another dataset": replace_dataset,
    "a damaged dataset": flip_a_bit,
    "no manifest": lambda of: manifest_of(of).unlink(),
    "a manifest without an origin": in_manifest(lambda _: None),
    "a manifest with another origin": in_manifest(lambda _: "somewhere"),
    "other code": in_manifest(lambda origin: {**origin, "made_by": "other"}),
    "an unknown revision": in_manifest(lambda origin: {**origin, "revision": "1:AB"}),
    "no revision": in_manifest(lambda origin: {**origin, "revision": None}),
    "another config": lambda of: of.write_config(output={"keep_versions": 3}),
    "jobs that nobody watched": sql("DROP TRIGGER jobs_revised_by_update"),
    "a log that was emptied": sql("DELETE FROM job_changes"),
    "a log that begins later": lambda of: [
        sql("UPDATE jobs SET state = state")(of),
        sql("DELETE FROM job_changes WHERE number < 20")(of),
    ],
}


def test_whatever_does_not_fit_all_outcomes_are_looked_up(
    shop: Project, asked: list[str]
) -> None:
    first = publish_once(shop, asked, "now")
    for reason, change in REASONS.items():
        change(shop)
        made = publish_once(shop, asked, "now")
        assert len(made.asked) == ROWS, reason
        assert made.table.equals(first.table), reason
        assert publish_once(shop, asked, "now").asked == [], reason


def test_another_version_of_the_code_or_of_a_package_looks_all_outcomes_up(
    shop: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_published(shop, asked)
    code = shop.folder / "code"
    code.mkdir()
    (code / "schema.py").write_text("# changed")
    with monkeypatch.context() as other:
        other.setattr(provenance, "CODE", code)
        assert len(check_published(shop, asked).asked) == ROWS
    assert len(check_published(shop, asked).asked) == ROWS
    monkeypatch.setattr(provenance, "package_versions", lambda: {"pyarrow": "99.9"})
    assert len(check_published(shop, asked).asked) == ROWS


def test_a_ledger_that_went_another_way_from_a_backup_is_read_again(
    shop: Project, asked: list[str]
) -> None:
    """Also where as much was written to it as to the one whose place it takes."""
    ledger = config_of(shop).store_path / "ledger.db"
    check_published(shop, asked)
    kept = shop.folder / "kept.db"
    shutil.copy(ledger, kept)
    sql("UPDATE jobs SET rephraser_result = 'one' WHERE rowid = 6")(shop)
    assert len(check_published(shop, asked).asked) == 1
    shutil.copy(kept, ledger)
    sql("UPDATE jobs SET rephraser_result = 'two' WHERE rowid = 9")(shop)
    made = check_published(shop, asked)
    assert len(made.asked) == ROWS
    assert made.table["rephraser_result"].to_pylist().count("one") == 0


def test_what_is_written_while_a_dataset_is_made_is_looked_up_for_the_next(
    shop: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = Ledger.outcomes
    late = "UPDATE jobs SET rephraser_result = 'late' WHERE job_key = ?"

    def read_and_edit(
        ledger: Ledger, wanted: Sequence[str | None], places: Sequence[int] = ()
    ) -> Iterator[pa.Table]:
        yield from [*look_up(ledger, wanted, places)]
        edit_ledger(config_of(shop), late, wanted[0])

    with monkeypatch.context() as busy:
        busy.setattr(Ledger, "outcomes", read_and_edit)
        before = publish_once(shop, asked, "before")
    assert before.table["rephraser_result"].to_pylist().count("late") < 10
    made = check_published(shop, asked)
    assert made.table["rephraser_result"].to_pylist().count("late") == 10
    assert len({*made.asked}) == 10


@pytest.fixture
def published(shop: Project, asked: list[str]) -> Publication:
    return check_published(shop, asked)


def outcomes_of(
    project: Project, keys: Sequence[str | None], damage: Callable[[Path], Any]
) -> tuple[pa.Table, pa.Table]:
    """Return what the published dataset has of `keys`, damaged once it is open, and what the ledger has."""
    config = config_of(project)
    path = config.dataset_folder / "dataset.parquet"
    opened_dataset = PublishedOutcomes(path, pa.array([], pa.uint64()).to_numpy(), None)
    damage(path)
    with opened(config) as ledger:
        found = pa.concat_tables(opened_dataset.outcomes(ledger, keys, []))
        return found, pa.concat_tables(ledger.outcomes(keys))


def test_pages_that_change_while_they_are_read_are_not_believed(
    shop: Project, published: Publication
) -> None:
    def damage(path: Path) -> None:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(bytes(size - 20_000))

    keys = published.table["job_key"].to_pylist()[:12]
    found, known = outcomes_of(shop, keys, damage)
    assert found["rephraser_result"].equals(known["rephraser_result"])


def test_a_job_whose_key_only_begins_like_a_published_one_is_another(
    shop: Project, published: Publication
) -> None:
    key = keys_of(published, "r3")[0]
    found, _ = outcomes_of(shop, [key[:16] + "0" * 48, key, None], lambda _: None)
    assert found["state"].to_pylist() == [None, "succeeded", None]


def test_long_answers_are_read_from_the_ledger_which_bounds_their_tables(
    shop: Project,
    published: Publication,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(published_outcomes, "_GROUP_BYTES", 100)
    assert len(check_published(shop, asked).asked) == ROWS
