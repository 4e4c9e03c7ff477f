"""Exporting the published dataset: as a table, or as image folders and shards that trainers read.

    export(config, "imagefolder", Path("pets-train"), Choice(where="status == 'succeeded'", splits=("val=0.02",)))

`exporting` is one export from end to end; `selection` says which rows and which split, `samples` which of them have
an image, `folders` puts a whole folder in place; `tables`, `imagefolder` and `shards` write the formats.
"""

from pixmill.datasets.export.formats import Choice, Format, export
from pixmill.datasets.export.samples import Exported

__all__ = ["Choice", "Exported", "Format", "export"]
