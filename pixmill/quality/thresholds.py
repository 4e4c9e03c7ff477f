"""From where on the score of a built-in check is a flag.

Scores are read as those of CleanVision: 1 for a picture without the flaw, 0 for one that has it
as badly as can be, and a flag below a threshold. So more is better in every score, which matters
where the best of several pictures is kept.
"""

from collections.abc import Mapping

THRESHOLDS: Mapping[str, float] = {
    "blank": 0.05,
    "dark": 0.2,
    "blurred": 0.45,
    "unchanged": 0.5,
    "duplicate": 0.4,
}
"""A picture whose score of a check is below this gets the flag of the check."""
