"""Scores that a publication takes from the published dataset: those of the ledger, which is asked for few."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.page_preserving_writer import content_digest
from pixmill.datasets.publishing import publish
from pixmill.execution.unscored_jobs import UnscoredJobs
from pixmill.ledger import Ledger
from pixmill.ledger.revision import revision_of
from pixmill.ledger.scores import Score, Scorer, read_scores, record_scores
from pixmill.planning.planner import make_plan
from pixmill.quality.duplicates import SIGNATURE_BYTES, score_duplicates
from pixmill.quality.image_scorers import check_scorer, own_scorers
from tests.conftest import Project
from tests.pixmill.datasets.publishing import edit_ledger, opened
from tests.pixmill.paid import pay_for_everything

ROWS = 40
CHECKS = ("blank", "dark")
SCORER = """
def measure(image, job):
    return {"left": 0.0, "right": 0.0}
"""


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with forty paid and scored rows in ten batches; the third image could not be scored."""
    monkeypatch.setattr("pixmill.planning.plan.BATCH_JOBS", 4)
    scorer = project.folder / "scorer.py"
    scorer.write_text(SCORER)
    rows = project.rows(ROWS)
    rows[20] = {**rows[4], "id": "r20"}
    project.write_rows(rows)
    project.write_config(
        quality={
            "checks": [*CHECKS, "duplicate"],
            "scorers": {"own": f"{scorer}:measure"},
        }
    )
    pay_for_everything(project.path, finished_at=10**15)
    config = config_of(project)
    said = []
    with opened(config) as ledger, ledger.database.writing.begin() as connection:
        for number, key in enumerate(jobs_in(config, ledger)):
            connection.exec_driver_sql(
                "UPDATE jobs SET images = ? WHERE job_key = ?",
                (images_text(f"image {number}"), key),
            )
            value = None if number == 2 else number / ROWS
            said += scores_of(config, f"image {number}", value)
        record_scores(connection, [said])
    return project


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images whose scores the ledger is asked for, from now on."""
    images: list[str] = []

    def note(
        connection: Connection, scorer: Scorer, wanted: Sequence[str] | None = None
    ) -> pa.Table:
        images.extend(["all"] if wanted is None else wanted)
        return read_scores(connection, scorer, wanted)

    monkeypatch.setattr("pixmill.quality.ledger_scores.read_scores", note)
    return images


def config_of(project: Project) -> Config:
    return load_config(project.path)


def jobs_of(config: Config) -> list[str]:
    """Return the job keys of the table, each once."""
    with opened(config) as ledger:
        return jobs_in(config, ledger)


def jobs_in(config: Config, ledger: Ledger) -> list[str]:
    batches = make_plan(config, ledger).batches()
    return list(dict.fromkeys(key for batch in batches for key in batch.keys if key))


def digest_of(image: str) -> str:
    return sha256(image.encode()).hexdigest()


def images_text(image: str) -> str:
    found = {"file_name": f"images/{image}.jpg", "sha256": digest_of(image)}
    return json.dumps([found])


def scores_of(config: Config, image: str, value: float | None) -> list[Score]:
    """Return what all scorers leave of an image, which without a value they could not score."""
    [own] = own_scorers(config.quality).values()
    checks = [Score(digest_of(image), *check_scorer(name)) for name in CHECKS]
    if value is None:
        scorers = [*map(check_scorer, (*CHECKS, "duplicate")), own]
        return [Score(digest_of(image), *of, reason="it raised") for of in scorers]
    parts = [Score(digest_of(image), *own, part) for part in ("left", "right")]
    scored = [of._replace(value=value) for of in (*checks, *parts)]
    return [*scored, signature_of(image)]


def signature_of(image: str) -> Score:
    """Return what the check for duplicates keeps of an image; those of the same first letters look alike."""
    chance = np.random.default_rng([*image.partition(" copy")[0].encode()])
    signature = chance.integers(0, 256, SIGNATURE_BYTES).astype(np.uint8)
    scorer = check_scorer("duplicate")
    return Score(digest_of(image), *scorer, signature=signature.tobytes())


def give_image(config: Config, key: str, image: str) -> None:
    edit_ledger(
        config,
        "UPDATE jobs SET images = ? WHERE job_key = ?",
        images_text(image),
        key,
    )


def score_image(config: Config, image: str, value: float) -> None:
    with opened(config) as ledger:
        ledger.record_scores(scores_of(config, image, value))


def revision(config: Config) -> str | None:
    with opened(config) as ledger:
        return ledger.read(revision_of)


def publish_once(config: Config, scored_at: str | None) -> tuple[pa.Table, str]:
    with opened(config) as ledger:
        plan = make_plan(config, ledger)
        made = publish(plan, ledger, "now", even_a_step_back=True, scored_at=scored_at)
    return pq.read_table(made.path), content_digest(made.path)


def check_published(
    config: Config, asked: list[str], scored_at: str | None
) -> list[str]:
    """Publish, compare that with what the ledger alone gives, and return the images that it was asked for."""
    asked.clear()
    table, digest = publish_once(config, scored_at)
    images = [*asked]
    path = config.dataset_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "origin": None}))
    whole, whole_digest = publish_once(config, scored_at)
    assert table.equals(whole)
    assert digest == whole_digest
    assert table.column_names[-8:] == [
        "score_blank",
        "flag_blank",
        "score_dark",
        "flag_dark",
        "score_duplicate",
        "flag_duplicate",
        "score_own_left",
        "score_own_right",
    ]
    return images


def test_the_ledger_is_asked_for_the_scores_of_images_that_changed(
    shop: Project, asked: list[str]
) -> None:
    config = config_of(shop)
    assert len(check_published(config, asked, revision(config))) == 4 * ROWS
    keys = jobs_of(config)
    give_image(config, keys[7], "another one")
    score_image(config, "another one", 0.777)
    # Every row moves, and the batches are made of others.
    rows = shop.rows(ROWS)
    shop.write_rows([*rows[:10], *rows[12:4:-1], *rows[14:ROWS]])
    images = check_published(config, asked, revision(config))
    assert {*images} == {digest_of("another one")}
    assert check_published(config, asked, revision(config)) == []


def test_a_job_that_lost_its_image_has_no_scores(
    shop: Project, asked: list[str]
) -> None:
    config = config_of(shop)
    check_published(config, asked, revision(config))
    edit_ledger(
        config,
        "UPDATE jobs SET images = NULL, image_error = 'image_lost' WHERE job_key = ?",
        jobs_of(config)[7],
    )
    check_published(config, asked, revision(config))
    table = pq.read_table(config.dataset_folder / "dataset.parquet")
    assert table["score_dark"][7].as_py() is None
    assert table["score_dark"].null_count == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM scores WHERE scorer = 'blank' AND value > 0.5",
        "UPDATE scores SET value = 0.01 WHERE scorer = 'dark' AND value > 0.5",
    ],
)
def test_a_score_that_was_taken_back_or_corrected_is_not_taken_from_the_dataset(
    shop: Project, asked: list[str], statement: str
) -> None:
    config = config_of(shop)
    check_published(config, asked, revision(config))
    edit_ledger(config, statement)
    assert len(check_published(config, asked, revision(config))) == 4 * ROWS


def test_a_score_that_came_after_a_dataset_that_lacked_it_is_in_the_next_one(
    shop: Project, asked: list[str]
) -> None:
    config = config_of(shop)
    give_image(config, jobs_of(config)[7], "late")
    check_published(config, asked, None)
    score_image(config, "late", 0.777)
    check_published(config, asked, revision(config))
    table = pq.read_table(config.dataset_folder / "dataset.parquet")
    assert table["score_blank"].to_pylist().count(0.777) == 1


def test_the_scores_of_a_scorer_of_another_version_are_not_taken(
    shop: Project, asked: list[str]
) -> None:
    config = config_of(shop)
    check_published(config, asked, revision(config))
    (shop.folder / "scorer.py").write_text(f"{SCORER}\n# another version\n")
    score_image(config, "image 7", 0.777)
    check_published(config, asked, revision(config))
    table = pq.read_table(config.dataset_folder / "dataset.parquet")
    assert table["score_own_left"].null_count == table.num_rows - 1


def test_a_column_of_the_table_that_is_called_like_a_score_is_not_taken_for_one(
    shop: Project, asked: list[str]
) -> None:
    rows = [{**row, "score_blank": "seven"} for row in shop.rows(ROWS)]
    shop.write_rows(rows)
    config = config_of(shop)
    asked.clear()
    publish_once(config, revision(config))
    assert asked
    asked.clear()
    table, _ = publish_once(config, revision(config))
    assert asked == []
    assert {*table["score_blank"].to_pylist()} == {"seven"}
    assert max(filter(None, table["pixmill_score_blank"].to_pylist())) < 1


@pytest.mark.parametrize("look_ups", [0, 1_000])
def test_few_look_ups_and_all_scores_at_once_say_the_same(
    shop: Project,
    asked: list[str],
    look_ups: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pixmill.quality.ledger_scores.LOOK_UPS", look_ups)
    config = config_of(shop)
    images = check_published(config, asked, revision(config))
    assert ("all" in images) == (look_ups == 0)
    table = pq.read_table(config.dataset_folder / "dataset.parquet")
    expected = [number / ROWS for number in range(ROWS - 1)]
    expected[2] = None  # type: ignore[call-overload]
    # Row 20 asked for the same as row 4, so that one image fewer was made.
    found = [*table["score_dark"].to_pylist()]
    assert found.pop(20) == found[4]
    assert found == expected


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were compared with each other, each time, from now on."""
    counts: list[int] = []

    def note(signatures: NDArray[np.uint8]) -> NDArray[np.float64]:
        counts.append(len(signatures))
        return score_duplicates(signatures)

    monkeypatch.setattr("pixmill.quality.duplicates.score_duplicates", note)
    return counts


