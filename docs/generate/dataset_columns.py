"""docs/dataset-columns.md: the columns of a dataset."""

import pyarrow as pa

from docs.generate.markdown import MADE, sentence, table
from pixmill.datasets.our_columns import OUR_COLUMNS


def make_page() -> str:
    """Return docs/dataset-columns.md."""
    rows = (
        (
            f"`{column.name}`",
            _type_name(column.type),
            sentence(column.meaning),
            sentence(column.when_null),
        )
        for column in OUR_COLUMNS
    )
    return f"""# The columns of a dataset

{MADE}

A dataset (`dataset.parquet`) has one row for each job, so one for each row of your table where there is no sweep and
one replicate; an invalid row is one row too. Its columns, in this order:

1. Those of your table, with their names, types and values.
2. pixmill's own, below. Where your table has a column of that name, pixmill's is called `pixmill_<name>`; with both
   taken, `pixmill_pixmill_<name>`. `pixmill.load_results()` and all commands find them under any of these.
3. After `replicate`, one column for each axis of the sweep: `param_<path>`, dots as underscores
   (`controlnet_args.0.strength` is `param_controlnet_args_0_strength`). Its type is that of the axis' values; it is
   null where the value is `null`, and for invalid rows.
4. At the end, where the config has [`quality`](quality.md): for each check `score_<name>` (double, 0 to 1, 1 is good)
   and `flag_<name>` (bool), for each scorer of your own `score_<name>`, or `score_<name>_<key>` where it returns
   several. They are about the first image of the row; null where there is none, where it was not scored, or where
   the scorer failed.
5. Last, where the config has [`quality.until`](quality.md#candidates): `accepted` (bool, null where that is not known
   yet) and `candidate` (int32, from 0), which candidate of its row this is. `replicate` is 0 then.

`pixmill.load_results()` adds `path`, the first image's file as a path that opens. Columns about a call describe
the one that led to the outcome; times are in UTC. Rows with the same request share its `job_key` and repeat its
values, except for `cost`.

{table(("column", "Arrow type", "meaning", "null where"), rows)}

The schema's metadata holds under the key `pixmill` a JSON object for programs: `own` (pixmill's names to those in the
file), `axes`, `columns`, `row_key`, `provider`, `currency`.
"""


def _type_name(kind: pa.DataType) -> str:
    """The type as Arrow writes it, without the names of list items, which differ by Arrow's version."""
    return "`" + str(kind).replace("element: ", "").replace("item: ", "") + "`"
