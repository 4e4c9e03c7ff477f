"""Reading a report without a browser: its data, its scripts, its policy."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.metas: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "meta":
            self.metas[named.get("http-equiv") or named.get("name") or "charset"] = (
                named.get("content") or ""
            )
            return
        self.inside.append(named.get("class") or named.get("id") or tag)
        if tag in ("script", "style", "h1", "p", "div"):
            self.texts.setdefault(self.inside[-1], []).append("")

    def handle_endtag(self, _tag: str) -> None:
        if self.inside:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.texts:
            self.texts[self.inside[-1]][-1] += data


def parts(page: Path) -> _Parts:
    """The texts of a page by the class, id or name of their element, and its meta elements."""
    parser = _Parts()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def about(page: Path) -> dict[str, Any]:
    """What the page's script is told besides the jobs."""
    return json.loads(parts(page).texts["about"][0])  # type: ignore[no-any-return]


def column(page: Path, group: str, name: str | int) -> list[Any]:
    """The values of one column of `ours`, `axes`, `own`, over all chunks."""
    values: list[Any] = []
    for text in parts(page).texts.get("jobs", []):
        held = json.loads(text)[group][name]
        values += (
            held
            if isinstance(held, list)
            else [None if at < 0 else held["values"][at] for at in held["at"]]
        )
    return values


def inputs(page: Path) -> list[tuple[str | None, str | None]]:
    """Thumbnail and link of each job's first input image."""
    found = []
    for text in parts(page).texts.get("jobs", []):
        held = json.loads(text)["inputs"][0]
        plain = [
            of
            if isinstance(of, list)
            else [None if at < 0 else of["values"][at] for at in of["at"]]
            for of in (held["thumb"], held["link"])
        ]
        found += list(zip(*plain, strict=True))
    return found
