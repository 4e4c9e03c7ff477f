"""Cells: whatever stands in one, it makes its own row invalid at most, wherever the config reads it."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.config.model import Config
from pixmill.planning.planner import make_plan
from pixmill.planning.row_checks import REASONS
from tests.fuzz.amount import examples

URL = "https://images.example.com/cat.jpg"

PIECES = st.sampled_from(
    ["https://", "http:", "//", "[", "]", "::1", "[cdn-host]", "@", ":", "99999", "?sig=1", "&sig", "=",
     "%", "%00", "%zz", "#", "a.example.com", "xn--", "xn--a", "\u2100", "\u3002", "\uff0e", "\u0131",
     "\u00df", "..", "/", "\\", "\0", "\n", "\r", "\t", " ", "\u00a0", "\ufeff", "\u200b", "\ud7ff",
     "\U0010ffff", "e\u0301", "0x7f", "127.1", "42.0", "1e400", "NaN", "-1", "true", "x" * 300, "~", "$HOME"]
)  # fmt: skip
TEXTS = st.lists(
    PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=6
)
CELLS = TEXTS.map("".join) | st.none()

READ: list[dict[str, Any]] = [
    {"columns": {"image_url": "odd", "prompt": "text"}},
    {"columns": {"image_url": "odd", "prompt": "text"}, "ignore_url_params": ["sig"]},
    {"columns": {"image_url": ["url", "odd"], "prompt": "text"}, "images": "check"},
    {"columns": {"image_file": "odd", "prompt": "text"}},
    {"columns": {"image_url": "url", "prompt": "odd"}},
    {"columns": {"image_url": "url", "prompt": "text", "seed": "odd"}},
    {"columns": {"image_url": "url", "prompt": "text", "scale": "odd"}},
    {
        "columns": {
            "image_url": "url",
            "prompt": "text",
            "controlnet_args.0.type": "odd",
        }
    },
    {"columns": {"image_url": "url", "prompt": "text"}, "row_key": ["odd", "text"]},
]


@pytest.mark.slow
@examples(300)
@given(cells=st.lists(CELLS, min_size=1, max_size=5), read=st.sampled_from(READ))
def test_any_cell_anywhere_is_a_valid_row_or_an_invalid_one(
    cells: list[str | None], read: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"url": URL, "text": "a cat", "odd": cell} for cell in cells]
        file = Path(folder, "t.jsonl")
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        policy = "column" if "seed" in read["columns"] else "per_row"
        config = Config.model_validate(
            {
                "version": 1,
                "name": "odd",
                "input": {**read, "path": str(file)},
                "seed": {"policy": policy},
            }
        )
        plan = make_plan(config, None)
        jobs = list(plan.pending_jobs())
        for job in jobs:
            job.payload().decode()
    assert plan.rows == len(rows)
    assert set(plan.reasons) <= set(REASONS)
    assert len(jobs) == plan.to_pay
