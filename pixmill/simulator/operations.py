"""What the provider documents of each operation: how it may be called, and which fields it takes.

Written without `pixmill.request.registry` on purpose: a provider that shares the schema of its
client could not show that the client is wrong.
"""

import io
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from pixmill.simulator.field_checks import (
    FieldCheck,
    check_controls,
    check_flag,
    check_logo,
    check_text,
    one_of,
    within,
)

MAX_SEED = 2**31 - 1
CONTROLNET = "high_aes_scheduler_svr_controlnet_v2.0"

USUAL_GUIDANCE = 0.32
"""How closely a picture follows the prompt where nothing else is asked for, from 0 to 1."""

NO_LIMIT = 1_000_000
"""More than any request has: no limit is documented."""

Work: TypeAlias = Literal["paint", "repaint", "enlarge"]
"""Make a picture of the prompt and the input images; repaint what a mask shows; enlarge."""


class SidesRule(NamedTuple):
    """What `width` and `height` must be together, ends included."""

    area: tuple[int, int]
    """In pixels."""

    ratio: tuple[float, float]
    """Width by height."""

    def find_problem(self, body: Mapping[str, Any]) -> str | None:
        """Say what is wrong with the size that a request asks for, None where it is right."""
        width = body.get("width")
        height = body.get("height")
        if width is None and height is None:
            return None
        if width is None or height is None:
            return "width and height must be given together"
        smallest, largest = self.area
        if not smallest <= width * height <= largest:
            return f"width * height must be in [{smallest}, {largest}]"
        # Of operations that let the caller narrow the range.
        lowest = body.get("min_ratio", self.ratio[0])
        highest = body.get("max_ratio", self.ratio[1])
        if not lowest <= width / height <= highest:
            return f"width / height must be in [{lowest:.3g}, {highest:.3g}]"
        return None


class InputRule(NamedTuple):
    """Which input images an operation takes."""

    least: int
    most: int

    by_bytes: bool = True
    """Whether they may come in the request instead of by URL."""

    bytes_win: bool = False
    """Whether bytes count where both come; otherwise that is a mistake."""

    max_bytes: int = 4_700_000
    sides: tuple[int, int] = (1, 4096)
    """In pixels, of both sides."""

    max_ratio: float | None = 3
    """Of the longer side to the shorter one."""

    def allows(self, data: bytes) -> bool:
        """Whether an image is a JPEG or PNG of a size that may come in the request."""
        # Pillow takes longer to import than the simulator to start.
        from PIL import Image

        if len(data) > self.max_bytes:
            return False
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                shorter, longer = sorted(image.size)
        except (Image.DecompressionBombError, OSError, ValueError, SyntaxError):
            return False
        smallest, largest = self.sides
        if shorter < smallest or longer > largest:
            return False
        return self.max_ratio is None or longer <= self.max_ratio * shorter


class ScaleRule(NamedTuple):
    """How closely a picture may follow the prompt."""

    low: float
    high: float
    usual: float
    whole: bool = False

    def check(self, value: Any) -> str:
        """Check the field `scale`."""
        return within(self.low, self.high, whole=self.whole)(value)

    def guidance(self, scale: float) -> float:
        """Return how closely a picture follows the prompt, from 0 to 1.

        Operations have three ranges of `scale`: what is usual in each gives the same picture.
        """
        span = self.high - self.low
        bend = math.log(USUAL_GUIDANCE) / math.log((self.usual - self.low) / span)
        share = (scale - self.low) / span
        return float(share**bend)


