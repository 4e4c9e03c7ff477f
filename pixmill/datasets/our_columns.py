"""The columns that pixmill adds to those of the input, in their order: names, types, meanings, and
where their values come from.

The schema of the dataset, what is copied from the ledger, what the report's page shows and
`docs/dataset-columns.md` follow from this list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from pixmill.ledger.bulk_lookup import IMAGES

_INSTANT = pa.timestamp("us", tz="UTC")

_NEVER = "never"
_INVALID = "invalid rows"
_UNCALLED = "no call was made: invalid rows, and jobs that were not attempted"
_UNENDED = "no call has ended: invalid rows, and jobs that were not attempted"
_UNANSWERED = "no call has ended, or the process that made it died before"
_NO_SLOT = "invalid rows of a config that makes several jobs of a row"
_NO_URL = "there is no answer, or it contained no URL"
_NO_FILE = "the image is not in the store, or `output.images` is `url`"


class OurColumn(NamedTuple):
    """A column that every dataset has beside those of the input."""

    name: str
    type: pa.DataType
    meaning: str
    """What a cell says, with its unit, in Markdown."""
    when_null: str
    """For which rows a cell is null, in Markdown; `never` where that can't be."""
    from_ledger: bool = False
    """Whether cells are those of the ledger's column of the same name; others are computed
    in `datasets/result_table.py`."""
    in_report: bool = True
    """Whether the report's page holds it, beside the pictures that it finds by the columns of
    files."""


