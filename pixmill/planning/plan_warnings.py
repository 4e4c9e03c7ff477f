"""What to know of a plan before anybody pays for it, in sentences."""

from collections.abc import Iterator

from pixmill.planning.plan import Plan
from pixmill.text import counted

_ONE_PROMPT = "request.prompt reads no column, so all rows get the same prompt"
_READ_A_COLUMN = "; a column is read by its name in braces, such as {text}"


def find_warnings(plan: Plan) -> Iterator[str]:
    """Yield what a plan is warned of; it may be what its author wants."""
    if warning := _warn_of_one_prompt(plan):
        yield warning
    for count in plan.condition_counts():
        # A typing error, mostly: a value that no row has, or text where a number was meant.
        if not count.matched:
            yield count.describe()
    if plan.long_prompts:
        verb = "is" if plan.long_prompts == 1 else "are"
        limit = plan.config.input.warn_prompt_chars
        prompts = counted(plan.long_prompts, "prompt")
        yield f"{prompts} {verb} longer than {limit} characters"
    if plan.expander.sweep.axes and plan.expander.rephrases:
        yield (
            "the rephraser is on and rewrites the prompt of each call, so that points differ in "
            "more than their axes; request.params: {use_rephraser: false} turns it off"
        )


def note_one_prompt(plan: Plan) -> str | None:
    """Say that all rows get one prompt where that is what many want: one edit of many pictures."""
    source = plan.config.input
    if not _has_one_prompt(plan) or source.column("prompt") or not source.image_columns:
        return None
    return _ONE_PROMPT + _READ_A_COLUMN


def _warn_of_one_prompt(plan: Plan) -> str | None:
    """Say that all rows get one prompt where that is a mistake, mostly."""
    source = plan.config.input
    if not _has_one_prompt(plan):
        return None
    column = source.column("prompt")
    if column is None:
        return None if source.image_columns else _ONE_PROMPT + _READ_A_COLUMN
    warning = (
        f"{_ONE_PROMPT}, and {column!r} of input.columns.prompt is not used; "
        f"write {{{column}}} into it"
    )
    if source.image_columns:
        warning += "; rows of the same image are the same request"
    return warning


def _has_one_prompt(plan: Plan) -> bool:
    has_prompt = plan.config.request.prompt is not None
    return has_prompt and plan.rows > 1 and not plan.expander.reads_prompts
