"""The input images that came as bytes, kept for as long as pictures are made from them."""

import hashlib
import io
import tempfile
import time
from pathlib import Path

# Larger files are reduced: no picture shows more.
_LARGE = 256 * 1024
_LARGEST_SIDE = 1024


class KeptImages:
    """Input images by name, in a folder beside the bill, so that they outlive the simulator.

    Without a bill they end with it. Those older than `life` seconds are dropped.
    """

    def __init__(self, bill: Path | None, life: float) -> None:
        self._life = life
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        # Made by the first image that is kept: most requests name URLs.
        self._folder = bill.with_suffix(".inputs") if bill else None
        self._is_ready = False

    def keep(self, data: bytes) -> str:
        """Keep an image and return its name."""
        path = self._make_folder() / hashlib.sha256(data).hexdigest()[:16]
        if path.exists():
            return path.name
        if len(data) > _LARGE:
            # Pillow takes longer to import than the simulator to start.
            from PIL import Image, ImageOps

            with Image.open(io.BytesIO(data)) as image:
                small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
            file = io.BytesIO()
            small.save(file, "JPEG", quality=90)
            data = file.getvalue()
        # Whole or not at all, for whoever paints meanwhile.
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)
        return path.name

    def read(self, name: str) -> bytes | None:
        """Return the image with this name, None if it is not there any more."""
        try:
            return self._make_folder().joinpath(name).read_bytes()
        except OSError:
            return None

    def close(self) -> None:
        """Drop what nobody can ask for any more."""
        if self._temporary:
            self._temporary.cleanup()

    def _make_folder(self) -> Path:
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="pixmill-inputs-")
            self._folder = Path(self._temporary.name)
        if not self._is_ready:
            self._is_ready = True
            self._folder.mkdir(exist_ok=True)
            for path in self._folder.iterdir():
                if path.stat().st_mtime < time.time() - self._life:
                    path.unlink(missing_ok=True)
        return self._folder
