"""Which images were scored, of very many at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Quality
from pixmill.ledger import Ledger
from pixmill.ledger.scores import read_scores
from pixmill.quality.hash_lookup import HashLookup, pair_hashes
from pixmill.quality.image_scorers import check_scorer, own_scorers


class ScoredImages:
    """What the checks and scorers of a config were asked about."""

    def __init__(self, alone: Sequence[HashLookup], pairs: HashLookup | None) -> None:
        self._alone = alone
        """For each that looks at the image alone: by its SHA-256."""
        self._pairs = pairs
        """For the one that compares it with its input image, where that is asked for."""

    def unscored(self, images: pa.ChunkedArray, inputs: pa.Array) -> NDArray[np.bool_]:
        """Mark the jobs [row] with an image of which something is still to be said.

        `images` are structs in lists, as outcomes have them; `inputs` are the SHA-256 of the first
        input images, null where there is none at hand: then nothing can be compared.
        """
        lists = images.combine_chunks()
        rows = pc.list_parent_indices(lists)
        hashes = pc.struct_field(pc.list_flatten(lists), "sha256")
        is_unscored = np.zeros(len(hashes), np.bool_)
        for lookup in self._alone:
            is_unscored |= pc.is_null(lookup.find(hashes)).to_numpy(False)
        if self._pairs:
            pairs = pair_hashes(hashes, inputs.take(rows))
            missing = pc.and_(pc.is_null(self._pairs.find(pairs)), pc.is_valid(pairs))
            is_unscored |= missing.to_numpy(False)
        marked = np.zeros(len(images), np.bool_)
        marked[rows.to_numpy()[is_unscored]] = True
        return marked


def read_scored_images(quality: Quality, ledger: Ledger) -> ScoredImages:
    """Return what the ledger has for the config. Raises LedgerError, and UserError where a scorer
    can't be found."""
    alone = []
    pairs = None
    names: Sequence[str] = quality.checks
    scorers = {name: check_scorer(name) for name in names} | own_scorers(quality)
    for name, scorer in scorers.items():
        found = ledger.read(read_scores, scorer).combine_chunks()
        if name == "unchanged":
            keys = pair_hashes(found["sha256"], found["part"]).combine_chunks()
            pairs = HashLookup(keys)
        else:
            # A scorer may give several values of an image.
            alone.append(HashLookup(pc.unique(found["sha256"])))
    return ScoredImages(alone, pairs)
