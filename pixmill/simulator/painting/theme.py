"""What the simulator understands of a prompt: a palette, a landscape, a subject and a style.

Words are looked for in the order of the tables, so a mood ("sunset") decides before a place
("forest"). What a prompt leaves open is drawn from its hash: equal prompts look equal,
different ones differ.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple


class Theme(NamedTuple):
    """What to paint, by the names of the tables below."""

    palette: str
    land: str
    subject: str
    style: str


# Zenith, middle sky, horizon, sun, foreground, accent.
PALETTES: Mapping[str, tuple[str, ...]] = {
    "noir": ("#9c9a96", "#cfcabf", "#f4efe3", "#c8402c", "#141518", "#c8402c"),
    "neon": ("#0d0630", "#4b1a8c", "#ff4f9a", "#ffe66d", "#0b0320", "#00e5ff"),
    "aurora": ("#04122b", "#0b4a5f", "#37c8a0", "#eafff4", "#030f1a", "#a06cf0"),
    "night": ("#060a22", "#1a2a5e", "#5a6aa8", "#fbf3d0", "#04060f", "#8fd3ff"),
    "dusk": ("#2c2a5c", "#b8527c", "#ffb37c", "#fff0c4", "#1c1736", "#ff7a5c"),
    "dawn": ("#6ea6cc", "#f4c4bc", "#ffe9cc", "#fffaea", "#2b4459", "#f0876f"),
    "sakura": ("#8ba6d9", "#f0b6cf", "#fde6e6", "#fff7f2", "#48294e", "#ee6a99"),
    "autumn": ("#52688f", "#e8a45e", "#fcdba6", "#fff3d8", "#451a17", "#d2452a"),
    "winter": ("#5a7ba6", "#b3cce3", "#f3f7fb", "#ffffff", "#1c2f4d", "#7fc8e8"),
    "storm": ("#27323d", "#5f727d", "#c9cdc1", "#f6f0d8", "#11181f", "#dcb548"),
    "rose": ("#a84a6c", "#ec8f96", "#ffd9cb", "#fff3e6", "#3d1230", "#ffd166"),
    "gold": ("#8a5a2b", "#e3a94f", "#ffe7ae", "#fffae0", "#33200f", "#c8553d"),
    "lavender": ("#544f9e", "#b292d4", "#f7d8e4", "#fff3e4", "#2a1e50", "#d070d8"),
    "sea": ("#0e4d7a", "#55adcf", "#e3f4ee", "#fffdee", "#0a2c48", "#ffc94f"),
    "forest": ("#6fb0a4", "#c9e2c6", "#f6f2d2", "#fffbe4", "#0f3328", "#e9ae46"),
    "desert": ("#35789f", "#f3c590", "#ffe8ba", "#fff9e0", "#74341b", "#e2701c"),
    "citrus": ("#18808f", "#8fd0b4", "#fdf0a8", "#fffce0", "#173b45", "#ff8c42"),
}

_PALETTE_WORDS = {
    "noir": "noir monochrome grayscale black charcoal pencil sketch ink sumi 黑白 水墨 素描",
    "neon": "neon cyberpunk synthwave vaporwave cyber futuristic robot 霓虹 赛博",
    "aurora": "aurora northern emerald alien magic magical fantasy 极光 奇幻",
    "night": "night midnight moon moonlight moonlit star starry galaxy space dark 夜 月 星",
    "dusk": "sunset dusk evening twilight orange warm fire 日落 黄昏 晚霞 夕阳",
    "dawn": "sunrise dawn morning pastel soft mist misty fog foggy 日出 清晨 雾",
    "sakura": "sakura cherry blossom blossoms pink spring anime 樱花 粉 春",
    "autumn": "autumn fall maple harvest rust red 秋 枫 红",
    "winter": "winter snow snowy ice icy frozen cold white arctic 冬 雪 冰 白",
    "storm": "storm stormy rain rainy thunder dramatic cloudy gothic 暴风 雨 阴",
    "rose": "rose romantic wedding love coral 玫瑰 浪漫",
    "gold": "gold golden vintage sepia antique baroque yellow 金 复古 黄",
    "lavender": "lavender violet purple dream dreamy surreal 薰衣草 紫 梦",
    "sea": "sea ocean lake river water blue beach island wave coast 海 湖 河 蓝",
    "forest": "forest wood woods jungle garden green pine tree trees 森林 树 绿",
    "desert": "desert dune dunes sand canyon savanna sahara 沙漠 沙",
    "citrus": "summer tropical lemon fresh citrus sunny bright 夏 阳光",
}
_LAND_WORDS = {
    "city": "city skyline skyscraper town street urban downtown tokyo york cyberpunk building "
    "城 街 楼",
    "sea": "sea ocean lake river water beach island wave coast harbor boat ship sail "
    "lighthouse 海 湖 河 船",
    "hills": "hill hills valley slope countryside ridge 丘 坡",
    "dunes": "desert dune dunes sand sahara savanna camel 沙漠 沙丘",
    "forest": "forest wood woods jungle pine fir cabin bear deer fox 森林 树林 木屋",
    "meadow": "meadow field flower flowers garden grass prairie lavender farm sunflower horse "
    "草 花 田",
    "peaks": "mountain mountains alps peak summit himalaya fuji canyon cliff snow ice winter 山 峰 雪",
}
_SUBJECT_WORDS = {
    "cat": "cat cats kitten kitty 猫",
    "dog": "dog dogs puppy corgi terrier husky retriever wolf fox 狗 犬 狐",
    "bird": "bird birds eagle owl crane gull duck heron swallow 鸟 鹤 鹰",
    "boat": "boat ship sail sailing sailboat yacht harbor 船 帆",
    "balloon": "balloon balloons airship sky dream fantasy 气球",
    "lighthouse": "lighthouse tower castle temple church pagoda 灯塔 塔 城堡",
    "house": "house cabin home cottage hut village farm barn 房 屋 家 村",
    "person": "person man woman girl boy portrait people child king queen lady 人 女 男 孩",
    "tree": "tree trees oak maple sakura blossom bonsai 树",
}
_STYLE_WORDS = {
    "watercolor": "watercolor watercolour aquarelle gouache 水彩",
    "ink": "ink sketch pencil sumi lineart drawing engraving etching 水墨 素描 线稿",
    "poster": "poster flat vector minimalist woodcut ukiyo screenprint 海报 扁平 浮世绘",
    "pixel": "pixel pixelart 8bit 16bit 像素",
}
_LANDS = ("peaks", "hills", "sea", "meadow", "forest", "dunes")
_SUBJECTS = ("tree", "none", "balloon", "bird", "house", "none")
_FREE_PALETTES = (
    "dusk",
    "dawn",
    "lavender",
    "sea",
    "forest",
    "citrus",
    "rose",
    "gold",
    "winter",
    "autumn",
)
_WORD = re.compile(r"[a-z0-9]+")

_Table = Mapping[str, frozenset[str]]


def _table(words: Mapping[str, str]) -> _Table:
    return {name: frozenset(listed.split()) for name, listed in words.items()}


_PALETTE_TABLE = _table(_PALETTE_WORDS)
_LAND_TABLE = _table(_LAND_WORDS)
_SUBJECT_TABLE = _table(_SUBJECT_WORDS)
_STYLE_TABLE = _table(_STYLE_WORDS)


def read_prompt(prompt: str) -> Theme:
    """Return what a prompt asks for, in English or Chinese."""
    words = set(_WORD.findall(prompt.lower()))
    if not prompt.isascii():
        # Chinese is written without spaces, so its words are looked for inside the text.
        words.update(word for word in _CHINESE if word in prompt)
    chance = hashlib.sha256(prompt.encode()).digest()
    free_palette = _FREE_PALETTES[chance[0] % len(_FREE_PALETTES)]
    free_land = _LANDS[chance[1] % len(_LANDS)]
    free_subject = _SUBJECTS[chance[2] % len(_SUBJECTS)]
    return Theme(
        palette=_find(_PALETTE_TABLE, words) or free_palette,
        land=_find(_LAND_TABLE, words) or free_land,
        subject=_find(_SUBJECT_TABLE, words) or free_subject,
        style=_find(_STYLE_TABLE, words) or "plain",
    )


def _find(
    table: _Table,
    words: set[str],
) -> str | None:
    """Return the first name in the table that one of the words stands for."""
    for name, known in table.items():
        if known & words:
            return name
    return None


_CHINESE = frozenset(
    word
    for table in (_PALETTE_TABLE, _LAND_TABLE, _SUBJECT_TABLE, _STYLE_TABLE)
    for words in table.values()
    for word in words
    if not word.isascii()
)