OUR_COLUMNS: tuple[OurColumn, ...] = (
    OurColumn(
        "row_number",
        pa.int64(),
        "the input row, counted from 1 over all files of the input, without header and blank lines",
        _NEVER,
    ),
    OurColumn(
        "row_key",
        pa.string(),
        "the row as its owner knows it: the text of the one column of `input.row_key`, a JSON array"
        " of several; without `row_key` 16 hexadecimal digits over what the request reads of "
        "the row",
        "the one column of `input.row_key` is null; such a row is invalid",
    ),
    OurColumn(
        "point_id",
        pa.string(),
        "the point of the sweep: 12 hexadecimal digits, or `base` for the config's own values",
        _NO_SLOT,
    ),
    OurColumn(
        "replicate", pa.int32(), "the repetition with another seed, from 0", _NO_SLOT
    ),
    OurColumn("prompt", pa.string(), "the prompt as it is sent", _NEVER),
    OurColumn(
        "params",
        pa.string(),
        "the other fields of the request as it is sent, as a JSON object, without images and seed",
        _NEVER,
    ),
    OurColumn("req_key", pa.string(), "the model or service that is asked", _NO_SLOT),
    OurColumn(
        "provider",
        pa.string(),
        "who answered: `simulator`, `gateway` or `volcengine`",
        _UNCALLED,
        from_ledger=True,
        in_report=False,
    ),
    OurColumn("seed", pa.int64(), "the seed that was asked for", _INVALID),
    OurColumn(
        "status",
        pa.string(),
        "how the job ended: `succeeded`, `failed`, `refused`, `in_doubt`, `invalid` or `skipped`",
        _NEVER,
    ),
    OurColumn(
        "error_code",
        pa.string(),
        "why, in one word: an [error code](error-codes.md), or for invalid rows the"
        " [reason](invalid-rows.md)",
        "successes whose image is there",
    ),
    OurColumn(
        "error_message",
        pa.string(),
        "the same as a sentence, of the provider or of pixmill",
        "successes, jobs that were not attempted, and errors without a text",
    ),
    OurColumn(
        "attempts",
        pa.int32(),
        "the HTTP calls made for this `job_key`, in all runs; 0 where there was none",
        _NEVER,
    ),
    OurColumn(
        "cached",
        pa.bool_(),
        "whether a success cost this run nothing: paid by an earlier run, or by another row with"
        " the same request; false for everything but a success",
        _NEVER,
        in_report=False,
    ),
    OurColumn(
        "job_key",
        pa.string(),
        "the identity of the request, 64 hexadecimal digits; equal requests share it, and are paid"
        " for once",
        _INVALID,
        in_report=False,
    ),
    OurColumn(
        "run_id",
        pa.string(),
        "the run that made the call",
        _UNCALLED,
        from_ledger=True,
    ),
    OurColumn(
        "request_id",
        pa.string(),
        "the provider's id of the call, for its console and support",
        "there was no answer, or it contained none",
        from_ledger=True,
    ),
    OurColumn(
        "rephraser_result",
        pa.string(),
        "the prompt as the provider's rephraser rewrote it",
        "no image was made, or the rephraser is off",
        from_ledger=True,
    ),
    OurColumn(
        "output_url",
        pa.string(),
        "the first of `output_urls`; it expires within a day",
        _NO_URL,
        in_report=False,
    ),
    OurColumn(
        "output_urls",
        pa.list_(pa.string()),
        "the images' URLs at the provider",
        _NO_URL,
        from_ledger=True,
        in_report=False,
    ),
    OurColumn(
        "url_expires_at",
        _INSTANT,
        "when the first of these URLs expires",
        _NO_URL,
        from_ledger=True,
    ),
    OurColumn(
        "file_name",
        pa.string(),
        "the first image's file, relative to the store",
        _NO_FILE,
        in_report=False,
    ),
    OurColumn(
        "images",
        IMAGES,
        "all images of the job: `file_name` relative to the store, `sha256` of the file, "
        "`width` and"
        " `height` in pixels, `format` (`JPEG`, `PNG` or `WEBP`), size in `bytes`",
        _NO_FILE,
        from_ledger=True,
        in_report=False,
    ),
    OurColumn(
        "input_image",
        pa.string(),
        "the stored file of the row's first input image, relative to the store",
        "it is not stored: `input.images` is not `keep`",
        from_ledger=True,
        in_report=False,
    ),
    OurColumn(
        "started_at",
        _INSTANT,
        "when the call was sent",
        _UNENDED,
        from_ledger=True,
    ),
    OurColumn(
        "finished_at",
        _INSTANT,
        "when its answer came, or when it was found that none will come",
        _UNENDED,
        from_ledger=True,
    ),
    OurColumn(
        "queue_ms",
        pa.float64(),
        "milliseconds that the job waited in pixmill before the call",
        _UNANSWERED,
        from_ledger=True,
    ),
    OurColumn(
        "latency_ms",
        pa.float64(),
        "milliseconds from sending the call to its whole answer",
        _UNANSWERED,
        from_ledger=True,
    ),
    OurColumn(
        "provider_ms",
        pa.float64(),
        "milliseconds that the provider says it worked",
        "the answer does not say, or there is none",
        from_ledger=True,
    ),
    OurColumn(
        "download_ms",
        pa.float64(),
        "milliseconds that fetching and storing the images took",
        "nothing was fetched: no image, `output.images: url`, or images inside the answer",
        from_ledger=True,
    ),
    OurColumn(
        "cost",
        pa.float64(),
        "what the call cost, in `currency`; only the first row of a `job_key` has it, so that"
        " the column can be summed",
        "it was not charged, it is unknown whether it was, there is no `budget.price_per_call`, or"
        " an earlier row has it",
    ),
    OurColumn(
        "currency",
        pa.string(),
        "`budget.currency` when the call was made",
        _UNANSWERED,
        from_ledger=True,
    ),
    OurColumn(
        "effective_seed",
        pa.int64(),
        "the seed that was sent: another than `seed` where moderation refused an output and it"
        " was drawn again",
        "invalid and skipped rows",
    ),
    OurColumn(
        "task_id",
        pa.string(),
        "the provider's id of the task that made the images, or that still works",
        "the operation was called synchronously, no task was started, or the row is invalid",
        from_ledger=True,
    ),
    OurColumn(
        "image_count",
        pa.int32(),
        "how many images the answer has, whether or not they are in the store",
        "everything but successes",
    ),
)
"""All of them, in the order of the dataset. Users' programs rely on names and order: new ones go to
the end."""


def find_columns(schema: pa.Schema, names: Sequence[str]) -> Mapping[str, str]:
    """Return what each column of ours among `names` is called: ours follow the input's, prefixed on a
    clash."""
    position = {name: at for at, name in enumerate(schema.names)}
    found = {}
    for name in names:
        spellings = [name]
        while f"pixmill_{spellings[-1]}" in position:
            spellings.append(f"pixmill_{spellings[-1]}")
        if there := [spelling for spelling in spellings if spelling in position]:
            # The last one: what the input calls so comes before ours.
            found[name] = max(there, key=position.__getitem__)
    return found
