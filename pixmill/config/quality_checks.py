"""Whether `quality.until` can judge candidates by what it reads.

`pixmill.config.validation` says which sections the check needs.
"""

from collections.abc import Sequence

from pixmill.conditions import parse
from pixmill.config.model import Output, Quality
from pixmill.config.problems import ConfigProblem, Problems
from pixmill.request.model import Seed
from pixmill.request.registry import did_you_mean


def check_until(quality: Quality, seed: Seed, output: Output) -> Problems:
    """Yield what keeps candidates from being drawn or judged."""
    until = quality.until
    if until is None:
        return
    if seed.replicates > 1:
        yield ConfigProblem(
            "seed.replicates",
            "must be 1 with quality.until, whose candidates have the seeds of replicates: "
            "candidate "
            "2 that of replicate 2",
        )
    if output.images == "url":
        yield ConfigProblem(
            "output.images",
            "must not be url with quality.until: an image that is not fetched can't be judged",
        )
    read = parse(until.where).names
    columns = quality.columns_of_candidates
    for name in sorted(read - {"status"}):
        yield from _check_score_name("quality.until.where", name, quality, columns)
    if until.kept_by:
        scores = [name for name in columns if name.startswith("score_")]
        place = "quality.until.keep"
        yield from _check_score_name(place, until.kept_by, quality, scores)


def _check_score_name(
    place: str, name: str, quality: Quality, columns: Sequence[str]
) -> Problems:
    # A scorer that returns several numbers names them itself.
    several = tuple(f"score_{scorer}_" for scorer in quality.scorers)
    if name in columns or name.startswith(several):
        return
    if name in ("score_duplicate", "flag_duplicate"):
        message = "depends on which candidates the dataset has, and can't decide which it gets"
    else:
        message = "is not a score, a flag or `status`" + did_you_mean(name, columns)
        if not columns:
            message += "; name checks or scorers under `quality`"
    yield ConfigProblem(place, f"reads {name!r}, which {message}")