def flagged(config: Config) -> list[str]:
    """Return the rows whose images look like another one."""
    table = pq.read_table(config.dataset_folder / "dataset.parquet")
    return [row["id"] for row in table.to_pylist() if row["flag_duplicate"]]


def write_to(config: Config, key: str) -> None:
    edit_ledger(
        config, "UPDATE jobs SET rephraser_result = 'new' WHERE job_key = ?", key
    )


def test_images_are_not_compared_again_while_all_of_them_are_the_same(
    shop: Project, asked: list[str], compared: list[int]
) -> None:
    config = config_of(shop)
    give_image(config, jobs_of(config)[7], "image 3 copy")
    score_image(config, "image 3 copy", 0.777)
    check_published(config, asked, revision(config))
    twins = flagged(config)
    assert twins == ["r3", "r7"]
    # Each publication with an origin is followed by one without, which compares everything.
    assert len(compared) == 2
    publish_once(config, revision(config))
    del compared[:]
    write_to(config, jobs_of(config)[3])
    rows = shop.rows(ROWS)
    rows[20] = {**rows[4], "id": "r20"}
    shop.write_rows([*rows[20:], *rows[:20]])
    assert check_published(config, asked, revision(config)) == []
    assert len(compared) == 1
    assert sorted(flagged(config)) == twins


