"""What the tests of whole runs share with those of the library."""

from tests.pixmill.conftest import pixmill, provider

__all__ = ["pixmill", "provider"]
