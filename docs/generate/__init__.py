"""The reference pages that are made from the code: columns, codes, reasons, operations, flags, Python API, schema.

    python -m docs.generate      # or `make docs`: writes them anew

Each page has a module of its name. `tests/test_docs.py` fails while a page on disk is not what the
code says.
"""

from docs.generate import (
    commands,
    dataset_columns,
    error_codes,
    how_limits_work,
    invalid_rows,
    operations_reference,
    python_api,
)
from pixmill.config.json_schema import schema_text


def make_pages() -> dict[str, str]:
    """Return every page that is made from the code, by its file name."""
    return {
        "dataset-columns.md": dataset_columns.make_page(),
        "error-codes.md": error_codes.make_page(),
        "invalid-rows.md": invalid_rows.make_page(),
        "how-limits-work.md": how_limits_work.make_page(),
        "operations-reference.md": operations_reference.make_page(),
        "commands.md": commands.make_page(),
        "python-api.md": python_api.make_page(),
        "../configs/config.schema.json": schema_text(),
    }
