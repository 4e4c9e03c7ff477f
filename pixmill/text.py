"""Text that any room may meet: its one form."""

import unicodedata


def normalized(text: str) -> str:
    """Return `text` in Unicode NFC: two spellings of one character are one prompt."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
