"""The rephraser: lengthens a prompt the same way every time."""

import hashlib
import re

_ENGLISH = (
    "seen from afar, layers fading into the distance, fine detail",
    "calm composition, gentle light on every edge, rich texture",
    "wide view, clear air, carefully balanced colours",
    "quiet mood, long shadows, delicate grain",
)
_HAN = re.compile("[\u4e00-\u9fff]")
_CHINESE = (
    "层次分明,细节丰富。",
    "构图开阔,光线柔和。",
    "色彩饱满,质感细腻。",
    "意境悠远,氛围宁静。",
)


def rephrase(prompt: str) -> str:
    """Return the prompt with a phrase in its own language, chosen by its hash."""
    is_chinese = _HAN.search(prompt) is not None
    phrases = _CHINESE if is_chinese else _ENGLISH
    comma = "," if is_chinese else ", "
    digest = hashlib.sha256(prompt.encode()).digest()
    phrase = phrases[digest[0] % len(phrases)]
    return f"{prompt}{comma}{phrase}"
