"""Looking at a report as a person does, while noting everything that the page asks for and complains about."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.real_command import PATIENCE


class OpenReport(NamedTuple):
    """An open report."""

    page: Any
    requests: list[str]
    complaints: list[str]

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that are there now."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def names(self, selector: str) -> list[str]:
        """What a screen reader calls them."""
        return [
            element.get_attribute("aria-label")
            for element in self.page.locator(selector).all()
        ]

    def choose(self, label: str, option: str) -> None:
        """Choose an option of the labelled list of the view in sight."""
        self.page.locator(
            f".view:not([hidden]) .choice:has(> span:text-is('{label}')) select"
        ).select_option(label=option)

    @property
    def state(self) -> str:
        """What stands behind the # of the address."""
        return str(self.page.evaluate("location.hash.slice(1)"))


@contextmanager
def open_in_browser(
    browser: Any, path: Path, state: str = "", **options: Any
) -> Iterator[OpenReport]:
    """Open a report in a context of its own. `options` are Playwright's for a context."""
    context = browser.new_context(
        **{"viewport": {"width": 1280, "height": 800}, **options}
    )
    # Many times what anything here takes, for a machine on which ten browsers start at once.
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    seen = OpenReport(page, [], [])
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "dialog",
        lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()),
    )
    page.on("console", lambda message: seen.complaints.append(message.text))
    try:
        page.goto(f"{path.as_uri()}{'#' + state if state else ''}")
        yield seen
        assert not seen.complaints
        assert {urlsplit(url).scheme for url in seen.requests} <= {"file", "blob"}
    finally:
        context.close()
