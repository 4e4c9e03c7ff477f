"""What the tests of the stack share: real servers."""

from tests.pixmill.conftest import pixmill
from tests.postgres import database_url, postgres

__all__ = ["database_url", "pixmill", "postgres"]
