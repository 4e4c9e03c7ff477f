"""Writes the pages: `python -m docs.generate`."""

from docs.generate import make_pages
from docs.generate.places import DOCS

for name, text in make_pages().items():
    (DOCS / name).write_text(text, encoding="utf-8")
