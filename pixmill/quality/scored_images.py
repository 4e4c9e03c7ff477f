"""Which images were scored, of very many at once."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Quality
from pixmill.ledger import Ledger
from pixmill.quality.image_scorers import check_scorer, own_scorers
from pixmill.quality.ledger_scores import LedgerScores


class ScoredImages:
    """What the checks and scorers of a config were asked about, also in vain."""

    def __init__(self, said: Mapping[str, LedgerScores]) -> None:
        self._said = said
        """By the name in the config."""

    def unscored(
        self,
        images: pa.Array,
        inputs: pa.Array,
        columns: Collection[str] | None = None,
    ) -> NDArray[np.bool_]:
        """Mark the images [row] of which something is still to be said.

        `images` and `inputs` are the SHA-256 of output images and of the first input image of each,
        null where there is none at hand: that nobody can score. Only what the score and flag
        `columns` are made of counts, where these are given.
        """
        marked = np.zeros(len(images), np.bool_)
        for name, said in self._said.items():
            if columns is not None and not _makes_any(name, columns):
                continue
            can_be_scored = pc.is_valid(images)
            if said.by_input:
                can_be_scored = pc.and_(
                    can_be_scored,
                    pc.is_valid(inputs),
                )
            missing = pc.and_not(
                can_be_scored,
                said.find(images, inputs).is_asked,
            )
            marked |= missing.to_numpy(False)
        return marked

    def unscored_jobs(
        self, images: pa.ChunkedArray, inputs: pa.Array
    ) -> NDArray[np.bool_]:
        """Mark the jobs [row] of which an image lacks a score; `images` are structs in lists, as
        outcomes have them."""
        lists = images.combine_chunks()
        rows = pc.list_parent_indices(lists)
        hashes = pc.struct_field(pc.list_flatten(lists), "sha256")
        of_image = inputs.take(rows)
        unscored = self.unscored(hashes, of_image)
        marked_rows = rows.to_numpy()[unscored]
        marked = np.zeros(len(images), np.bool_)
        marked[marked_rows] = True
        return marked


def open_scored_images(
    quality: Quality,
    ledger: Ledger,
) -> ScoredImages:
    """Return what the ledger has for the config. Raises UserError where a scorer can't be found."""
    names: Sequence[str] = quality.checks
    scorers = {name: check_scorer(name) for name in names}
    scorers |= own_scorers(quality)
    said = {}
    for name, scorer in scorers.items():
        said[name] = LedgerScores(
            ledger,
            scorer,
            by_input=name == "unchanged",
        )
    return ScoredImages(said)


def _makes_any(
    scorer: str,
    columns: Collection[str],
) -> bool:
    """Whether one of `columns` is made of what a scorer says.

    By its name, not by what it said so far: of several values nobody knows the names before the first.
    """
    own = (f"score_{scorer}", f"flag_{scorer}")
    part = f"score_{scorer}_"
    return any(column in own or column.startswith(part) for column in columns)
