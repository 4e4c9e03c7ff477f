"""Candidates that a dataset does not have, beside those that it has, on the pages of a view."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.view import site as site_module
from pixmill.view.site import Site, open_site
from tests.conftest import Project
from tests.pixmill.candidates import blank_pictures, draw_candidates

REASON = "does not meet quality.until.where"


@pytest.fixture
def drawn(project: Project, tmp_path: Path) -> Project:
    """A project of three rows: the second has its second candidate, of the third all are blank."""
    with blank_pictures(tmp_path) as simulated:
        draw_candidates(project, simulated, rows=3)
    return project


def page_text(site: Site, number: int) -> str:
    pets = site.datasets.find("d/pets")
    assert pets
    return "".join(site.dataset_page(pets, number))


def jobs_of(page: str) -> dict[str, Any]:
    """Return the one chunk of jobs of a page."""
    [text] = re.findall(r'<div class="jobs" hidden>(.*?)</div>', page, re.DOTALL)
    return json.loads(html.unescape(text))  # type: ignore[no-any-return]


def test_candidates_that_were_not_kept_are_beside_the_one_that_was(
    drawn: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_module, "PAGE_JOBS", 2)
    config = load_config(drawn.path)
    listed = pq.read_table(config.dataset_folder / "candidates.parquet").to_pylist()
    files = {(row["row_number"], row["candidate"]): row["file_name"] for row in listed}
    with open_site(config.store_path) as site:
        first, second = (page_text(site, number) for number in (1, 2))
        assert jobs_of(first)["rejected"] == [
            None,
            [[0, REASON, files[2, 0], True]],
        ]
        assert jobs_of(second)["rejected"] == [
            [[1, REASON, files[3, 1], True], [2, REASON, files[3, 2], True]]
        ]
        # Whoever asks for their small pictures gets them.
        for name in (files[2, 0], files[3, 1], files[3, 2]):
            assert site.sources.find(Path(name).stem) == name
    for page in (first, second):
        # The figures are about the whole dataset.
        assert "Candidates that were not kept" in page
        words = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page))
        assert f"{REASON} 3 " in words


def test_a_list_of_candidates_that_is_damaged_is_named_as_what_can_not_be_shown(
    drawn: Project,
) -> None:
    config = load_config(drawn.path)
    (config.dataset_folder / "candidates.parquet").write_text("no parquet")
    with (
        open_site(config.store_path) as site,
        pytest.raises(PixmillError, match=r"candidates\.parquet is damaged"),
    ):
        page_text(site, 1)
