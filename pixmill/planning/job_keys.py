"""The keys of a batch's jobs, and the seeds in them, by the policy of the config."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_text import in_nfc
from pixmill.config.model import Config
from pixmill.planning.computed_jobs import ComputedJobs
from pixmill.planning.jobs import RequestVariant, by_position
from pixmill.request.fingerprint import RequestShape, replicate_seed, row_seeds
from pixmill.text import to_nfc


class JobKeys:
    """Draws the seeds of jobs and computes their keys, under one config.

    `point_of` has [variant] the number of its point.
    """

    def __init__(
        self,
        config: Config,
        variants: Sequence[RequestVariant],
        point_of: Sequence[int],
    ) -> None:
        self._config = config
        self._variants = variants
        self._point_of = point_of

    def draw_seeds(
        self,
        images: Sequence[str],
        raw_prompts: pa.Array | None,
        given: Sequence[int],
        row_keys: Sequence[str],
    ) -> list[list[int]]:
        """Return for every variant the seed of each row.

        All parameters are by row: the identities of its `images`, the cell of its prompt, `None`
        without such a column, and where a column gives seeds, those that it has `given`.
        """
        count = len(row_keys)
        settings = self._config.seed
        replicates = range(self._config.replicates)
        points = len(self._variants) // len(replicates)
        if settings.policy == "fixed":
            given = [settings.base] * count
        if settings.policy == "fixed" or self._config.input.column("seed") is not None:
            counted = [
                [replicate_seed(seed, number) for seed in given]
                for number in replicates
            ]
            return counted * points
        prompts = [""] * count
        if settings.policy == "per_key":
            # The key takes the place of what an edit changes.
            images = [""] * count
            prompts = [to_nfc(key) for key in row_keys]
        elif raw_prompts is not None:
            prompts = in_nfc(pc.fill_null(raw_prompts, "")).to_pylist()
        if settings.policy == "per_job":
            return [
                row_seeds(
                    settings.base, images, prompts, variant.replicate, variant.point.id
                )
                for variant in self._variants
            ]
        drawn = [
            row_seeds(settings.base, images, prompts, number) for number in replicates
        ]
        return drawn * points

    def compute(
        self,
        images: Sequence[str],
        prompts: Sequence[list[str]],
        seeds: Sequence[list[int]],
        shapes: Sequence[Sequence[RequestShape]],
    ) -> ComputedJobs:
        """Return the keys of all jobs, each beside the number in it.

        `images` are the identities of each row, `prompts` [point][row] JSON strings, `seeds`
        [variant][row] and `shapes` [point][row].
        """
        numbers = [
            of_rows if variant.has_seed else [variant.replicate] * len(of_rows)
            for variant, of_rows in zip(self._variants, seeds, strict=True)
        ]
        keys: list[list[str]] = []
        for point, numbers_of_rows in zip(self._point_of, numbers, strict=True):
            if self._config.input.field_columns:
                rows = zip(
                    shapes[point], images, prompts[point], numbers_of_rows, strict=True
                )
                keys.append(
                    [
                        shape.job_key(image, prompt, number)
                        for shape, image, prompt, number in rows
                    ]
                )
            elif images:
                # Without fields of their own, all rows have the shape of the first.
                shape = shapes[point][0]
                keys.append(shape.job_keys(images, prompts[point], numbers_of_rows))
            else:
                keys.append([])
        return ComputedJobs(by_position(keys), by_position(numbers))
