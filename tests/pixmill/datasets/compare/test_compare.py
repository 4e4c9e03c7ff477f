"""Comparing two datasets: what is found, what the headline says, and which versions are meant."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from PIL import Image

from pixmill.datasets.compare import Comparison, compare, find_side, write_page
from pixmill.datasets.compare import image_distance as pictures_module
from pixmill.datasets.compare.page import MOST_PARAMETERS
from pixmill.errors import UserError
from tests.pixmill.datasets.published import INPUT, Shelf

OLD = "20261001T000000Z"


def compared(before: Shelf, after: Shelf) -> Comparison:
    return compare(find_side(before.path), find_side(after.path))


def two(
    folder: Path, a: list[dict[str, Any]], b: list[dict[str, Any]], **sections: Any
) -> Comparison:
    """Compare two versions of one dataset."""
    shelf = Shelf(folder, **sections)
    shelf.publish(a, version=OLD)
    shelf.publish(b)
    return compare(find_side(f"{shelf.path}@2026-10"), find_side(shelf.path))


def test_the_headline_says_images_cost_and_outcomes_of_b_against_a(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    a = [shelf.job(at, cost=0.2) for at in range(20)]
    b = [shelf.job(at, cost=0.196) for at in range(32)]
    for at in range(3):
        a[at] |= {"status": "refused", "error_code": "50511", "cost": None}
        b[at + 10] |= {"status": "failed", "cost": None}
    found = two(tmp_path, a, b)
    assert (
        found.headline()
        == "B has 12 more images than A for 0.004 CNY less per usable image; 6 jobs differ in outcome."
    )
    assert found.outcomes == {
        ("succeeded", "succeeded"): 14,
        ("succeeded", "failed"): 3,
        ("refused", "succeeded"): 3,
    }


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (
            [0.2],
            [0.2],
            "A and B have 1 image each at the same cost per usable image; no job differs in outcome.",
        ),
        (
            [0.2, 0.2],
            [0.5],
            "B has 1 fewer image than A for 0.30 CNY more per usable image; no job differs in outcome.",
        ),
        ([None], [0.2, 0.2], "B has 1 more image than A; no job differs in outcome."),
        (
            [0.2, None],
            [0.2, 0.2],
            "A and B have 2 images each; no job differs in outcome.",
        ),
        ([], [], "A and B have 0 images each; they have no job in common."),
        ([], [0.2], "B has 1 more image than A; they have no job in common."),
    ],
)
def test_a_cost_that_is_not_known_is_never_guessed(
    tmp_path: Path, a: list[float | None], b: list[float | None], says: str
) -> None:
    shelf = Shelf(tmp_path)
    sides = [
        [shelf.job(at, cost=cost) for at, cost in enumerate(costs)] for costs in (a, b)
    ]
    assert two(tmp_path, *sides).headline() == says


def test_what_the_simulator_made_is_called_simulated_and_no_cost_is_unknown(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    found = two(
        tmp_path,
        [shelf.job(0, provider="simulator")],
        [shelf.job(0, provider="gateway")],
    )
    measures = (found.measures_a, found.measures_b)
    said = [side.describe_cost(side.cost) for side in measures]
    assert said == ["simulated", "unknown"]
    assert [side.simulated for side in measures] == [True, False]
    # At prices to try out it has amounts.
    tried = two(tmp_path, [shelf.job(0, provider="simulator", cost=0.2)], [])
    assert tried.measures_a.describe_cost(tried.measures_a.cost) == "0.20 CNY"


def test_costs_are_added_up_as_decimals(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    jobs = [shelf.job(at, cost=0.1) for at in range(3)]
    assert two(tmp_path, jobs, jobs).measures_a.cost == 0.3


def test_costs_in_two_currencies_are_not_compared(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    found = two(
        tmp_path, [shelf.job(0, cost=1.0)], [shelf.job(0, cost=0.1, currency="USD")]
    )
    assert found.headline() == "A and B have 1 image each; no job differs in outcome."
    assert (found.measures_a.currency, found.measures_b.currency) == ("CNY", "USD")


def test_an_image_that_many_rows_share_counts_and_costs_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shared = [
        shelf.job(at, job_key="same", cost=0.2 if at == 0 else None) for at in range(4)
    ]
    failed = shelf.job(9, status="failed", cost=0.2)
    found = two(tmp_path, shared, [*shared, failed])
    assert (found.measures_a.images, found.measures_a.cost_per_image) == (1, 0.2)
    assert (found.measures_b.images, found.measures_b.cost_per_image) == (1, 0.4), (
        "failures are paid for as well"
    )
    assert (found.measures_b.rows, found.measures_b.jobs) == (5, 5)
    assert found.measures_b.statuses == {"succeeded": 4, "failed": 1}


def test_a_paid_image_that_is_not_there_is_not_usable(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    found = two(tmp_path, [shelf.job(0)], [shelf.job(0, error_code="image_lost")])
    assert (
        found.measures_a.images,
        found.measures_b.images,
        found.changed_outcomes,
    ) == (1, 0, 0)


def test_rows_come_and_go_by_their_keys_and_not_by_their_places(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    found = two(
        tmp_path,
        [shelf.job(at) for at in range(10)],
        [shelf.job(at) for at in range(11, 1, -1)],
    )
    assert found.rows._asdict() == {
        "both": 8,
        "added": 2,
        "removed": 2,
        "added_examples": ("r11", "r10"),
        "removed_examples": ("r0", "r1"),
    }
    assert found.pairs == 8
    assert found.requests.changed == 0


def test_jobs_are_matched_by_row_point_and_replicate(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)

    def jobs(points: str, replicates: int) -> list[dict[str, Any]]:
        every = [
            (row, point, again)
            for row in range(3)
            for point in points
            for again in range(replicates)
        ]
        return [
            shelf.job(row, point_id=point, replicate=again, seed=again)
            for row, point, again in every
        ]

    found = two(tmp_path, jobs("ab", 1), jobs("bca", 2))
    assert (found.pairs, found.measures_a.jobs, found.measures_b.jobs) == (6, 6, 18)
    assert found.requests.changed == 0
    assert found.as_dict()["jobs"]["only_b"] == 12


def test_equal_row_keys_are_matched_in_their_order(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    twins = [
        shelf.job(0, status=status) for status in ("succeeded", "failed", "refused")
    ]
    found = two(tmp_path, twins, twins[:2])
    assert found.outcomes == {("succeeded", "succeeded"): 1, ("failed", "failed"): 1}


def test_what_changed_in_the_requests_is_said(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    b = [
        shelf.job(0),
        shelf.job(1, seed=8),
        shelf.job(2, params='{"scale":4}'),
        shelf.job(3, params='{"scale":5}', prompt="a dog"),
        shelf.job(4, status="invalid", job_key=None, params='{"scale":6}'),
    ]
    a = [
        *(shelf.job(at) for at in range(4)),
        shelf.job(4, status="invalid", job_key=None),
    ]
    found = two(tmp_path, a, b)
    assert found.requests._asdict() == {
        "changed": 3,
        "prompt": 1,
        "params": 2,
        "seed": 1,
    }
    (scale,) = found.parameters
    assert scale == ("request.params.scale", 3, [3, 4, 5, 6])


def test_two_configs_differ_in_the_keys_of_their_configs_what_decides_first(
    tmp_path: Path,
) -> None:
    a = Shelf(tmp_path, "pets", limits={"qps": 1}, request={"params": {"scale": 3}})
    b = Shelf(tmp_path, "dogs", limits={"qps": 2}, request={"params": {"scale": 4}})
    a.publish([a.job(0)])
    b.publish([b.job(0)])
    found = compared(a, b)
    assert found.parameters == (
        ("request.params.scale", 3, 4),
        ("name", "pets", "dogs"),
        ("limits.qps", 1.0, 2.0),
    )


GRID = {"scale": [2, 3], "ddim_steps": [16, 25]}


@pytest.mark.parametrize(
    ("a", "b", "paths"),
    [
        (
            [{"grid": GRID}],
            [{"zip": GRID}],
            ["grid.ddim_steps", "grid.scale", "zip.ddim_steps", "zip.scale"],
        ),
        (
            [{"list": [{"scale": 2}, {"scale": 3}]}, {"list": [{"ddim_steps": 16}]}],
            [{"list": [{"scale": 2}, {"scale": 9}]}, {"list": [{"ddim_steps": 16}]}],
            ["list"],
        ),
        (
            [
                {"random": {"scale": {"uniform": [1, 9]}, "n": n, "seed": seed}}
                for n, seed in ((3, 1), (4, 2))
            ],
            [
                {"random": {"scale": {"uniform": [1, 9]}, "n": n, "seed": seed}}
                for n, seed in ((8, 7), (4, 2))
            ],
            ["random.n", "random.seed"],
        ),
        # Which axes are in step with each other.
        (
            [{"zip": {"a": [1], "b": [1]}}, {"zip": {"c": [1], "d": [1]}}],
            [{"zip": {"a": [1], "c": [1]}}, {"zip": {"b": [1], "d": [1]}}],
            ["zip.2.b", "zip.2.c", "zip.b", "zip.c"],
        ),
        # Grids multiply, in one group or in two.
        (
            [{"grid": {"scale": [2, 3]}}, {"grid": {"ddim_steps": [16, 25]}}],
            [{"grid": GRID}],
            [],
        ),
        # No config of ours: somebody edited it.
        (["x"], [], ["groups.0"]),
        ([{"grid": 3}], [{"grid": None}], ["grid"]),
        ("x", [], ["groups"]),
    ],
)
def test_every_edit_of_a_sweep_differs_and_its_kind_of_group_is_named(
    tmp_path: Path, a: Any, b: Any, paths: list[str]
) -> None:
    sides = []
    for name, groups in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        shelf = Shelf(tmp_path / name)
        shelf.publish([shelf.job(0)])
        config = shelf.dataset.with_name("config.yaml")
        asked = yaml.safe_load(config.read_text()) | {"sweep": {"groups": groups}}
        config.write_text(yaml.safe_dump(asked))
        sides.append(shelf)
    found = [of.path for of in compared(*sides).parameters]
    swept = [path for path in found if path.startswith("sweep")]
    assert sorted(swept) == [f"sweep.{path}" for path in paths]


def test_a_page_that_lists_some_of_many_parameters_says_how_many_more(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    many = {f"key_{at}": at for at in range(MOST_PARAMETERS + 2)}
    found = two(
        tmp_path, [shelf.job(0)], [shelf.job(0, params=json.dumps(many | {"scale": 3}))]
    )
    page = write_page(found, tmp_path / "page").read_text()
    assert "and 2 more (`pixmill compare --json` has them all)" in page


def test_a_file_of_a_format_that_no_store_has_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders of other formats are not for what came from outside."""
    shelf = Shelf(tmp_path)
    names = [shelf.image(1), shelf.image(2)]
    for name in names:
        with Image.open(shelf.store / name) as image:
            image.save(shelf.store / name, "GIF")
    a, b = ([shelf.job(0, file_name=name)] for name in names)
    assert two(tmp_path, a, b).images.note == "1 pair could not be read"
    # Where nothing is measured the page has the pair, and opens it for its size.
    with monkeypatch.context() as without_library:
        without_library.setattr("importlib.util.find_spec", lambda _name: None)
        found = two(tmp_path, a, b)
    page = write_page(found, tmp_path / "page").read_text()
    assert page.count('width="1" height="1"') == 2


