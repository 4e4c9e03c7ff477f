"""Comparing two datasets: of two configs, or two versions of one.

    comparison = compare(find_side("configs/pets.yaml@2026-10"), find_side("configs/pets.yaml"))
    print(comparison.headline())

`sides` finds what is compared, `columns` reads the columns that it takes, `matching` pairs the
jobs, `measures` sums up each side, `parameters` and `image_distance` say how requests and images
differ, `comparison` puts it together, `page` shows the pictures.
"""

from pixmill.datasets.compare.comparison import Comparison, compare
from pixmill.datasets.compare.page import write_page
from pixmill.datasets.compare.sides import ComparedDataset, find_side

__all__ = ["ComparedDataset", "Comparison", "compare", "find_side", "write_page"]
