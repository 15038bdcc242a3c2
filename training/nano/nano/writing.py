"""Pictures with text: a line of characters, a table, a bar chart."""

import random

from PIL import Image, ImageDraw

from . import assets, wording
from .answers import Turn, fill
from .scenes import Scene, background, plain_background

UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"


def _luminance(colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _ink(rng: random.Random, ground: Image.Image) -> tuple[int, int, int]:
    """Returns a colour that stands out from the mean of the ground."""
    mean = _luminance(ground.resize((1, 1)).getpixel((0, 0)))
    while True:
        colour = tuple(rng.randint(0, 255) for _ in range(3))
        if rng.random() < 0.5:
            colour = (0, 0, 0) if mean > 127 else (255, 255, 255)
        if abs(_luminance(colour) - mean) > 90:
            return colour


def _fitting_font(rng: random.Random, text: str, width: float, held_out: bool, tallest: float):
    """Returns a font in which the text is about `width` wide."""
    path = rng.choice(assets.fonts(held_out))
    at_100 = assets.font(path, 100).getlength(text)
    size = int(min(max(7, 100 * width / max(at_100, 1)), max(8, tallest)))
    return assets.font(path, size)


def random_text(rng: random.Random) -> str:
    length = rng.randint(1, 12)
    letters = rng.choice([UPPER, UPPER, DIGITS, UPPER + DIGITS, UPPER + DIGITS,
                          UPPER.lower(), UPPER.lower() + UPPER + DIGITS])
    text = "".join(rng.choice(letters) for _ in range(length))
    if length > 4 and rng.random() < 0.15:
        cut = rng.randint(2, length - 2)
        text = text[:cut] + " " + text[cut + 1:]
    return text


def line_scene(rng: random.Random, held_out: bool) -> Scene:
    """Returns a picture with one line of up to twelve characters."""
    longest = int(160 * 3.5 ** rng.random())
    size = longest, max(40, round(longest * rng.choice([0.2, 0.25, 0.33, 0.5, 0.75, 1.0])))
    if rng.random() < 0.5:
        scene = Scene(plain_background(rng, size))
    else:
        scene = Scene(background(rng, size, held_out).copy())
    text = random_text(rng)
    share = min(0.95, rng.uniform(0.07, 0.1) * (len(text) + 1)) if rng.random() < 0.8 else 0.9
    font = _fitting_font(rng, text, share * size[0], held_out, size[1] * 0.7)
    left, top, right, bottom = font.getbbox(text)
    x = rng.uniform(0, max(1, size[0] - right - 1))
    y = rng.uniform(-top, max(-top + 1, size[1] - bottom - 1))
    ImageDraw.Draw(scene.image).text((x, y), text, font=font, fill=_ink(rng, scene.image))
    for index, char in enumerate(text):
        start = x + font.getlength(text[:index])
        end = x + font.getlength(text[:index + 1])
        scene.characters.append((char, (start, y + top, end, y + bottom)))
    scene.facts["text"] = text
    return scene


def text_sample(rng: random.Random, held_out: bool):
    scene = line_scene(rng, held_out)
    return [scene], [Turn("reading", fill(rng, wording.READ, ""), scene.facts["text"])]


def _write(scene: Scene, draw, where, text: str, font, ink) -> None:
    """Draws text centred at a point and notes the characters."""
    draw.text(where, text, font=font, fill=ink, anchor="mm")
    left, top, _, bottom = draw.textbbox(where, text, font=font, anchor="mm")
    for index, char in enumerate(text):
        span = (left + font.getlength(text[:index]), left + font.getlength(text[:index + 1]))
        scene.characters.append((char, (span[0], top, span[1], bottom)))


def table_scene(rng: random.Random, held_out: bool) -> Scene:
    """Returns a table of two-digit numbers with titles on both sides."""
    rows, columns = rng.randint(2, 4), rng.randint(1, 3)
    size = rng.randint(240, 560), rng.randint(160, 420)
    scene = Scene(Image.new("RGB", size, tuple(rng.randint(215, 255) for _ in range(3))))
    labels = rng.sample(wording.LABELS, rows + columns)
    cell = size[0] / (columns + 1), size[1] / (rows + 1)
    widest = max(labels, key=len)
    font = _fitting_font(rng, widest, cell[0] * rng.uniform(0.6, 0.85), held_out, cell[1] * 0.6)
    draw, ink = ImageDraw.Draw(scene.image), tuple(rng.randint(0, 80) for _ in range(3))
    if rng.random() < 0.5:
        tint = tuple(rng.randint(150, 230) for _ in range(3))
        draw.rectangle((0, 0, size[0], cell[1]), fill=tint)
    if rng.random() < 0.8:
        for i in range(rows + 2):
            draw.line((0, i * cell[1], size[0], i * cell[1]), fill=ink)
        for i in range(columns + 2):
            draw.line((i * cell[0], 0, i * cell[0], size[1]), fill=ink)
    values = {}
    for row in range(rows + 1):
        for column in range(columns + 1):
            text = ("" if row == column == 0 else labels[row - 1] if column == 0
                    else labels[rows + column - 1] if row == 0 else str(rng.randint(0, 99)))
            _write(scene, draw, ((column + 0.5) * cell[0], (row + 0.5) * cell[1]), text, font, ink)
            if row and column:
                values[labels[row - 1], labels[rows + column - 1]] = text
    scene.facts["values"] = values
    return scene


def table_sample(rng: random.Random, held_out: bool):
    scene = table_scene(rng, held_out)
    turns = [Turn("table", fill(rng, wording.CELL, "", row=row, column=column), value)
             for (row, column), value in scene.facts["values"].items()]
    rng.shuffle(turns)
    return [scene], turns[:8]


def chart_scene(rng: random.Random, held_out: bool) -> Scene:
    """Returns a bar chart whose values stand over the bars."""
    count = rng.randint(3, 6)
    size = rng.randint(220, 560), rng.randint(180, 420)
    scene = Scene(Image.new("RGB", size, tuple(rng.randint(215, 255) for _ in range(3))))
    draw, ink = ImageDraw.Draw(scene.image), tuple(rng.randint(0, 70) for _ in range(3))
    labels = rng.sample(wording.LABELS, count)
    values = [rng.randint(1, 99) for _ in range(count)]
    step = size[0] * 0.94 / count
    longest = max(labels, key=len)
    font = _fitting_font(rng, longest, step * rng.uniform(0.6, 0.85), held_out, size[1] * 0.09)
    base, top = size[1] * 0.87, size[1] * 0.13
    same = tuple(rng.randint(30, 200) for _ in range(3))
    one_colour = rng.random() < 0.5
    for index, (label, value) in enumerate(zip(labels, values)):
        middle = size[0] * 0.03 + (index + 0.5) * step
        height = (base - top) * value / max(values)
        colour = same if one_colour else tuple(rng.randint(30, 220) for _ in range(3))
        draw.rectangle((middle - step * 0.33, base - height, middle + step * 0.33, base), fill=colour)
        _write(scene, draw, (middle, base - height - font.size * 0.7), str(value), font, ink)
        _write(scene, draw, (middle, base + font.size * 0.8), label, font, ink)
    draw.line((size[0] * 0.03, base, size[0] * 0.97, base), fill=ink)
    scene.facts["values"] = dict(zip(labels, values))
    return scene


def chart_sample(rng: random.Random, held_out: bool):
    scene = chart_scene(rng, held_out)
    values = scene.facts["values"]
    turns = [Turn("chart", fill(rng, wording.BAR, "", row=label), str(value))
             for label, value in values.items()]
    ranked = sorted(values, key=values.get)
    if values[ranked[-1]] > values[ranked[-2]] + 4:
        turns.append(Turn("chart", fill(rng, wording.BAR_MOST, ""), ranked[-1]))
    if values[ranked[0]] < values[ranked[1]] - 4:
        turns.append(Turn("chart", fill(rng, wording.BAR_LEAST, ""), ranked[0]))
    rng.shuffle(turns)
    return [scene], turns