def test_latencies_are_those_of_answered_calls(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    jobs = [shelf.job(at, latency_ms=float(at)) for at in range(101)]
    found = two(
        tmp_path,
        [*jobs, shelf.job(200, latency_ms=None)],
        [shelf.job(0, latency_ms=None)],
    )
    assert (found.measures_a.latency_median_ms, found.measures_a.latency_p95_ms) == (
        50,
        95,
    )
    assert found.measures_b.latency_median_ms is None


# Images


def test_only_images_that_differ_are_measured(tmp_path: Path) -> None:
    """The same picture in another format looks the same; another picture does not."""
    shelf = Shelf(tmp_path)
    a = [shelf.job(at, file_name=shelf.image(1)) for at in range(4)]
    looks = [shelf.image(1), shelf.image(1, "jpg"), shelf.image(2), None]
    found = two(
        tmp_path, a, [shelf.job(at, file_name=name) for at, name in enumerate(looks)]
    )
    images = found.images
    assert (images.same, images.different, images.compared, images.note) == (
        1,
        2,
        2,
        "",
    )
    far, near = images.most_different
    assert (far.row_key, near.row_key) == ("r2", "r1")
    assert near.distance <= 4 < 10 < far.distance == images.distance_max
    assert Path(far.a).exists()
    assert Path(far.b).name == Path(str(looks[2])).name


def test_images_of_two_stores_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = Shelf(tmp_path / "a"), Shelf(tmp_path / "b")
    a.publish([a.job(0, file_name=a.image(1))])
    b.publish([b.job(0, file_name=b.image(2))])
    assert compared(a, b).images.compared == 1


def test_images_that_can_t_be_read_are_counted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    broken = shelf.keep(b"no image", "png")
    a = [shelf.job(at, file_name=shelf.image(at)) for at in range(3)]
    b = [
        shelf.job(0, file_name=broken),
        shelf.job(1, file_name="images/00/gone.png"),
        shelf.job(2, file_name=broken),
    ]
    images = two(tmp_path, a, b).images
    assert (images.different, images.compared, images.distance_median) == (3, 0, None)
    assert images.note == "3 pairs could not be read"


def test_of_many_pairs_some_are_measured_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "MAX_PAIRS", 3)
    shelf = Shelf(tmp_path)
    one, other = shelf.image(1), shelf.image(2)
    a = [shelf.job(at, file_name=one) for at in range(10)]
    images = two(
        tmp_path, a, [shelf.job(at, file_name=other) for at in range(10)]
    ).images
    assert (images.different, images.compared) == (10, 3)
    assert {pair.row_key for pair in images.most_different} == {"r0", "r4", "r9"}, (
        "evenly, with both ends"
    )
    assert images.note == "3 of 10 pairs were measured"


