"""Dense labels for the vision tower: what covers each patch, and where that thing's edges are."""

import numpy as np

from .classes import COLOURS, NAMES, NAME_INDEX
from .geometry import fitted_box
from .scenes import Box, Scene

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FIRST_CHARACTER = 1 + len(NAMES)
NUM_CLASSES = FIRST_CHARACTER + len(CHARACTERS)
NUM_COLOURS = 1 + len(COLOURS)


def _covered(box: Box, centres: np.ndarray, margin: float) -> tuple[slice, slice] | None:
    rows = np.flatnonzero((centres >= box[1] - margin) & (centres <= box[3] + margin))
    columns = np.flatnonzero((centres >= box[0] - margin) & (centres <= box[2] + margin))
    if not len(rows) or not len(columns):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def labels(scene: Scene, side: int, patch: int):
    """Returns class [g,g], colour [g,g], edge distances [g,g,4], absolute edges [g,g,4].

    Distances are in units of the view's side; absolute edges are shares of the original picture,
    the numbers that the language model has to write.
    """
    grid = side // patch
    classes = np.zeros((grid, grid), np.int64)
    colours = np.zeros((grid, grid), np.int64)
    distances = np.zeros((grid, grid, 4), np.float32)
    edges = np.zeros((grid, grid, 4), np.float32)
    width, height = scene.image.size
    offset_x, offset_y, fit_x, fit_y = fitted_box((width, height), (side, side))
    centres = np.arange(grid) * patch + patch / 2
    scale = np.array([fit_x / width, fit_y / height] * 2)
    shift = np.array([offset_x, offset_y] * 2)
    items = [(thing.box, 1 + NAME_INDEX[thing.name],
              1 + COLOURS.index(thing.kind.colour) if thing.kind.colour else 0)
             for thing in scene.things]
    items += [(box, FIRST_CHARACTER + CHARACTERS.index(char), 0)
              for char, box in scene.characters if char in CHARACTERS]
    for box, class_id, colour in items:
        view = np.asarray(box) * scale + shift
        margin = patch / 2 if class_id >= FIRST_CHARACTER else 0.0
        area = _covered(tuple(view), centres, margin)
        if area is None:
            continue
        classes[area], colours[area] = class_id, colour
        x, y = centres[area[1]][None, :], centres[area[0]][:, None]
        for index, value in enumerate((x - view[0], y - view[1], view[2] - x, view[3] - y)):
            distances[area + (index,)] = value / side
        edges[area] = np.asarray(box) / np.array([width, height] * 2)
    return classes, colours, distances, edges
