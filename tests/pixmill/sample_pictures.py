"""Pictures made for tests, and what only looks like one."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image


def picture(
    format: str = "JPEG", size: tuple[int, int] = (40, 30), **options: Any
) -> bytes:
    file = BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, format, **options)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises much more than its few bytes of pixels hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


JPEG = picture()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
NO_IMAGES = {
    "empty": b"",
    "html": b"<!doctype html><title>Sign in</title>",
    "json": b'{"code":50500,"message":"Internal Error"}',
    "svg": SVG,
    "gif": picture("GIF"),
    "bmp": picture("BMP"),
    "tiff": picture("TIFF"),
    "fits": b"SIMPLE  =                    T".ljust(2880),
    "zeros": bytes(1000),
    "pdf": b"%PDF-1.7\n",
    "jpeg magic only": b"\xff\xd8\xff\xe0",
}
