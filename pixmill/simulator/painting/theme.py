"""What the simulator understands of a prompt: a palette, a landscape, a subject, a style.

Words are looked for in the order of the tables, so a mood decides before a place. What a
prompt leaves open is drawn from its hash: equal prompts look equal, different ones differ.
"""

import hashlib
import re
from typing import NamedTuple


class Theme(NamedTuple):
    """What to paint, by the names of the tables below."""

    palette: str
    land: str
    subject: str
    style: str


COLORS = 5
"""How many colours a palette has: zenith, middle sky, horizon, sun and foreground."""

PALETTES = {
    "noir": "9c9a96 cfcabf f4efe3 c8402c 141518 noir monochrome black charcoal pencil ink 黑白 水墨 素描",
    "neon": "0d0630 4b1a8c ff4f9a ffe66d 0b0320 neon city cyberpunk futuristic robot 霓虹 赛博 城",
    "night": "060a22 1a2a5e 5a6aa8 fbf3d0 04060f night midnight moon star starry dark 夜 月 星",
    "aurora": "04122b 0b4a5f 37c8a0 eafff4 030f1a aurora northern emerald alien fantasy 极光 奇幻",
    "dusk": "2c2a5c b8527c ffb37c fff0c4 1c1736 sunset dusk evening twilight warm 日落 黄昏 晚霞 夕阳",
    "dawn": "6ea6cc f4c4bc ffe9cc fffaea 2b4459 sunrise dawn morning pastel mist misty fog 日出 清晨 雾",
    "spring": "8ba6d9 f0b6cf fde6e6 fff7f2 48294e sakura cherry blossom pink spring rose 樱花 粉 春",
    "autumn": "52688f e8a45e fcdba6 fff3d8 451a17 autumn fall maple red gold golden 秋 枫 红 金",
    "winter": "5a7ba6 b3cce3 f3f7fb ffffff 1c2f4d winter snow snowy ice frozen cold white 冬 雪 冰 白",
    "lavender": "544f9e b292d4 f7d8e4 fff3e4 2a1e50 lavender violet purple dream 薰衣草 紫 梦",
    "sea": "0e4d7a 55adcf e3f4ee fffdee 0a2c48 sea ocean lake river water rain blue surf 海 湖 河 蓝",
    "forest": "6fb0a4 c9e2c6 f6f2d2 fffbe4 0f3328 forest rainforest garden green mossy 森林 树 绿",
    "desert": "35789f f3c590 ffe8ba fff9e0 74341b desert dune dunes sand canyon summer 沙漠 沙 夏",
}
"""Their colours as RGB, then the words that ask for them."""

_LAND_WORDS = {
    "sea": "sea ocean lake river water surf beach coast boat lighthouse 海 湖 河 船",
    "dunes": "desert dune dunes sand savanna camel 沙漠 沙丘",
    "forest": "forest wood woods jungle rainforest pine cabin bear fox 森林 树林",
    "hills": "hill hills valley meadow field farm farmyard garden grass 丘 草 花 田",
    "peaks": "mountain mountains alps peak peaks summit snow ice winter 山 峰 雪",
}
_SUBJECT_WORDS = {
    "cat": "cat cats kitten 猫",
    "dog": "dog dogs puppy collie corgi terrier wolf fox 狗 犬 狐",
    "boat": "boat ship sail sailing yacht harbor 船 帆",
    "lighthouse": "lighthouse tower castle 灯塔 塔 城堡",
}
_STYLE_WORDS = {
    "watercolor": "watercolor watercolour aquarelle gouache 水彩",
    "ink": "ink sketch pencil lineart drawing engraving etching 水墨 素描 线稿",
    "poster": "poster flat vector minimalist woodcut ukiyo 海报 扁平 浮世绘",
    "pixel": "pixel pixelart 8bit 16bit 像素",
}


def read_prompt(prompt: str) -> Theme:
    """Return what a prompt asks for, in English or Chinese."""
    text = prompt.lower()
    drawn = hashlib.sha256(prompt.encode()).digest()
    return Theme(
        palette=_find(PALETTES, text, list(PALETTES)[4:], drawn[0]),
        land=_find(_LAND_WORDS, text, list(_LAND_WORDS), drawn[1]),
        subject=_find(_SUBJECT_WORDS, text, ["none"], 0),
        style=_find(_STYLE_WORDS, text, ["plain"], 0),
    )


def _find(table: dict[str, str], text: str, others: list[str], drawn: int) -> str:
    """Return the first name that a word of the text stands for, otherwise a drawn one."""
    words = set(re.findall(r"[a-z0-9]+", text))
    for name, listed in table.items():
        for word in listed.split():
            # Chinese is written without spaces, so its words are looked for in the text.
            if word in words or (not word.isascii() and word in text):
                return name
    return others[drawn % len(others)]
