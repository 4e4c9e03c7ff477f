"""Looking for a secret in everything that a run leaves behind, in every form in which it may stand there."""

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq


def forms(secret: str) -> dict[str, bytes]:
    """What to look for: the secret in each encoding, and each of its halves. All of it in lower case."""
    data, half = secret.encode(), len(secret) // 2
    encoded = {
        "plain": secret,
        "URL": quote(secret, safe=""),
        "JSON": json.dumps(secret)[1:-1],
        "JSON with escaped slashes": json.dumps(secret)[1:-1].replace("/", "\\/"),
        "hex": data.hex(),
        "first half": secret[:half],
        "second half": secret[half:],
    }
    for before in range(3):
        # Only the digits that no neighbour has a part in.
        digits = base64.b64encode(bytes(before) + data)[
            -(-before * 8 // 6) : (before + len(data)) * 8 // 6
        ].decode()
        encoded[f"base64 at {before}"] = digits
        encoded[f"URL-safe base64 at {before}"] = digits.replace("+", "-").replace(
            "/", "_"
        )
    return {form: text.lower().encode() for form, text in encoded.items()}


def found(outputs: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    """Where which of the named secrets stands, in which form."""
    wanted = [
        (name, form, text)
        for name, secret in secrets.items()
        for form, text in forms(secret).items()
    ]
    lowered = {output: content.lower() for output, content in outputs.items()}
    return [
        f"{name}, {form}: {at}"
        for at, content in lowered.items()
        for name, form, text in wanted
        if text in content
    ]


def files(folder: Path) -> dict[str, bytes]:
    """All files under `folder`, those that compress or split their values also as what they hold."""
    outputs = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            outputs[name] = path.read_bytes()
            outputs[f"what {name} holds"] = b"\n".join(_held(path, outputs[name]))
    return outputs


def _held(path: Path, content: bytes) -> Iterator[bytes]:
    if content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield from map(_value, row)
    elif content.startswith(b"PAR1"):
        table = pq.read_table(path)
        for column in table.columns:
            yield from map(_value, column.to_pylist())
        yield repr(table.schema.metadata).encode()


def _value(value: object) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode("utf-8", "surrogatepass")
    with suppress(zlib.error):
        return value + zlib.decompress(value, 47)
    return value
