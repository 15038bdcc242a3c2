"""Pictures of emoji on backgrounds, with the exact box of every object."""

import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from . import assets
from .classes import KINDS, KINDS_OF, NAMES, Kind

Box = tuple[float, float, float, float]


@dataclass
class Thing:
    kind: Kind
    box: Box
    picture: Image.Image | None = None

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass
class Scene:
    """A picture, the objects on it and, for text, its characters with their boxes."""

    image: Image.Image
    things: list[Thing] = field(default_factory=list)
    characters: list[tuple[str, Box]] = field(default_factory=list)
    facts: dict = field(default_factory=dict)


def random_size(rng: random.Random) -> tuple[int, int]:
    longest = int(128 * 5 ** rng.random())
    ratio = rng.choice([1, 1, 1, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3,
                        rng.uniform(0.55, 1.9)])
    if ratio >= 1:
        return longest, max(96, round(longest / ratio))
    return max(96, round(longest * ratio)), longest


def plain_background(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Returns a colour gradient with grain."""
    first, second = ([rng.randint(0, 255) for _ in range(3)] for _ in range(2))
    if rng.random() < 0.5:
        second = first
    ramp = np.linspace(0, 1, size[0 if rng.random() < 0.5 else 1], dtype=np.float32)
    ramp = ramp[None, :, None] if len(ramp) == size[0] else ramp[:, None, None]
    pixels = np.asarray(first) * (1 - ramp) + np.asarray(second) * ramp
    pixels = np.broadcast_to(pixels, (size[1], size[0], 3)).astype(np.float32)
    grain = rng.choice([0, 0, 4, 10])
    if grain:
        pixels = pixels + assets.noise(rng, size[1], size[0], grain)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def background(rng: random.Random, size: tuple[int, int], held_out: bool) -> Image.Image:
    if rng.random() < 0.3:
        return plain_background(rng, size)
    picture = rng.choice(assets.backgrounds(held_out))
    width, height = picture.size
    scale = min(width / size[0], height / size[1]) * rng.uniform(0.4, 1.0)
    crop_width, crop_height = size[0] * scale, size[1] * scale
    left = rng.uniform(0, width - crop_width)
    top = rng.uniform(0, height - crop_height)
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0,
                          box=(left, top, left + crop_width, top + crop_height))


def glyph(rng: random.Random, kind: Kind, longest: int) -> Image.Image:
    """Returns the emoji with its longer side scaled to `longest`, now and then turned a bit."""
    picture = assets.emoji()[KINDS.index(kind)]
    if rng.random() < 0.15:
        picture = picture.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
        picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    scale = longest / max(picture.size)
    size = tuple(max(4, round(side * scale)) for side in picture.size)
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _overlaps(box: Box, others: list[Box], slack: float) -> bool:
    left, top, right, bottom = box
    width, height = (right - left) * slack, (bottom - top) * slack
    return any(right - width > o[0] and o[2] > left + width
               and bottom - height > o[1] and o[3] > top + height for o in others)


def draw_at(scene: Scene, kind: Kind, picture: Image.Image, left: int, top: int) -> None:
    scene.image.paste(picture, (left, top), picture)
    box = (left, top, left + picture.width, top + picture.height)
    scene.things.append(Thing(kind, box, picture))


def place(rng: random.Random, scene: Scene, kind: Kind, longest: int, slack: float = 0.0) -> bool:
    """Draws one object where it fits; returns False if no place was found."""
    picture = glyph(rng, kind, longest)
    width, height = picture.size
    room_x, room_y = scene.image.width - width, scene.image.height - height
    if room_x < 0 or room_y < 0:
        return False
    taken = [thing.box for thing in scene.things]
    for _ in range(12):
        left, top = rng.randint(0, room_x), rng.randint(0, room_y)
        box = (left, top, left + width, top + height)
        if not _overlaps(box, taken, slack):
            draw_at(scene, kind, picture, left, top)
            return True
    return False


def any_kind(rng: random.Random, name: str | None = None) -> Kind:
    return rng.choice(KINDS_OF[name or rng.choice(NAMES)])


def _wanted(rng: random.Random) -> list[Kind]:
    kinds = [any_kind(rng) for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 4, 5]))]
    if rng.random() < 0.35:
        repeated = any_kind(rng)
        kinds = kinds[:3] + [any_kind(rng, repeated.name) if rng.random() < 0.5 else repeated
                             for _ in range(rng.randint(2, 5))]
    return kinds


def object_scene(rng: random.Random, held_out: bool, size: tuple[int, int] | None = None,
                 kinds: list[Kind] | None = None) -> Scene:
    """Returns a scene of one to eight objects."""
    size = size or random_size(rng)
    scene = Scene(background(rng, size, held_out).copy())
    kinds = kinds or _wanted(rng)
    ceiling = 0.5 if len(kinds) <= 2 else 0.4 if len(kinds) <= 4 else 0.28
    slack = 0.12 if rng.random() < 0.2 else 0.0
    for kind in kinds:
        share = rng.uniform(0.13, ceiling)
        place(rng, scene, kind, min(round(share * max(size)), min(size)), slack)
    if not scene.things:
        place(rng, scene, kinds[0], round(0.4 * min(size)))
    return scene


def crowded_scene(rng: random.Random, held_out: bool) -> Scene:
    """Returns a scene full of objects: many dense labels for the price of one picture."""
    scene = Scene(background(rng, random_size(rng), held_out).copy())
    for _ in range(16):
        share = rng.choice([0.14, 0.18, 0.22, 0.28, 0.36]) * rng.uniform(0.85, 1.15)
        longest = min(round(share * max(scene.image.size)), min(scene.image.size))
        place(rng, scene, any_kind(rng), longest, 0.05)
    return scene
