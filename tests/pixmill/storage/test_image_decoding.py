"""What counts as a picture: complete, of a known format, and of a bearable size."""

import io
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from pixmill.storage.image_decoding import ImageError, inspect, local_image_problem
from tests.pixmill.sample_pictures import JPEG, NO_IMAGES, SVG, picture, png_of

MiB = 1 << 20


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_complete_image_tells_its_shape_and_any_cut_is_seen(
    format: str, options: dict[str, object]
) -> None:
    """F3."""
    data = picture(format, **options)
    assert inspect(data) == (40, 30, format)
    for length in range(len(data)):
        with pytest.raises(ImageError):
            pytest.fail(
                f"{length} of {len(data)} bytes passed: {inspect(data[:length])}"
            )


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_only_jpeg_png_and_webp_are_images(data: bytes) -> None:
    """F4, F6, F9."""
    with pytest.raises(ImageError):
        inspect(data)


@pytest.mark.parametrize(
    ("width", "height"),
    [(50_000, 50_000), (10_000, 10_000), (8_193, 8_192), (100_000, 672)],
)
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """F6: 2.5 gigapixels would be 10 GB in memory."""
    tracemalloc.start()
    with pytest.raises(ImageError, match="more than 67,108,864"):
        inspect(png_of(width, height))
    assert tracemalloc.get_traced_memory()[1] < 5 * MiB
    tracemalloc.stop()


def test_a_large_image_of_few_bytes_is_fine_below_the_cap() -> None:
    file = io.BytesIO()
    Image.new("1", (8_192, 8_192)).save(file, "PNG")
    assert inspect(file.getvalue()) == (8_192, 8_192, "PNG")


def test_too_many_bytes_are_refused_before_decoding() -> None:
    with pytest.raises(ImageError, match="150,000,001 bytes"):
        inspect(JPEG + bytes(150_000_001 - len(JPEG)))


def test_a_jpeg_with_further_pictures_is_a_jpeg() -> None:
    """Phones write them; Pillow calls that format MPO."""
    file = io.BytesIO()
    first, second = (Image.effect_noise((40, 30), 80).convert("RGB") for _ in range(2))
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert inspect(file.getvalue()) == (40, 30, "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG, None),
        (picture("PNG"), None),
        (picture("PNG", (300, 100)), None),
        (picture("PNG", (301, 100)), "image_file_ratio"),
        (picture("PNG", (100, 301)), "image_file_ratio"),
        (png_of(4096, 4096), None),
        (png_of(4097, 4096), "image_file_dimensions"),
        (png_of(50_000, 50_000), "image_file_dimensions"),
        (picture("WEBP"), "image_file_format"),
        (SVG, "image_file_format"),
        (b"", "image_file_format"),
        (JPEG + bytes(4_700_000 - len(JPEG)), None),
        (JPEG + bytes(4_700_001 - len(JPEG)), "image_file_too_large"),
    ],
)
def test_a_local_image_has_to_be_one_that_the_provider_takes(
    tmp_path: Path, data: bytes, reason: str | None
) -> None:
    """F11."""
    (tmp_path / "input.png").write_bytes(data)
    assert local_image_problem(tmp_path / "input.png") == reason


@pytest.mark.parametrize(
    "name", ["absent.png", "", "x" * 300, "no\0name", "input.png/more"]
)
def test_a_local_image_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "input.png").write_bytes(JPEG)
    assert local_image_problem(tmp_path / name) == "image_file_missing"
