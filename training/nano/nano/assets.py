"""Raster material from Debian packages: emoji glyphs, text fonts, background pictures.

Everything is rendered once into a cache folder. Backgrounds and text fonts are divided into a
training side and a held-out side by a hash of their family name, so that no variant of a held-out
picture or typeface is ever seen in training.
"""

import glob
import hashlib
import os
import pickle
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .classes import KINDS

EMOJI_FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
EMOJI_STRIKE = 109  # the only bitmap size in the font
BACKGROUND_GLOBS = [
    "/usr/share/backgrounds/**/*.*", "/usr/share/wallpapers/*/contents/images/*.*",
    "/usr/share/mypaint/backgrounds/**/*.png", "/usr/share/desktop-base/**/wallpaper/**/*.png",
]
BACKGROUND_SIDE = 720
HELD_OUT_SHARE = 5  # one family in five

# Typefaces a person can read: the Noto folder also has hundreds of other scripts.
FONT_GLOBS = [
    "/usr/share/fonts/truetype/dejavu/*.ttf", "/usr/share/fonts/truetype/liberation/*.ttf",
    "/usr/share/fonts/truetype/freefont/*.ttf", "/usr/share/fonts/truetype/croscore/*.ttf",
    "/usr/share/fonts/truetype/lato/Lato-[BMRS]*.ttf",
    "/usr/share/fonts/truetype/open-sans/OpenSans-[BRS]*.ttf",
    "/usr/share/fonts/truetype/roboto/**/Roboto*-[BMR]*.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-[BMRS]*.ttf",
    "/usr/share/fonts/truetype/noto/NotoSerif-[BMRS]*.ttf",
    "/usr/share/fonts/truetype/noto/NotoSansMono-[BMR]*.ttf",
    "/usr/share/fonts/truetype/inconsolata/*.[ot]tf",
    "/usr/share/fonts/opentype/urw-base35/*.otf", "/usr/share/fonts/opentype/cantarell/*.otf",
]
_NOT_TEXT = ("Symbol", "Dingbats", "D050000L", "StandardSymbols", "Z003", "Chancery")
_HELD_OUT_FONTS = ("Lato", "FreeSerif", "LiberationSans-", "NotoSansMono", "C059", "Cantarell")


def cache_dir() -> str:
    """Returns the folder for rendered material; NANO_CACHE names another one."""
    path = os.environ.get("NANO_CACHE", os.path.join(os.path.expanduser("~"), ".cache", "nano"))
    os.makedirs(path, exist_ok=True)
    return path


def _cached(name: str, make):
    path = os.path.join(cache_dir(), name)
    if not os.path.exists(path):
        value = make()
        with open(path + ".tmp", "wb") as file:
            pickle.dump(value, file)
        os.replace(path + ".tmp", path)
    with open(path, "rb") as file:
        return pickle.load(file)


def _render_emoji() -> list[Image.Image]:
    font = ImageFont.truetype(EMOJI_FONT, EMOJI_STRIKE)
    glyphs = []
    for kind in KINDS:
        canvas = Image.new("RGBA", (180, 180), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((10, 10), kind.emoji, font=font, embedded_color=True)
        box = canvas.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox()
        if box is None:
            raise RuntimeError(f"the emoji font has no picture of {kind.name}")
        glyphs.append(canvas.crop(box))
    return glyphs


@lru_cache(maxsize=1)
def emoji() -> list[Image.Image]:
    """Returns one tightly cut RGBA picture per entry of KINDS."""
    return _cached("emoji.pickle", _render_emoji)


def _family(path: str) -> str:
    if "/wallpapers/" in path:
        return path.split("/wallpapers/")[1].split("/")[0]
    stem = os.path.basename(path).split(".")[0]
    return stem.split("_")[0].rstrip("0123456789- ").removesuffix("-d").removesuffix("-l")


def is_held_out(family: str) -> bool:
    return hashlib.sha256(family.encode()).digest()[0] % HELD_OUT_SHARE == 0


def _load_backgrounds() -> dict[bool, list[Image.Image]]:
    sides: dict[bool, list[Image.Image]] = {False: [], True: []}
    paths = sorted({p for pattern in BACKGROUND_GLOBS for p in glob.glob(pattern, recursive=True)})
    seen: dict[str, int] = {}
    for path in paths:
        if not path.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) or os.path.islink(path):
            continue
        family = _family(path)
        if seen.get(family, 0) >= 2:
            continue
        try:
            picture = Image.open(path)
            picture.draft("RGB", (BACKGROUND_SIDE * 2, BACKGROUND_SIDE * 2))
            picture = picture.convert("RGB")
        except (OSError, ValueError):
            continue
        if min(picture.size) < 96:
            continue
        picture.thumbnail((BACKGROUND_SIDE * 2, BACKGROUND_SIDE))
        seen[family] = seen.get(family, 0) + 1
        sides[is_held_out(family)].append(picture)
    if not all(sides.values()):
        raise RuntimeError("too few background pictures: see requirements in the README")
    return sides


@lru_cache(maxsize=1)
def _backgrounds() -> dict[bool, list[Image.Image]]:
    return _cached("backgrounds.pickle", _load_backgrounds)


def backgrounds(held_out: bool) -> list[Image.Image]:
    return _backgrounds()[held_out]


@lru_cache(maxsize=2)
def fonts(held_out: bool) -> list[str]:
    """Returns font files of one side."""
    paths = sorted({p for pattern in FONT_GLOBS for p in glob.glob(pattern, recursive=True)})
    kept = []
    for path in paths:
        name = os.path.basename(path)
        if any(word in name for word in _NOT_TEXT) or "math" in name.lower():
            continue
        if any(name.startswith(family) for family in _HELD_OUT_FONTS) == held_out:
            kept.append(path)
    if not kept:
        raise RuntimeError("no text fonts found: see requirements in the README")
    return kept


@lru_cache(maxsize=4096)
def font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def random_font(rng: random.Random, size: int, held_out: bool) -> ImageFont.FreeTypeFont:
    return font(rng.choice(fonts(held_out)), size)


def noise(rng: random.Random, height: int, width: int, strength: float) -> np.ndarray:
    """Returns grain of the given strength, coarse or fine."""
    generator = np.random.default_rng(rng.getrandbits(32))
    return generator.normal(0.0, strength, (height, width, 1)).astype(np.float32)
