"""Exporting the published dataset: as a table, or as image folders and shards that trainers read.

    export(config, "imagefolder", Path("pets-train"), Choice(splits=("val=0.02",)))

`formats` is one export from end to end; `selection` says which rows and which split, `samples`
which of them have an image; `tables`, `imagefolder` and `webdataset` write the formats.
"""

from pixmill.datasets.export.formats import Choice, Format, export
from pixmill.datasets.export.samples import Exported

__all__ = ["Choice", "Exported", "Format", "export"]