def test_rows_without_an_image_are_no_reason_to_compare_again(
    shop: Project, asked: list[str], compared: list[int]
) -> None:
    config = config_of(shop)
    rows = shop.rows(ROWS)
    shop.write_rows([*rows, {**rows[1], "id": "invalid", "text": ""}])
    edit_ledger(
        config,
        "UPDATE jobs SET state = 'failed', images = NULL WHERE job_key = ?",
        jobs_of(config)[5],
    )
    publish_once(config, revision(config))
    del compared[:]
    write_to(config, jobs_of(config)[3])
    check_published(config, asked, revision(config))
    # By the publication without an origin that each check makes.
    assert len(compared) == 1


@pytest.mark.parametrize("change", ["another image", "a row more", "a row less"])
def test_images_are_compared_again_where_one_of_them_is_another(
    shop: Project, asked: list[str], compared: list[int], change: str
) -> None:
    config = config_of(shop)
    give_image(config, jobs_of(config)[7], "image 3 copy")
    score_image(config, "image 3 copy", 0.777)
    publish_once(config, revision(config))
    assert flagged(config) == ["r3", "r7"]
    rows = shop.rows(ROWS)
    rows[20] = {**rows[4], "id": "r20"}
    if change == "another image":
        give_image(config, jobs_of(config)[7], "no copy")
        score_image(config, "no copy", 0.777)
    elif change == "a row less":
        shop.write_rows([*rows[:7], *rows[8:]])
    else:
        new = {**rows[1], "id": "new", "text": "another pet"}
        shop.write_rows([*rows, new])
        edit_ledger(
            config,
            "INSERT INTO jobs (job_key, state, run_id, images) VALUES (?, 'succeeded', 'r', ?)",
            jobs_of(config)[-1],
            images_text("image 9 copy"),
        )
        score_image(config, "image 9 copy", 0.777)
    del compared[:]
    check_published(config, asked, revision(config))
    assert len(compared) == 2
    expected = {
        "another image": [],
        "a row less": [],
        "a row more": ["r3", "r7", "r9", "new"],
    }
    assert flagged(config) == expected[change]


