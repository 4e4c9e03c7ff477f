"""The columns of a dataset with candidates: whether the one that is kept is accepted, and which one it
is.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.conditions import parse
from pixmill.config.model import Config
from pixmill.errors import ConfigError
from pixmill.planning.candidates import Judgement
from pixmill.planning.jobs import JobBatch
from pixmill.quality.score_columns import ScoreColumns


def extra_fields(config: Config, scores: ScoreColumns) -> list[tuple[str, pa.DataType]]:
    """Return the columns behind our own that a dataset of `config` has: of scores, and with
    `quality.until` of candidates."""
    if config.quality.until is None:
        return scores.fields
    return [*scores.fields, ("accepted", pa.bool_()), ("candidate", pa.int32())]


def check_candidate_condition(config: Config, scores: ScoreColumns) -> None:
    """Raise ConfigError where `quality.until.where` can't be calculated for columns of these types:
    after the first pictures, that would be too late."""
    until = config.quality.until
    if until is None:
        return
    kinds = {**dict(scores.fields), "status": pa.string()}
    condition = parse(until.where)
    nulls = {
        name: pa.nulls(1, kinds.get(name, pa.float64())) for name in condition.names
    }
    try:
        condition.mask(nulls, 1)
    except ValueError as error:
        raise ConfigError(f"quality.until.where: {until.where!r}: {error}") from None


def candidate_columns(
    jobs: JobBatch,
    at: NDArray[np.intp],
    variant: NDArray[np.intp],
    keys: pa.StringArray,
) -> dict[str, Any]:
    """Return the columns of the jobs [row] at these positions of a batch, with these variants and
    keys; invalid rows, which have no key, have nothing in them."""
    numbers = pa.array([each.replicate for each in jobs.variants]).take(
        pa.array(variant)
    )
    accepted = pa.nulls(len(at), pa.bool_())
    if jobs.judgements is not None:
        judgements = jobs.judgements[at]
        unknown = np.isin(judgements, (Judgement.NONE, Judgement.UNDECIDED))
        accepted = pa.array(judgements == Judgement.ACCEPTED, mask=unknown)
    is_job = keys.is_valid()
    return {
        # A row has one of its candidates, which is no repetition beside others.
        "replicate": pc.if_else(is_job, pa.scalar(0), None),
        "accepted": pc.if_else(is_job, accepted, None),
        "candidate": pc.if_else(is_job, numbers, None),
    }