class SimulatedOperation(NamedTuple):
    """One `req_key`."""

    actions: frozenset[str]
    """By which of `process` and `submit` it may be called."""

    fields: Mapping[str, FieldCheck]
    """The checks of the fields that it takes, besides prompt and images."""

    images: InputRule | None = None

    prompt_limit: int | None = NO_LIMIT
    """The most characters of a prompt; None where it takes none."""

    size: SidesRule | None = None

    scale: ScaleRule | None = None

    seed: int | None = -1
    """The seed where none is sent, -1 is any; None where it takes none."""

    most_outputs: int = 1
    """How many images an answer may have, fewer by the number of input images."""

    is_png: bool = False

    work: Work = "paint"

    tells_seed: bool = False
    """Whether the answer says which seed was taken."""

    def find_problem(self, body: Mapping[str, Any]) -> str | None:
        """Say what is wrong with the first field of a request that is not as documented, None without one."""
        if self.prompt_limit is not None:
            prompt = body.get("prompt")
            if not isinstance(prompt, str) or not prompt.strip():
                return "prompt must not be empty"
            if len(prompt) > self.prompt_limit:
                return f"prompt must have at most {self.prompt_limit} characters"
        checks = dict(self.fields)
        if self.scale:
            checks["scale"] = self.scale.check
        for name, check in checks.items():
            requirement = check(body[name]) if name in body else ""
            if requirement:
                return f"{name} {requirement}"
        return self.size and self.size.find_problem(body)


_SYNC = frozenset({"process"})
_ASYNC = frozenset({"submit"})
_BOTH = _SYNC | _ASYNC

# 1:3 to 3:1, and a pixel for sides that were rounded.
_USUAL_RATIO = (0.333, 3.003)

_SEED: Mapping[str, FieldCheck] = {"seed": within(-1, MAX_SEED, whole=True)}
_DELIVERY: Mapping[str, FieldCheck] = {
    "return_url": check_flag,
    "logo_info": check_logo,
}
_SHARE = within(0, 1)
_SCALE_TO_1 = ScaleRule(0, 1, usual=0.5)


def _sides(low: int, high: int) -> Mapping[str, FieldCheck]:
    side = within(low, high, whole=True)
    return {"width": side, "height": side}


_ONE_IMAGE = InputRule(least=1, most=1)

_JIMENG_3 = SimulatedOperation(
    actions=_ASYNC,
    fields={**_SEED, **_sides(1, 16384), "use_pre_llm": check_flag},
    prompt_limit=800,
    size=SidesRule(area=(512 * 512, 2048 * 2048), ratio=_USUAL_RATIO),
)

_AREA_4 = (1024 * 1024, 4096 * 4096)
_JIMENG_4 = SimulatedOperation(
    actions=_ASYNC,
    fields={
        **_sides(1, 16384),
        "size": within(*_AREA_4, whole=True),
        "force_single": check_flag,
        "min_ratio": within(1 / 16, 16),
        "max_ratio": within(1 / 16, 16),
    },
    images=InputRule(0, 10, by_bytes=False, max_bytes=15_000_000),
    prompt_limit=800,
    size=SidesRule(area=_AREA_4, ratio=(1 / 16, 16)),
    scale=_SCALE_TO_1,
    seed=None,
    most_outputs=15,
    is_png=True,
)

_SCALE_TO_10 = ScaleRule(1, 10, usual=3.5)
_GENERAL_2: Mapping[str, FieldCheck] = {
    **_SEED,
    **_DELIVERY,
    **_sides(256, 768),
    "model_version": check_text,
    "req_schedule_conf": check_text,
    "ddim_steps": within(1, 50, whole=True),
    "use_sr": check_flag,
    "use_pre_llm": check_flag,
}

