"""The scorers that docs/quality.md shows work as they are."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixmill.quality.scorer_source import ScorerSource, load_scorer, version_of
from pixmill.quality.worker_process import WorkerProcess
from tests.conftest import ROOT


def example(function: str, folder: Path) -> ScorerSource:
    """Return the example of the page that defines a function, as a file."""
    page = (ROOT / "docs" / "quality.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [code] = [block for block in blocks if f"def {function}(" in block]
    file = folder / "example.py"
    file.write_text(code)
    return ScorerSource(str(file), function)


def ask(source: ScorerSource, images: list[Image.Image], folder: Path) -> list[Any]:
    pictures = []
    for at, image in enumerate(images):
        path = folder / f"{at}.png"
        image.save(path)
        pictures.append({"path": str(path), "job": {"prompt": "a cat"}})
    process = WorkerProcess(["scorer", *source])
    try:
        return process.ask(pictures)
    finally:
        process.close()


def test_the_scorer_of_colors_tells_gray_from_colorful_and_cold_from_warm(
    tmp_path: Path,
) -> None:
    noise = Image.effect_noise((40, 40), 90)
    images = [
        noise.convert("RGB"),
        Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]),
        Image.new("RGB", (9, 9), (255, 0, 0)),
    ]
    answers = ask(example("colors", tmp_path), images, tmp_path)
    gray, colorful, red = (answer["found"] for answer in answers)
    assert gray["colorfulness"] == 0
    assert colorful["colorfulness"] > 20
    assert (gray["warmth"], red["warmth"]) == (0, 1)


def test_the_scorer_with_a_model_has_the_version_that_its_file_says(
    tmp_path: Path,
) -> None:
    source = example("clip", tmp_path)
    assert version_of("clip", source) == "clip@ViT-B-32, a photo of a cat"
    assert load_scorer(source).batch == 16  # type: ignore[attr-defined]


@pytest.mark.stack
def test_the_scorer_with_a_model_compares_pictures_with_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    # A model that says how red, green and blue a picture is.
    shape = [None, 3, 224, 224]
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)
    colors = onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [None, 3])
    mean = onnx.helper.make_node(
        "ReduceMean", ["pixels"], ["c"], axes=[2, 3], keepdims=0
    )
    graph = onnx.helper.make_graph([mean], "colors", [pixels], [colors])
    opset = onnx.helper.make_opsetid("", 13)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    np.save(tmp_path / "text.npy", np.array([1, -1, -1], np.float32))
    monkeypatch.setenv("CLIP_MODEL", str(tmp_path / "model.onnx"))
    monkeypatch.setenv("CLIP_TEXT", str(tmp_path / "text.npy"))
    images = [Image.new("RGB", (30, 20), color) for color in ("red", "blue", "red")]
    answers = ask(example("clip", tmp_path), images, tmp_path)
    first, second, third = (answer["found"][""] for answer in answers)
    assert first == pytest.approx(third)
    assert first > 0.9 > 0 > second
