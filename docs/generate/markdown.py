"""What the pages are made of: tables and sentences in Markdown."""

from collections.abc import Iterable

MADE = "<!-- Made from the code by `make docs`: changes here are lost. -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def sentence(text: str) -> str:
    """Return `text` with a capital letter at its start, except for names of code."""
    first = text[0] if text.startswith(("pixmill", "`")) else text[0].upper()
    return first + text[1:]
