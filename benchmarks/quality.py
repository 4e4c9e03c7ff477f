"""What the built-in checks cost for one picture of 1024 x 1024, in milliseconds of CPU.

python benchmarks/quality.py
"""

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from pixmill.quality.checks import (
    SOURCE_SIDE,
    open_sample,
    score_blank,
    score_blurred,
    score_dark,
    score_unchanged,
)
from pixmill.quality.duplicates import sign

SIDE = 1024
ROUNDS = 60


def picture() -> bytes:
    """Return a JPEG with as much detail as a photograph."""
    draw = np.random.default_rng(1)
    image = Image.new("RGB", (SIDE, SIDE))
    for side, share in ((8, 1.0), (64, 0.5), (256, 0.25), (SIDE, 0.1)):
        levels = draw.integers(0, 256, (side, side, 3)).astype(np.uint8)
        layer = Image.fromarray(levels, "RGB").resize((SIDE, SIDE))
        image = Image.blend(image, layer, share)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def measure(work: Callable[[], object]) -> float:
    """Return the milliseconds of CPU that `work` takes, the median of many."""
    taken = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return float(np.median(taken)) * 1000


def main() -> None:
    """Measure each part, and all together."""
    data = picture()
    sample = open_sample(data)
    parts: dict[str, Callable[[], object]] = {
        "decode": lambda: open_sample(data),
        "blank": lambda: score_blank(sample),
        "dark": lambda: score_dark(sample),
        "blurred": lambda: score_blurred(sample),
        "duplicate": lambda: sign(sample),
        "unchanged": lambda: score_unchanged(sample, sample),
    }

    def everything() -> None:
        fresh = open_sample(data)
        score_blank(fresh)
        score_dark(fresh)
        score_blurred(fresh)
        sign(fresh)
        score_unchanged(fresh, open_sample(data, SOURCE_SIDE))

    for name, work in parts.items():
        print(f"{name:>10} {measure(work):6.2f} ms")
    print(
        f"{'all':>10} {measure(everything):6.2f} ms, of a JPEG of {len(data):,} bytes"
    )
    print(
        f"{'full':>10} {measure(lambda: Image.open(io.BytesIO(data)).load()):6.2f} ms"
    )


if __name__ == "__main__":
    main()
