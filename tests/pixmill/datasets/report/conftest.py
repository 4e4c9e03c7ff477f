"""A real browser for the tests of the report."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.pixmill.datasets.report.open_report import OpenReport, open_in_browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


# One a module, not one for all: while Playwright's loop lives, no other test of this thread could run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; the test is skipped where there is none."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium here: `apt-get install chromium`")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed"
    )
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_report(browser: Any) -> Iterator[Callable[..., OpenReport]]:
    """Open a report; when the test ends, nothing may have been asked for but files, and nothing complained."""
    with ExitStack() as stack:

        def opened(path: Path, state: str = "", **options: Any) -> OpenReport:
            return stack.enter_context(open_in_browser(browser, path, state, **options))

        yield opened
