"""Text from outside, in a real browser: it is shown, it never runs, and nothing is asked for because of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixmill.datasets.report import write_report
from pixmill.datasets.report.page import SCRIPTS
from tests.pixmill.datasets.report.open_report import OpenReport
from tests.pixmill.datasets.report.sample_datasets import (
    Axis,
    axis,
    config,
    ended,
    input_rows,
    jobs_of,
    publish,
    with_images,
)

Open = Callable[..., OpenReport]

RUN = "window.ran=(window.ran||0)+1"
HOSTILE = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"</div></script><script>{RUN}</script>",
    f"'><svg onload={RUN}><image href=https://evil.example/a.png></svg>",
    f"javascript:{RUN}//",
    '<img src="https://evil.example/b.png"><link rel=stylesheet href=https://evil.example/c.css>',
    f"{{{{ {RUN} }}}}{{% raw %}}${{{RUN}}}",
    f"<!--<script>{RUN}//-->",
    "__proto__",
    "]]>\u2028\u2029\0</style><base href=https://evil.example/><meta http-equiv=refresh content=0;url=https://evil.example/d>",
)


def hostile_report(folder: Path, *, ended_badly: bool) -> Path:
    """A report in which all texts are hostile: of the table, of the sweep, of calls, of pictures or of errors."""
    of = config(folder)
    names = {f"{name}{at}": name for at, name in enumerate(HOSTILE)}
    rows = [
        {**row, **names, "photo": text, "notes": text}
        for row, text in zip(input_rows(len(HOSTILE)), HOSTILE, strict=True)
    ]
    axes = [
        Axis(HOSTILE[0], {text: text for text in HOSTILE}),
        Axis("__proto__", {"2": 2, "3": 3}),
    ]
    jobs = with_images(jobs_of(rows, axes), of.store_path)
    if ended_badly:
        jobs = [
            ended(job, HOSTILE[at % 3], HOSTILE[at % 10], HOSTILE[at % 10])
            for at, job in enumerate(jobs)
        ]
    for at, job in enumerate(jobs):
        ours = OF_ERRORS if ended_badly else OF_CALLS
        job |= dict.fromkeys(ours, HOSTILE[at % len(HOSTILE)])
    publish(of, jobs, axes)
    return write_report(of)


OF_CALLS = (
    "row_key",
    "point_id",
    "prompt",
    "rephraser_result",
    "params",
    "req_key",
    "request_id",
    "run_id",
)
OF_ERRORS = ("file_name", "input_image", "output_url")


CHOOSE_EACH = """(select, label) => {
    for (const { value } of [...select.options]) {
        const now = [...document.querySelectorAll("#gallery .choice")].find((of) => of.innerText.startsWith(label));
        now.querySelector("select").value = value;
        now.querySelector("select").dispatchEvent(new Event("change"));
    }
}"""


def look_everywhere(report: OpenReport) -> None:
    """Open every view, filter and sort by every column, open the first jobs, star and download."""
    page = report.page
    for view in ("Grid", "Summary", "Gallery"):
        page.locator(".tabs").get_by_role("link", name=view).click()
    for label in ("Where", "Sort"):
        select = page.locator(f"#gallery .choice:has(> span:text-is('{label}')) select")
        select.evaluate(CHOOSE_EACH, label)
    page.locator("#gallery [data-star]").first.evaluate("star => star.click()")
    with page.expect_download():
        page.locator("#download").click()
    page.locator("#gallery .card .open").first.click()
    for _ in range(len(HOSTILE) + 1):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")


def addresses(report: OpenReport) -> list[str]:
    return [
        str(link.get_attribute("href")) for link in report.page.locator("a[href]").all()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("ended_badly", [False, True], ids=["pictures", "errors"])
def test_hostile_text_never_runs_and_nothing_is_requested(
    tmp_path: Path, open_report: Open, ended_badly: bool
) -> None:
    report = open_report(hostile_report(tmp_path, ended_badly=ended_badly))
    look_everywhere(report)
    assert report.page.evaluate("[window.ran, document.scripts.length]") == [
        None,
        len(SCRIPTS),
    ]
    assert all(url.startswith(("file:", "blob:")) for url in report.requests)
    for address in addresses(report):
        assert address.startswith(("#", "../", "https://images.example.com/")), address
    assert (
        report.page.evaluate(
            "Object.prototype.hasOwnProperty.call(Object.prototype, 'values')"
        )
        is False
    )


@pytest.mark.slow
def test_hostile_text_is_shown_as_it_is(tmp_path: Path, open_report: Open) -> None:
    report = open_report(hostile_report(tmp_path, ended_badly=False), "view=gallery")
    for selector in (".prompt", ".name b"):
        shown = report.page.locator(f"#gallery {selector}").all_text_contents()
        assert shown[:3] == list(HOSTILE[:3])


@pytest.mark.slow
def test_a_hostile_address_of_the_page_chooses_nothing(
    tmp_path: Path, open_report: Open
) -> None:
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(2), [axis("scale", 2, 3)]), [axis("scale", 2, 3)])
    state = (
        "view=<script>window.ran=1</script>&x=__proto__&y=constructor"
        "&job=1e9&column=toString&sort=__proto__&size=1e9px"
    )
    report = open_report(write_report(of), state)
    assert report.page.locator("#grid .open").count() == 4
    assert report.page.evaluate("window.ran") is None


SMUGGLED = (
    f"<script>{RUN}</script>",
    f'<img src="x" onerror="{RUN}">',
    '<img src="http://127.0.0.1:9/a.png">',
    '<link rel="stylesheet" href="http://127.0.0.1:9/a.css">',
    '<iframe src="http://127.0.0.1:9/"></iframe>',
    f'<script src="data:text/javascript,{RUN}"></script>',
)


@pytest.mark.slow
def test_the_policy_stops_what_escaping_would_have_missed(
    tmp_path: Path, browser: Any
) -> None:
    """The second wall by itself: markup written into the finished page."""
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(1)))
    path = write_report(of)
    smuggled = "".join(SMUGGLED)
    path.write_text(
        path.read_text(encoding="utf-8").replace("<main>", f"<main>{smuggled}"),
        encoding="utf-8",
    )
    page = browser.new_page()
    arrived: list[str] = []
    page.on("requestfinished", lambda request: arrived.append(request.url))
    page.on("response", lambda response: arrived.append(response.url))
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_selector("#gallery .card")
    assert page.evaluate("window.ran") is None
    assert all(url.startswith("file:") for url in arrived)
    by_policy = [text for text in refused if "Content Security Policy" in text]
    assert len(by_policy) == len(SMUGGLED)
    page.close()


@pytest.mark.slow
def test_scripts_can_not_make_markup_from_text(tmp_path: Path, browser: Any) -> None:
    of = config(tmp_path)
    publish(of, jobs_of(input_rows(1)))
    page = browser.new_page()
    page.goto(write_report(of).as_uri())
    attempt = "() => { try { document.body.innerHTML = '<b></b>'; return 'made' } catch (error) { return error.name } }"
    assert page.evaluate(attempt) == "TypeError"
    page.close()
