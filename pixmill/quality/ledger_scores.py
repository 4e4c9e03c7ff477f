"""What one scorer said of images: looked up in the ledger where these are few, read at once where they are
many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.ledger import Ledger
from pixmill.ledger.scores import Scorer, read_scores
from pixmill.quality.hash_lookup import HashLookup, pair_hashes

LOOK_UPS = 10_000
"""After so many images, all that the scorer ever said is read: a look-up takes about as long as ten rows of
that."""


class FoundScores(NamedTuple):
    """What is known of images, by row."""

    values: pa.Array
    """The scores, null where there is none."""
    is_asked: pa.BooleanArray
    """Whether the scorer was asked about the image, also in vain."""


class LedgerScores:
    """Finds what `scorer` said of images.

    Of a scorer that gives several values, `part` is the name of the one that is looked for. With `by_input` a
    score is about an image and its input image. Its methods raise LedgerError.
    """

    def __init__(
        self,
        ledger: Ledger,
        scorer: Scorer,
        *,
        part: str | None = None,
        by_input: bool = False,
    ) -> None:
        self._ledger = ledger
        self._scorer = scorer
        self._part = part
        self.by_input = by_input
        """Whether input images are looked at."""
        self._looked_up = 0
        self._all: tuple[HashLookup, pa.Array] | None = None

    def find(
        self,
        images: pa.Array,
        inputs: pa.Array,
    ) -> FoundScores:
        """Return what is known of `images`, by the SHA-256 of each and of its input image; of null, nothing."""
        wanted = pair_hashes(images, inputs) if self.by_input else images
        if wanted.null_count == len(wanted):
            # No input image at hand, mostly.
            nothing = pa.nulls(len(wanted), pa.float64())
            return FoundScores(nothing, wanted.is_valid())
        self._looked_up += len(images)
        if self._all is None and self._looked_up > LOOK_UPS:
            keys, values = self._read(None)
            self._all = HashLookup(keys), values
        if self._all:
            lookup, values = self._all
            at = lookup.find(wanted)
        else:
            asked = images.drop_null()
            keys, values = self._read(asked.to_pylist())
            at = pc.index_in(
                wanted,
                value_set=keys,
                skip_nulls=True,
            )
        return FoundScores(values.take(at), at.is_valid())

    def _read(self, images: Sequence[str] | None) -> tuple[pa.Array, pa.Array]:
        """Return what scores are found by, and the scores: of `images`, or all of them."""
        said = self._ledger.read(
            read_scores,
            self._scorer,
            images,
        )
        if self._part is not None:
            is_part = pc.equal(said["part"], self._part)
            said = said.filter(is_part)
        keys = said["sha256"].combine_chunks()
        values = said["value"].combine_chunks()
        if self.by_input:
            # Of a score about two images, the part is the SHA-256 of the input image.
            inputs = said["part"].combine_chunks()
            keys = pair_hashes(keys, inputs)
        return keys, values