def test_without_the_library_distances_are_unknown_and_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    shelf = Shelf(tmp_path)
    images = two(
        tmp_path,
        [shelf.job(0, file_name=shelf.image(1))],
        [shelf.job(0, file_name=shelf.image(2))],
    ).images
    assert (images.different, images.compared, images.distance_median) == (1, 0, None)
    assert "pixmill[compare]" in images.note


# Which datasets are meant


@pytest.fixture
def versions(tmp_path: Path) -> Shelf:
    """Versions of September, two of October, and the current one of 22 November."""
    shelf = Shelf(tmp_path)
    for day in ("20260915T000000Z", "20261001T080000Z", "20261030T000000Z"):
        shelf.publish([shelf.job(0)], version=day)
    shelf.publish([shelf.job(0)])
    return shelf


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("2026-10", "20261030T000000Z"),
        ("2026-10-01", "20261001T080000Z"),
        ("2026-10-01T08:00", "20261001T080000Z"),
        ("20261001T080000Z", "20261001T080000Z"),
        ("2026-10-15", "20261001T080000Z"),
        ("2026-09-30", "20260915T000000Z"),
        ("2026", "dataset"),
        ("2026-11-22T12", "dataset"),
        ("2027", "dataset"),
        ("2026-11-01", "20261030T000000Z"),
    ],
)
def test_a_version_is_the_newest_of_that_time_or_what_was_current_then(
    versions: Shelf, wanted: str, found: str
) -> None:
    for name in (versions.path, str(versions.dataset.parent), "pets"):
        side = find_side(f"{name}@{wanted}", versions.store)
        assert side.path.stem == found
        assert side.store.folder == versions.store.resolve()


