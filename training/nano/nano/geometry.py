"""The official processor's geometry for one image: padded views, tiles, token counts."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

PAD_COLOUR = (127, 127, 127)  # int(mean * 255) for mean 0.5
MAX_CROPPED_IMAGES = 2


@dataclass(frozen=True)
class Geometry:
    image_size: int
    patch_size: int
    downsample: int
    candidates: tuple[tuple[int, int], ...]

    @property
    def side_tokens(self) -> int:
        patches = self.image_size // self.patch_size
        return -(-patches // self.downsample)


def best_resolution(size: tuple[int, int], candidates) -> tuple[int, int]:
    """Picks the candidate with the largest effective area, then the least waste."""
    width, height = size
    best, best_key = None, None
    for across, down in candidates:
        scale = min(across / width, down / height)
        fitted = int(width * scale) * int(height * scale)
        effective = min(fitted, width * height)
        key = (effective, effective - across * down)
        if best_key is None or key > best_key:
            best, best_key = (across, down), key
    return best


def fitted_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns offset x, offset y, width, height of a picture padded into target."""
    width, height = size
    across, down = target
    if width * down == height * across:
        return 0, 0, across, down
    if width / height > across / down:
        new_width, new_height = across, round(height / width * across)
    else:
        new_width, new_height = round(width / height * down), down
    return (round((across - new_width) * 0.5), round((down - new_height) * 0.5),
            new_width, new_height)


def pad(picture: Image.Image, target: tuple[int, int]) -> Image.Image:
    return ImageOps.pad(picture, target, method=Image.Resampling.BICUBIC, color=PAD_COLOUR)


def tiles_of(picture: Image.Image, geometry: Geometry, cropping: bool):
    """Returns uint8 tiles [n, 3, side, side], global view first, and (across, down)."""
    side = geometry.image_size
    best = best_resolution(picture.size, geometry.candidates) if cropping else (side, side)
    views = [pad(picture, (side, side))]
    local = pad(picture, best)
    across, down = best[0] // side, best[1] // side
    for row in range(down):
        for column in range(across):
            corner = (column * side, row * side)
            views.append(local.crop((*corner, corner[0] + side, corner[1] + side)))
    tiles = np.stack([np.asarray(view).transpose(2, 0, 1) for view in views])
    return tiles, (across, down)


def token_count(geometry: Geometry, crop: tuple[int, int]) -> int:
    side = geometry.side_tokens
    return side * (side + 1) + 1 + crop[1] * side * (crop[0] * side + 1)
