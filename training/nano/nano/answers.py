"""Questions with exact answers about scenes of objects."""

import random
from dataclasses import dataclass, field

from . import wording
from .classes import COLOURED, NAMES, PLURAL, with_article
from .scenes import Scene, Thing


@dataclass
class Turn:
    """One question and its answer; `skill` is the row of the result table that it counts for."""

    skill: str
    question: str
    answer: str
    boxes: list = field(default_factory=list)


def scaled(thing: Thing, scene: Scene) -> list[int]:
    """Returns the box in 0..999 of the original picture."""
    width, height = scene.image.size
    sizes = (width, height, width, height)
    return [max(0, min(999, round(v / s * 999))) for v, s in zip(thing.box, sizes)]


def det(boxes: list[list[int]]) -> str:
    return "<|det|>[" + ", ".join(str(box) for box in boxes) + "]<|/det|>"


def in_order(things: list[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: (thing.box[0], thing.box[1]))


def fill(rng: random.Random, forms: list[str], name: str, plural: str | None = None, **more) -> str:
    opener = rng.choice(wording.OPENERS)
    form = rng.choice(forms)
    if "<|ref|>" in form and form.startswith("<"):
        opener = ""
    article = with_article(name) if name in PLURAL else (
        ("an " if name[:1] in "aeiou" else "a ") + name)
    return opener + form.format(n=name, p=plural or PLURAL.get(name, name), a=article, **more)


def where(rng: random.Random, scene: Scene, name: str, colour: str | None = None) -> Turn:
    """Asks for every object of a name, now and then only those of a colour."""
    found = in_order([t for t in scene.things if t.name == name
                      and (colour is None or t.kind.colour == colour)])
    words = [f"{colour} {word}" if colour else word for word in (name, PLURAL[name])]
    many = rng.random() < (0.35 if len(found) != 1 else 0.1)
    forms = wording.WHERE_ALL if many else wording.WHERE
    question = fill(rng, forms, words[0], words[1])
    if not found:
        text = wording.ABSENT_ALL if many else wording.ABSENT
        return Turn("absent", question, text.format(n=words[0], p=words[1]))
    boxes = [scaled(thing, scene) for thing in found]
    label = words[1] if many else words[0]
    return Turn("grounding", question, f"<|ref|>{label}<|/ref|>{det(boxes)}", boxes)


def _names(scene: Scene) -> list[str]:
    names: list[str] = []
    for thing in in_order(scene.things):
        if thing.name not in names:
            names.append(thing.name)
    return names


def grounded(rng: random.Random, scene: Scene) -> Turn:
    parts, every = [], []
    for name in _names(scene):
        boxes = [scaled(t, scene) for t in in_order(scene.things) if t.name == name]
        parts.append(f"<|ref|>{name}<|/ref|>{det(boxes)}")
        every += [(name, box) for box in boxes]
    return Turn("description", fill(rng, wording.GROUNDED, ""), ", ".join(parts), every)


def listing(scene: Scene) -> str:
    """Returns "A car, two dogs and an apple." from left to right."""
    words = []
    for name in _names(scene):
        count = sum(thing.name == name for thing in scene.things)
        words.append(with_article(name) if count == 1
                     else f"{wording.NUMBER_WORDS[count]} {PLURAL[name]}")
    text = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    return text[0].upper() + text[1:] + "."


def naming(rng: random.Random, scene: Scene) -> Turn:
    forms = wording.NAMING_ONE if len(scene.things) == 1 and rng.random() < 0.5 else wording.NAMING
    return Turn("naming", fill(rng, forms, ""), listing(scene))


def counting(rng: random.Random, scene: Scene) -> Turn:
    if rng.random() < 0.2:
        return Turn("counting", fill(rng, wording.COUNT_ALL, ""), str(len(scene.things)))
    names = _names(scene)
    often = [n for n in names if sum(t.name == n for t in scene.things) > 1]
    name = rng.choice(often if often and rng.random() < 0.6 else names)
    if rng.random() < 0.12:
        name = absent_name(rng, scene)
    count = sum(thing.name == name for thing in scene.things)
    return Turn("counting", fill(rng, wording.COUNT, name), str(count))


def absent_name(rng: random.Random, scene: Scene) -> str:
    present = set(_names(scene))
    return rng.choice([name for name in NAMES if name not in present])


def presence(rng: random.Random, scene: Scene) -> Turn:
    there = rng.random() < 0.5
    name = rng.choice(_names(scene)) if there else absent_name(rng, scene)
    return Turn("presence", fill(rng, wording.PRESENT, name), "Yes." if there else "No.")


def colour(rng: random.Random, scene: Scene) -> Turn | None:
    single = [t for t in scene.things
              if t.kind.colour and sum(o.name == t.name for o in scene.things) == 1]
    if not single:
        return None
    shown = [t for t in single if t.name in COLOURED]
    thing = rng.choice(shown if shown and rng.random() < 0.8 else single)
    return Turn("colour", fill(rng, wording.COLOUR, thing.name), thing.kind.colour.capitalize() + ".")


def _side(first: Thing, second: Thing, scene: Scene, axis: int) -> str | None:
    gap = first.centre[axis] - second.centre[axis]
    if abs(gap) < 0.12 * max(scene.image.size):
        return None
    return (("left", "right"), ("above", "below"))[axis][gap > 0]


def relation(rng: random.Random, scene: Scene) -> Turn | None:
    once = [t for t in scene.things if sum(o.name == t.name for o in scene.things) == 1]
    if len(once) < 2:
        return None
    first, second = rng.sample(once, 2)
    axis = rng.randrange(2)
    side = _side(first, second, scene, axis)
    if side is None:
        return None
    if rng.random() < 0.3:
        forms = (wording.CHOICE_ACROSS, wording.CHOICE_DOWN)[axis]
        question = fill(rng, forms, first.name, other=second.name)
        return Turn("relation", question, side.capitalize() + ".")
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}
    yes = rng.random() < 0.5
    asked = rng.choice(wording.SIDES[side if yes else opposite[side]])
    question = fill(rng, wording.RELATION, first.name, other=second.name, side=asked)
    return Turn("relation", question, "Yes." if yes else "No.")


