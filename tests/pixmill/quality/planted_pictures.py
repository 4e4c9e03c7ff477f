"""Pictures of many kinds that are good, and others with a flaw that is known.

They are made by drawing and by filters of Pillow, and by the simulator's painter: nothing here
knows how the checks measure.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from pixmill.simulator.painting.canvas import to_image
from pixmill.simulator.painting.scene import Scene
from pixmill.simulator.painting.theme import read_prompt
from pixmill.simulator.recipe import Recipe

Draw = np.random.Generator


class Planted(NamedTuple):
    kind: str
    data: bytes
    flaws: frozenset[str]
    source: bytes | None = None
    """The input image that it was made from."""
    twin: int | None = None
    """The position of the picture that it is a copy of."""


def size_of(draw: Draw) -> tuple[int, int]:
    sizes = [(512, 512), (448, 336), (320, 480), (576, 384), (800, 800), (384, 384)]
    return sizes[draw.integers(len(sizes))]


def color(draw: Draw, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = draw.integers(low, high, 3).tolist()
    return red, green, blue


def to_rgb(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGB")


def texture(draw: Draw) -> Image.Image:
    """Like stone, bark or foliage: as much detail an octave as photographs have."""
    width, height = size_of(draw)
    fy = np.fft.fftfreq(height).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(width).astype(np.float32)[None]
    falls = draw.uniform(1.0, 1.4)
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / max(width, height)) ** falls
    # As waves, of which noise has as much of each length: it need not be analysed first.
    shared, *own = draw.standard_normal((4, *amplitude.shape, 2), np.float32)
    channels = []
    for waves in own:
        mixed = (0.8 * shared + 0.4 * waves).view(np.complex64)[..., 0]
        plane = np.fft.irfft2(mixed * amplitude, (height, width))
        channels.append((plane - plane.mean()) / plane.std())
    contrast = draw.uniform(25, 60)
    return to_rgb(np.stack(channels, -1) * contrast + color(draw, 70, 190))


def scene(draw: Draw) -> Image.Image:
    """As the simulator paints."""
    words = ["harbour", "forest", "cat", "mountain", "bridge", "desert", "garden"]
    prompt = f"{words[draw.integers(len(words))]} {draw.integers(10**6)}"
    width, height = size_of(draw)
    number, seed = draw.integers(2**31, size=2).tolist()
    recipe = Recipe(read_prompt(prompt), number, 0, seed, 0.32, 16, 0, 0, 0, None)
    return to_image(Scene(recipe, (width, height)).paint())


def shapes(draw: Draw, image: Image.Image, count: int, low: int = 0) -> None:
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(count):
        x, y = draw.uniform(0, width), draw.uniform(0, height)
        w, h = draw.uniform(0.05, 0.4, 2) * min(width, height)
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        match draw.integers(4):
            case 0:
                pen.ellipse(box, fill=color(draw, low))
            case 1:
                pen.rectangle(box, fill=color(draw, low))
            case 2:
                points = [
                    (x + a * w, y + b * h) for a, b in draw.uniform(-1, 1, (3, 2))
                ]
                pen.polygon(points, fill=color(draw, low))
            case _:
                pen.line(
                    (x, y, x + w, y - h),
                    fill=color(draw, low),
                    width=int(draw.integers(2, 9)),
                )


def photo(draw: Draw) -> Image.Image:
    """Things with textures before a textured ground."""
    image = texture(draw)
    front = texture(draw).resize(image.size)
    mask = Image.new("L", image.size)
    pen = ImageDraw.Draw(mask)
    for _ in range(draw.integers(2, 7)):
        x, y = draw.uniform(0, image.width), draw.uniform(0, image.height)
        r = draw.uniform(0.1, 0.3) * min(image.size)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    image.paste(front, mask=mask)
    shapes(draw, image, 3)
    return image


def drawing(draw: Draw) -> Image.Image:
    """A few strokes on a plain ground."""
    ground = color(draw, 200)
    image = Image.new("RGB", size_of(draw), ground)
    pen = ImageDraw.Draw(image)
    ink = color(draw, 0, 110)
    for _ in range(draw.integers(3, 12)):
        points = draw.uniform(0.1, 0.9, (draw.integers(3, 8), 2)) * image.size
        pen.line(
            [tuple(p) for p in points.tolist()],
            fill=ink,
            width=int(draw.integers(2, 6)),
            joint="curve",
        )
    return image


def night(draw: Draw) -> Image.Image:
    """Dark, but for lamps, a moon or windows."""
    dimmed = [photo, scene][draw.integers(2)](draw)
    image = ImageEnhance.Brightness(dimmed).enhance(draw.uniform(0.12, 0.3))
    pen = ImageDraw.Draw(image)
    for _ in range(draw.integers(6, 25)):
        x, y = draw.uniform(0, image.width), draw.uniform(0, image.height)
        r = draw.uniform(0.012, 0.04) * min(image.size)
        light = int(draw.integers(110, 256))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(light, light, light * 3 // 4))
    return image


def soft_focus(draw: Draw) -> Image.Image:
    """A portrait lens: a glow over what is sharp, or a little softness all over."""
    image = [photo, scene][draw.integers(2)](draw)
    if draw.integers(2):
        glow = image.filter(ImageFilter.GaussianBlur(draw.uniform(6, 14)))
        return Image.blend(image, glow, draw.uniform(0.3, 0.6))
    return image.filter(
        ImageFilter.GaussianBlur(draw.uniform(0.4, 0.9) * max(image.size) / 600)
    )


def shallow_focus(draw: Draw) -> Image.Image:
    """Sharp in one place, and blurred around it."""
    image = photo(draw)
    blurred = image.filter(ImageFilter.GaussianBlur(draw.uniform(5, 12)))
    mask = Image.new("L", image.size)
    x, y = draw.uniform(0.3, 0.7, 2) * image.size
    r = draw.uniform(0.22, 0.35) * min(image.size)
    ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=255)
    return Image.composite(image, blurred, mask.filter(ImageFilter.GaussianBlur(8)))


def fog(draw: Draw) -> Image.Image:
    """Little contrast, all of it in a few light levels."""
    image = [photo, scene][draw.integers(2)](draw)
    ground = Image.new("RGB", image.size, color(draw, 150, 230))
    return Image.blend(ground, image, draw.uniform(0.15, 0.3))


def gradient(draw: Draw) -> Image.Image:
    """From one color to another, along a line or around a point."""
    width, height = size_of(draw)
    y, x = np.mgrid[0:height, 0:width]
    if draw.integers(2):
        angle = draw.uniform(0, 2 * np.pi)
        along = x / width * np.cos(angle) + y / height * np.sin(angle)
    else:
        cx, cy = draw.uniform(0.2, 0.8, 2)
        along = np.hypot(x / width - cx, y / height - cy)
    along = (along - along.min()) / np.ptp(along)
    while True:
        first, last = np.array(color(draw)), np.array(color(draw))
        if np.abs(first - last).max() > 60 and max(first.max(), last.max()) > 100:
            break
    return to_rgb(first + (last - first) * along[..., None] + 0.5)


def text_page(draw: Draw) -> Image.Image:
    image = Image.new("RGB", size_of(draw), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    letters = list("abcdefghijklmnopqrstuvwxyz     ")
    y = draw.uniform(0.03, 0.4) * image.height
    for _ in range(draw.integers(1, 12)):
        size = int(draw.integers(18, 48))
        if y + size > image.height:
            break
        line = "".join(draw.choice(letters, draw.integers(10, 50)))
        pen.text(
            (20, y), line, fill=color(draw, 0, 90), font=ImageFont.load_default(size)
        )
        y += size * draw.uniform(1.1, 2.5)
    return image


def icon(draw: Draw) -> Image.Image:
    """A small sign in the middle of a plain ground."""
    image = Image.new("RGB", size_of(draw), color(draw, 220))
    side = int(draw.uniform(0.12, 0.5) * min(image.size))
    sign = Image.new("RGB", (side, side), color(draw, 0, 140))
    shapes(draw, sign, int(draw.integers(2, 6)))
    image.paste(sign, ((image.width - side) // 2, (image.height - side) // 2))
    return image


def pattern(draw: Draw) -> Image.Image:
    """Stripes or squares."""
    width, height = size_of(draw)
    y, x = np.mgrid[0:height, 0:width]
    step = int(draw.integers(12, 60))
    cells = x // step + (y // step if draw.integers(2) else 0)
    first, last = np.array(color(draw, 0, 110)), np.array(color(draw, 140))
    return to_rgb(np.where((cells % 2)[..., None], first, last).astype(float))


GOOD: dict[str, Callable[[Draw], Image.Image]] = {
    kind.__name__: kind
    for kind in (
        photo,
        texture,
        scene,
        drawing,
        night,
        soft_focus,
        shallow_focus,
        fog,
        gradient,
        text_page,
        icon,
        pattern,
    )
}


def blank(draw: Draw) -> Image.Image:
    """One color, as it comes out of a failed generation: also with noise or a hint of shade."""
    width, height = size_of(draw)
    ground = [(0, 0, 0), (255, 255, 255), color(draw)][draw.integers(3)]
    plain = np.full((height, width, 3), ground, float)
    match draw.integers(3):
        case 0:
            plain += draw.normal(0, draw.uniform(1, 6), plain.shape)
        case 1:
            plain += np.linspace(-1.5, 1.5, width)[None, :, None]
    return to_rgb(plain)


def dark(draw: Draw) -> Image.Image:
    """So dark that nothing can be made out on a usual screen."""
    image = [photo, scene, texture, shallow_focus][draw.integers(4)](draw)
    return ImageEnhance.Brightness(image).enhance(draw.uniform(0.05, 0.14))


def blurred(draw: Draw) -> Image.Image:
    """As moderation does it, or a lens that is far off."""
    kinds = [photo, scene, texture, drawing, icon, text_page, pattern]
    image = kinds[draw.integers(len(kinds))](draw)
    radius = draw.uniform(0.008, 0.03) * max(image.size)
    if draw.integers(3):
        return image.filter(ImageFilter.GaussianBlur(radius))
    return image.filter(ImageFilter.BoxBlur(2 * radius))


def encode(draw: Draw, image: Image.Image) -> bytes:
    file = io.BytesIO()
    kind = ["JPEG", "JPEG", "PNG", "WEBP"][draw.integers(4)]
    options = (
        {"compress_level": 1}
        if kind == "PNG"
        else {"quality": int(draw.integers(75, 96))}
    )
    if kind == "WEBP":
        options["method"] = 0
    image.save(file, kind, **options)
    return file.getvalue()


def handed_through(draw: Draw, image: Image.Image) -> Image.Image:
    """The same picture, at another size or cut a little to another ratio."""
    match draw.integers(3):
        case 0:
            factor = draw.uniform(0.6, 1.5)
            return image.resize(
                (round(image.width * factor), round(image.height * factor))
            )
        case 1:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            return image.crop((left, top, left + side, top + side)).resize((512, 512))
    return image


def near_copy(draw: Draw, image: Image.Image) -> Image.Image:
    """What people call the same picture: another size, a little lighter, a mark in a corner."""
    match draw.integers(4):
        case 0:
            factor = draw.uniform(0.6, 1.5)
            return image.resize(
                (round(image.width * factor), round(image.height * factor))
            )
        case 1:
            return ImageEnhance.Brightness(image).enhance(draw.uniform(0.97, 1.03))
        case 2:
            marked = image.copy()
            font = ImageFont.load_default(max(10, image.height // 40))
            ImageDraw.Draw(marked).text((8, 8), "AI", fill=(128, 128, 128), font=font)
            return marked
    return image


def changed(draw: Draw, image: Image.Image) -> Image.Image:
    """What an operation is paid for: another style, other colors, or something new in a part."""
    match draw.integers(3):
        case 0:
            return Image.blend(image, scene(draw).resize(image.size), 0.6)
        case 1:
            matrix = draw.dirichlet((0.5, 0.5, 0.5), 3)
            matrix = np.column_stack(
                [matrix[draw.permutation(3)], draw.uniform(-40, 40, 3)]
            )
            return ImageOps.posterize(image, 2).convert("RGB", tuple(matrix.ravel()))
    part = image.copy()
    side = int(0.25 * min(image.size))
    new = photo(draw).resize((side, side))
    part.paste(new, tuple((draw.uniform(0, 0.7, 2) * image.size).astype(int).tolist()))
    return part


def plant(count: int, seed: int = 14) -> list[Planted]:
    """Return `count` pictures: half of them good, a tenth of each flaw."""
    draw = np.random.default_rng(seed)
    made: list[Planted] = []
    images: list[Image.Image] = []
    kinds = list(GOOD.items())
    for number in range(count // 2):
        kind, paint = kinds[number % len(kinds)]
        image = paint(draw)
        source = encode(draw, [photo, scene][draw.integers(2)](draw))
        if number % 3 == 0:
            source = encode(draw, image)
            image = changed(draw, image)
        images.append(image)
        made.append(Planted(kind, encode(draw, image), frozenset(), source))
    each = count // 10
    for _ in range(each):
        image = blank(draw)
        flaws = (
            {"blank", "dark"}
            if np.asarray(image.convert("L")).mean() < 51
            else {"blank"}
        )
        made.append(Planted("blank", encode(draw, image), frozenset(flaws)))
    for _ in range(each):
        made.append(Planted("dark", encode(draw, dark(draw)), frozenset({"dark"})))
    for _ in range(each):
        made.append(
            Planted("blurred", encode(draw, blurred(draw)), frozenset({"blurred"}))
        )
    for number in range(each):
        kind, paint = kinds[number % len(kinds)]
        image = paint(draw)
        copy = encode(draw, handed_through(draw, image))
        made.append(
            Planted("unchanged", copy, frozenset({"unchanged"}), encode(draw, image))
        )
    twins = draw.choice(count // 2, each, replace=False).tolist()
    for twin in twins:
        copy = encode(draw, near_copy(draw, images[twin]))
        made.append(Planted("duplicate", copy, frozenset({"duplicate"}), twin=twin))
        made[twin] = made[twin]._replace(flaws=made[twin].flaws | {"duplicate"})
    return made
