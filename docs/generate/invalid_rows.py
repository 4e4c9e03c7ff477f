"""docs/invalid-rows.md: the reasons for invalid rows, and their remedies."""

from docs.generate.markdown import MADE, sentence, table
from pixmill.planning.row_checks import REASONS, REMEDIES
from pixmill.tables.batch import LINE_REASONS


def make_page() -> str:
    """Return docs/invalid-rows.md."""
    of_values = (
        (f"`{reason}`", sentence(meaning), sentence(REMEDIES[reason]))
        for reason, meaning in REASONS.items()
    )
    of_lines = (
        (f"`{reason}`", sentence(why.meaning), sentence(why.remedy))
        for reason, why in LINE_REASONS.items()
    )
    head = ("reason", "meaning", "what to do")
    return f"""# Reasons for invalid rows

{MADE}

An invalid row is never sent and costs nothing. `pixmill validate` and `plan` show them before anything is paid; a run
continues without them, unless they are a larger share of all rows than `input.max_invalid`. They are listed in
`invalid.parquet` beside the dataset (row number, column, reason, message, the cells as they were), and in the dataset
their `status` is `invalid` and their `error_code` the reason. A row has the first reason that applies. Correct the
table and run the same command again: only what is new is paid for.

## What a row asks for

Reasons that begin with `input_` are found by looking at the images themselves, where `input.images` is `check` or
`keep`; `input_damaged` is found in local files too.

{table(head, of_values)}

## Lines that can't be read as rows

A problem in a cell that nothing reads does not make its row invalid: the cell is null in the dataset, and `plan`
says so.

{table(head, of_lines)}
"""
