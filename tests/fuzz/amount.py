"""How much is fuzzed: a little in every run of the tests, and as much more as `PIXMILL_SOAK` says."""

import os

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("PIXMILL_SOAK") or 1)
"""Times the usual number of examples."""

SHARED_FOLDER = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
"""A temporary folder may serve all examples of a test: each writes its own file over the one before."""


def examples(count: int) -> settings:
    """Settings for a fuzzed test: `count` examples, always the same; in a long run more, and new ones each time."""
    return settings(
        max_examples=count * EFFORT,
        derandomize=EFFORT == 1,
        deadline=None,
        suppress_health_check=SHARED_FOLDER,
    )
