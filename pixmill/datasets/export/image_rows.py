"""One row for each image: what an export has where a dataset has one row for each job."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class ImageRows(NamedTuple):
    """The rows of jobs, one for each of their images; a job without any keeps its row."""

    rows: pa.RecordBatch

    of_row: NDArray[np.intp]
    """Which of the jobs' rows each came from: (rows,)."""

    numbers: NDArray[np.intp]
    """Which image of its job each has, from 0: (rows,)."""


def split_images(jobs: pa.RecordBatch, own: Mapping[str, str]) -> ImageRows:
    """Return the rows of `jobs`, of which `own` names our columns, one for each image.

    What the call cost stays with the first of its images, so that the column can be summed.
    """
    images = jobs.column(own["images"])
    urls = jobs.column(own["output_urls"])
    # Without a file, as with `output.images: url`, an address is all of an image.
    is_here = images.is_valid()
    counts = pc.if_else(
        is_here, pc.list_value_length(images), pc.list_value_length(urls)
    )
    lengths = np.maximum(pc.fill_null(counts, 1).to_numpy(zero_copy_only=False), 1)
    of_row = np.repeat(np.arange(jobs.num_rows), lengths)
    if len(of_row) == jobs.num_rows:
        return ImageRows(jobs, of_row, np.zeros(len(of_row), np.intp))
    begins = np.cumsum(lengths) - lengths
    numbers = np.arange(len(of_row)) - begins[of_row]
    rows = jobs.take(pa.array(of_row))
    image = _pick(rows.column(own["images"]), numbers)
    url = _pick(rows.column(own["output_urls"]), numbers)
    # A list with each image alone. A null at the beginning of a list makes that list null.
    is_image = image.is_valid().to_numpy(zero_copy_only=False)
    ends = np.append(0, np.cumsum(is_image)).astype(np.int32)
    bounds = pa.array(ends, mask=np.append(~is_image, False))
    replaced = {
        "file_name": pc.coalesce(
            pc.struct_field(image, "file_name"), rows.column(own["file_name"])
        ),
        "output_url": pc.coalesce(url, rows.column(own["output_url"])),
        "images": pa.ListArray.from_arrays(bounds, image.drop_null()),
        "cost": pc.if_else(pa.array(numbers == 0), rows.column(own["cost"]), None),
    }
    for name, column in replaced.items():
        at = rows.schema.get_field_index(own[name])
        rows = rows.set_column(at, rows.schema.field(at), column)
    return ImageRows(rows, of_row, numbers)


def _pick(lists: pa.ListArray, numbers: NDArray[np.intp]) -> pa.Array:
    """Return of each list the element with that number, null where it has none."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(
        zero_copy_only=False
    )
    begins = lists.offsets.to_numpy()[:-1]
    return lists.values.take(pa.array(begins + numbers, mask=numbers >= lengths))
