"""The page of a run under way in a real browser: it follows the run by itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from tests.conftest import Project, Simulated
from tests.pixmill.datasets.report.conftest import browser
from tests.pixmill.view.open_view import View
from tests.real_command import PATIENCE, Command

__all__ = ["browser"]

pytestmark = pytest.mark.slow

WORDS = "words => document.querySelector('#live')?.textContent.includes(words)"
PICTURES = """count =>
    [...document.querySelectorAll('#gallery img')].filter(image => image.naturalWidth).length === count"""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in which nothing may go wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints


def test_a_page_shows_what_a_run_makes_without_being_loaded_again(
    page: Any, project: Project, simulated: Simulated, pixmill: Command
) -> None:
    project.write_rows(project.rows(6))
    project.use_simulator(simulated)
    project.write_config(
        input={"row_key": ["id"]}, execution={"jobs_per_task": 2}, name="pets"
    )
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        chunks = run.chunks()
        run.process(next(chunks))
        with pixmill.started("view", project.path, "--no-browser") as process:
            page.goto(View(process).address.geturl())
            page.get_by_role("link", name="pets", exact=True).click()
            page.wait_for_function(WORDS, arg="2 of 6 jobs made")
            page.wait_for_function(PICTURES, arg=2)
            assert page.locator("#gallery .blank").all_inner_texts() == ["waiting"] * 4
            # A page that is loaded anew forgets it.
            page.evaluate("window.isTheSame = true")
            for chunk in chunks:
                run.process(chunk)
            page.wait_for_function(WORDS, arg="6 of 6 jobs made")
            page.wait_for_function(PICTURES, arg=6)
            assert page.evaluate("window.isTheSame")
            assert (
                page.locator("#progress").evaluate("bar => bar.style.width") == "100%"
            )
            run.finish()
            # Then it is about what was published.
            page.get_by_text("6 of 6 images").first.wait_for()
            assert page.locator("#live").count() == 0