def test_a_version_that_is_too_old_names_those_that_there_are(versions: Shelf) -> None:
    with pytest.raises(UserError, match="no version that old: @2026-08") as error:
        find_side("pets@2026-08", versions.store)
    assert "@20260915T000000Z" in error.value.hint
    for wrong in ("", "yesterday", "202", "2026-10-01 *"):
        with pytest.raises(UserError, match="is not a valid version"):
            find_side(f"pets@{wrong}", versions.store)


def test_a_name_means_the_dataset_of_the_store_before_the_simulated_one(
    tmp_path: Path,
) -> None:
    real = Shelf(tmp_path)
    simulated = Shelf(tmp_path, "trial")
    simulated.store = tmp_path / "out" / "simulated"
    for name in ("trial", "pets"):
        simulated.name = name
        simulated.publish([simulated.job(0)])
    real.publish([real.job(0)])
    assert find_side("pets", real.store).path == real.dataset
    assert (
        find_side("trial", real.store).path
        == real.store / "simulated" / "trial" / "dataset.parquet"
    )


def test_a_name_that_is_not_there_suggests_one_that_is(versions: Shelf) -> None:
    with pytest.raises(
        UserError, match=r"there is no dataset 'pest' .*; did you mean `pets`"
    ) as error:
        find_side("pest", versions.store)
    assert "--store" in error.value.hint


def test_a_path_that_holds_an_at_sign_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "me@2026-10"
    folder.mkdir()
    shelf = Shelf(folder)
    shelf.publish([shelf.job(0)])
    shelf.publish([shelf.job(0)], version=OLD)
    assert find_side(shelf.path).path == shelf.dataset
    assert find_side(f"{shelf.path}@2026-10").path.stem == OLD


def test_the_whole_comparison_is_one_json_object(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    found = two(
        tmp_path,
        [shelf.job(0, file_name=shelf.image(1), cost=0.2)],
        [shelf.job(0, file_name=shelf.image(2), cost=0.1), shelf.job(1)],
    )
    said = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert said["headline"] == found.headline()
    assert said.keys() == {"headline", "a", "b", "rows", "parameters", "jobs", "images"}
    assert said["a"]["published_at"] == "2026-10-01T00:00:00Z"
    assert said["rows"]["added_examples"] == ["r1"]
    assert said["jobs"]["outcomes"] == [{"a": "succeeded", "b": "succeeded", "jobs": 1}]
    assert said["images"]["most_different"][0]["row_key"] == "r0"
    assert (said["b"]["cost"], said["b"]["cost_per_image"]) == (None, None), (
        "one image came at an unknown price"
    )


def test_our_columns_are_found_beside_input_columns_of_the_same_name(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    own = pa.schema([*INPUT, ("status", pa.string()), ("cost", pa.int64())])
    job = {
        **shelf.job(0, pixmill_status="failed", pixmill_cost=0.2),
        "status": "mine",
        "cost": 3,
    }
    shelf.publish([job], own, OLD)
    shelf.publish([job], own)
    found = compare(find_side(f"{shelf.path}@2026-10"), find_side(shelf.path))
    assert found.measures_a.statuses == {"failed": 1}
    assert found.measures_a.cost == 0.2