OPERATIONS: Mapping[str, SimulatedOperation] = {
    CONTROLNET: SimulatedOperation(
        actions=_BOTH,
        fields={
            **_SEED,
            **_DELIVERY,
            "ddim_steps": within(1, 50, whole=True),
            "use_rephraser": check_flag,
            "controlnet_args": check_controls,
            "use_sr": check_flag,
            "sr_seed": _SEED["seed"],
            "sr_strength": _SHARE,
            "sr_scale": within(1, 30),
            "sr_steps": within(1, 50, whole=True),
        },
        images=InputRule(least=1, most=NO_LIMIT),
        scale=ScaleRule(1, 30, usual=3),
    ),
    "jimeng_t2i_v40": _JIMENG_4,
    "jimeng_seedream46_cvtob": _JIMENG_4._replace(
        images=InputRule(0, 14, by_bytes=False, max_bytes=15_000_000, max_ratio=None),
        scale=ScaleRule(1, 100, usual=50, whole=True),
    ),
    "jimeng_t2i_v31": _JIMENG_3,
    "jimeng_t2i_v30": _JIMENG_3,
    "jimeng_i2i_v30": SimulatedOperation(
        actions=_ASYNC,
        fields={**_SEED, **_sides(512, 2016)},
        prompt_limit=800,
        scale=_SCALE_TO_1,
        images=_ONE_IMAGE,
        # Each side has its range: these only say that both or neither are sent.
        size=SidesRule(area=(512 * 512, 2016 * 2016), ratio=(0, 4)),
    ),
    "jimeng_image2image_dream_inpaint": SimulatedOperation(
        actions=_ASYNC,
        fields=_SEED,
        images=InputRule(least=2, most=2, max_ratio=None),
        seed=101,
        work="repaint",
    ),
    "jimeng_i2i_seed3_tilesr_cvtob": SimulatedOperation(
        actions=_ASYNC,
        fields={"resolution": one_of("4k", "8k")},
        scale=ScaleRule(0, 100, usual=50, whole=True),
        images=_ONE_IMAGE,
        prompt_limit=None,
        seed=None,
        is_png=True,
        work="enlarge",
    ),
    "jimeng_high_aes_general_v21_L": SimulatedOperation(
        actions=_SYNC,
        fields={
            **_SEED,
            **_DELIVERY,
            **_sides(256, 768),
            "use_pre_llm": check_flag,
            "use_sr": check_flag,
        },
        tells_seed=True,
    ),
    "high_aes_general_v30l_zt2i": SimulatedOperation(
        actions=_BOTH,
        fields={
            **_SEED,
            **_DELIVERY,
            **_sides(512, 2048),
            "use_pre_llm": check_flag,
        },
        scale=ScaleRule(1, 10, usual=2.5),
    ),
    "seededit_v3.0": SimulatedOperation(
        actions=_BOTH,
        fields={**_SEED, **_DELIVERY},
        images=_ONE_IMAGE,
        scale=_SCALE_TO_1,
    ),
    "byteedit_v2.0": SimulatedOperation(
        actions=_BOTH,
        fields={**_SEED, **_DELIVERY, "negative_prompt": check_text},
        images=_ONE_IMAGE,
        scale=_SCALE_TO_1,
    ),
    "high_aes_general_v20_L": SimulatedOperation(
        actions=_BOTH,
        fields=_GENERAL_2,
        scale=_SCALE_TO_10,
    ),
    "high_aes_general_v21_L": SimulatedOperation(
        actions=_BOTH,
        fields={
            **_GENERAL_2,
            "llm_seed": _SEED["seed"],
            "sr_seed": _SEED["seed"],
            "sr_strength": _SHARE,
            "sr_scale": within(1, 30),
            "sr_steps": within(1, 50, whole=True),
            "is_only_sr": check_flag,
        },
        scale=_SCALE_TO_10,
    ),
    "high_aes_ip_v20": SimulatedOperation(
        actions=_BOTH,
        fields={
            **_GENERAL_2,
            "ddim_steps": within(1, 200, whole=True),
            "desc_pushback": check_flag,
            "cfg_rescale": _SHARE,
            "ref_ip_weight": _SHARE,
            "ref_id_weight": _SHARE,
        },
        scale=_SCALE_TO_10,
        images=_ONE_IMAGE._replace(bytes_win=True),
    ),
    "lens_nnsr2_pic_common": SimulatedOperation(
        actions=_SYNC,
        fields={
            **_DELIVERY,
            "model_quality": one_of("HQ", "MQ", "LQ"),
            "result_format": within(0, 1, whole=True),
            "jpg_quality": within(0, 100, whole=True),
        },
        images=_ONE_IMAGE._replace(
            bytes_win=True,
            max_bytes=5_000_000,
            sides=(256, 1024),
            max_ratio=None,
        ),
        prompt_limit=None,
        seed=None,
        is_png=True,
        work="enlarge",
    ),
}
"""By `req_key`."""