def furthest(rng: random.Random, scene: Scene) -> Turn | None:
    if len(scene.things) < 2:
        return None
    side = rng.choice(list(wording.FURTHEST))
    axis, sign = (0, 1) if side in ("left", "right") else (1, 1)
    sign = 1 if side in ("left", "above") else -1
    ranked = sorted(scene.things, key=lambda thing: sign * thing.centre[axis])
    gap = abs(ranked[0].centre[axis] - ranked[1].centre[axis])
    if gap < 0.1 * max(scene.image.size):
        return None
    return Turn("relation", fill(rng, wording.FURTHEST[side], ""), f"The {ranked[0].name}.")


def object_turns(rng: random.Random, scene: Scene, count: int) -> list[Turn]:
    """Returns `count` turns in random order, weighted towards finding things."""
    names = _names(scene)
    turns: list[Turn | None] = [where(rng, scene, name)
                                for name in rng.sample(names, min(2, len(names)))]
    turns += [where(rng, scene, absent_name(rng, scene)), grounded(rng, scene), naming(rng, scene)]
    tinted = [t for t in scene.things if t.name in COLOURED]
    extra = [counting, presence, colour, relation, relation, furthest, counting, colour]
    rng.shuffle(extra)
    turns += [make(rng, scene) for make in extra]
    if tinted and rng.random() < 0.5:
        thing = rng.choice(tinted)
        turns[0] = where(rng, scene, thing.name, thing.kind.colour)
    kept = [turn for turn in turns if turn is not None][:count]
    rng.shuffle(kept)
    return kept