def test_rows_that_come_after_a_dataset_without_any_are_compared(
    shop: Project, asked: list[str]
) -> None:
    """A table begins as a header, mostly where another program fills it."""
    config = config_of(shop)
    give_image(config, jobs_of(config)[7], "image 3 copy")
    score_image(config, "image 3 copy", 0.777)
    shop.write_rows([])
    publish_once(config, revision(config))
    shop.write_rows(shop.rows(8))
    check_published(config, asked, revision(config))
    assert flagged(config) == ["r3", "r7"]


def marked(config: Config) -> list[int]:
    """Return the positions of jobs whose images are looked at because they may lack a score."""
    with opened(config) as ledger:
        found = UnscoredJobs(make_plan(config, ledger), ledger).mark()
    return [*map(int, np.flatnonzero(found))]


@pytest.fixture
def scored(shop: Project) -> Iterator[Config]:
    """A published dataset of which no image lacks a score."""
    config = config_of(shop)
    publish_once(config, revision(config))
    yield config


def test_images_of_jobs_that_were_not_written_to_are_not_looked_at(
    scored: Config, asked: list[str]
) -> None:
    assert marked(scored) == []
    assert asked == []
    keys = jobs_of(scored)
    give_image(scored, keys[7], "unscored")
    give_image(scored, keys[9], "image 8")
    assert marked(scored) == [7]
    assert {*asked} == {digest_of("unscored"), digest_of("image 8")}


def test_an_image_that_came_while_others_were_scored_is_scored_by_the_next_run(
    shop: Project, asked: list[str]
) -> None:
    config = config_of(shop)
    looked_at = revision(config)
    give_image(config, jobs_of(config)[7], "image 3 copy")
    publish_once(config, looked_at)
    assert marked(config) == [7]
    assert flagged(config) == []
    score_image(config, "image 3 copy", 0.777)
    check_published(config, asked, revision(config))
    assert flagged(config) == ["r3", "r7"]


def change_nothing(_: Config) -> None:
    pass


def take_scores_back(config: Config) -> None:
    edit_ledger(config, "DELETE FROM scores WHERE sha256 = ?", digest_of("image 7"))


def lose_dataset(config: Config) -> None:
    Path(config.dataset_folder, "dataset.parquet").unlink()
    take_scores_back(config)


@pytest.mark.parametrize(
    ("change", "expected"),
    [(change_nothing, []), (take_scores_back, [7]), (lose_dataset, [7])],
)
def test_without_a_dataset_that_tells_it_all_images_are_looked_at(
    scored: Config, asked: list[str], change: Any, expected: list[int]
) -> None:
    change(scored)
    assert marked(scored) == expected
    assert bool(asked) == bool(expected)


def test_rows_that_are_new_are_looked_at(scored: Config, shop: Project) -> None:
    rows = shop.rows(ROWS + 1)
    rows[20] = {**rows[4], "id": "r20"}
    shop.write_rows([rows[ROWS], *rows[:ROWS]])
    edit_ledger(
        scored,
        "INSERT INTO jobs (job_key, state, run_id, images) "
        "SELECT ?, 'succeeded', run_id, ? FROM jobs LIMIT 1",
        jobs_of(scored)[0],
        json.dumps([{"file_name": "images/new.jpg", "sha256": digest_of("new")}]),
    )
    assert marked(scored) == [0]
