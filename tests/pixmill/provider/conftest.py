"""Keys for the tests of clients."""

from pathlib import Path

import pytest

from tests.pixmill.provider.recorded import KEY


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of every kind, in an otherwise empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIXMILL_API_KEY", KEY)
    monkeypatch.setenv("VOLC_ACCESSKEY", "AKLT-canary-0123456789")
    monkeypatch.setenv("VOLC_SECRETKEY", "SK-canary==")
    monkeypatch.delenv("VOLC_SESSION_TOKEN", raising=False)
