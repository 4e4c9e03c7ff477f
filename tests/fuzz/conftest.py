"""Tables that nobody has thought of."""

import pytest


@pytest.fixture(autouse=True)
def dry_publication_once() -> None:
    """Publish every table dry, as users' runs do: one type holds many odd values."""
