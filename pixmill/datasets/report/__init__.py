"""The report: one static HTML page beside the dataset, with a grid, a gallery and a summary.

It opens from disk, asks the network for nothing and needs no server. Everything in it comes from the dataset and from
the images of the store; small versions of those are made once, for all reports of the store.
"""

from pixmill.datasets.report.page import (
    page_beside,
    page_of,
    page_text,
    write_report,
)

__all__ = ["page_beside", "page_of", "page_text", "write_report"]
