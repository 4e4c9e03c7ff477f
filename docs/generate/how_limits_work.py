"""docs/how-limits-work.md: its table of constants."""

import re
from pathlib import Path

from docs.generate.markdown import table
from docs.generate.places import DOCS
from pixmill import tuning
from pixmill.backoff import Backoff


def make_page() -> str:
    """Return the page on limits, with the table of `pixmill/tuning.py` as it is now."""
    page = (DOCS / "how-limits-work.md").read_text()
    before, begin, rest = page.partition(
        "<!-- constants: made from the code by `make docs` -->\n"
    )
    _, end, after = rest.partition("<!-- end of constants -->")
    return before + begin + _tuning_tables() + end + after


def _tuning_tables() -> str:
    """Return a table for each section of `pixmill/tuning.py`: a number, its unit, and why it is what it is."""
    source = Path(tuning.__file__).read_text()
    text = ""
    for section in re.split(r"^# (?=[A-Z])", source, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        constants = re.findall(
            r'^([A-Z_]+) = .*?\n"""(.*?)\n"""', body, re.MULTILINE | re.DOTALL
        )
        rows = []
        for name, doc in constants:
            unit, why = doc.split("\n\n", 1)
            reason, _, change = " ".join(why.split()).partition(" More: ")
            more, _, less = change.partition(" Less: ")
            rows.append(
                (
                    f"`{name}`",
                    _tuning_value(name),
                    unit,
                    reason,
                    f"more: {more}<br>less: {less}",
                )
            )
        text += (
            f"\n### {title}\n\n"
            + table(("name", "value", "unit", "why", "to change it"), rows)
            + "\n"
        )
    return text + "\n"


def _tuning_value(name: str) -> str:
    value = getattr(tuning, name)
    if isinstance(value, Backoff):
        return f"{value.first:g}, doubling to {value.cap:g}"
    return f"{value:g}"
