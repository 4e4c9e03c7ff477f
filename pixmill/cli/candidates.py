"""What `plan` and `run` print of candidates."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pixmill.cli.console import cost_text
from pixmill.text import counted

if TYPE_CHECKING:
    from pixmill.planning.plan import Plan


def candidate_lines(made: "Plan") -> Iterator[str]:
    """Yield how far the candidates are, and how many more calls they may take."""
    found = made.candidates
    if found is None:
        return
    yield count_line(found.counts())
    if not made.most_to_pay:
        return
    currency = made.config.budget.currency
    most = f"at most {counted(made.most_to_pay, 'call')}"
    expected = "how many to expect is not known yet: --limit N pays for a few first"
    if found.acceptance is not None and found.expected_calls is not None:
        expected = (
            f"{found.acceptance:.1%} of {found.judged:,} were accepted so far, "
            f"so expect some {counted(round(found.expected_calls), 'call')}"
        )
    if not made.config.simulated:
        most += f", {cost_text(made.costs.most_with_candidates, currency)}"
        if made.expected_cost is not None:
            expected += f", {cost_text(made.expected_cost, currency)}"
    yield f"  {most}; {expected}"


def count_line(counts: Mapping[str, int]) -> str:
    """Return in words how many pictures are good, and of how many candidates."""
    pictures = counted(counts["pictures"], "picture")
    parts = [f"{counts['accepted']:,} of {pictures} accepted"]
    if counts["not_accepted"]:
        parts.append(f"{counts['not_accepted']:,} without candidates left")
    left = counts["pictures"] - counts["accepted"] - counts["not_accepted"]
    if left:
        parts.append(f"{left:,} to decide")
    return f"  {', '.join(parts)}; {counted(counts['drawn'], 'candidate')} so far"
