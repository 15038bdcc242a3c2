"""Two and three pictures: which one has it, what is in one of them, what changed."""

import random

from . import wording
from .answers import Turn, fill, listing
from .classes import COLOURED, KINDS_OF, NAMES, with_article
from .scenes import (Scene, any_kind, background, draw_at, glyph, object_scene, place, random_size)


def _distinct(rng: random.Random, count: int, held_out: bool) -> list[Scene]:
    """Returns scenes of one to three objects each; no name appears twice."""
    names = rng.sample(NAMES, count * 3)
    scenes = []
    for index in range(count):
        chosen = names[index * 3:index * 3 + rng.choice([1, 1, 2, 2, 3])]
        scenes.append(object_scene(rng, held_out, kinds=[any_kind(rng, n) for n in chosen]))
    return scenes


def which_turns(rng: random.Random, scenes: list[Scene]) -> list[Turn]:
    turns = []
    for index, scene in enumerate(scenes):
        ordinal = wording.ORDINALS[index]
        for name in {thing.name for thing in scene.things}:
            question = fill(rng, wording.WHICH_PICTURE, name)
            turns.append(Turn("which", question, f"The {ordinal} picture."))
        question = fill(rng, wording.IN_PICTURE, "", ordinal=ordinal, number=index + 1)
        turns.append(Turn("inside", question, listing(scene)))
    rng.shuffle(turns)
    return turns


def which_sample(rng: random.Random, held_out: bool):
    scenes = _distinct(rng, rng.choice([2, 2, 3]), held_out)
    return scenes, which_turns(rng, scenes)


def _repeat(scene: Scene, ground, without=None) -> Scene:
    copy = Scene(ground.copy())
    for thing in scene.things:
        if thing is not without:
            draw_at(copy, thing.kind, thing.picture, int(thing.box[0]), int(thing.box[1]))
    return copy


def _swap(rng: random.Random, scene: Scene, ground, old, kind) -> Scene:
    """Returns the scene with `old` replaced by another kind at the same spot."""
    second = _repeat(scene, ground, without=old)
    side = int(min(old.box[2] - old.box[0], old.box[3] - old.box[1]))
    picture = glyph(rng, kind, max(side, 12))
    left, top = int(old.centre[0] - picture.width / 2), int(old.centre[1] - picture.height / 2)
    draw_at(second, kind, picture, max(0, left), max(0, top))
    return second


def changed_sample(rng: random.Random, held_out: bool):
    """Returns two pictures that differ in one object, and what changed."""
    size = random_size(rng)
    ground = background(rng, size, held_out)
    first = Scene(ground.copy())
    names = rng.sample(NAMES, 5)
    for name in names[:rng.randint(2, 4)]:
        place(rng, first, any_kind(rng, name), round(rng.uniform(0.16, 0.36) * min(size)))
    fresh = any_kind(rng, names[4])
    old = rng.choice(first.things)
    ways = ["added", "removed", "replaced"] + ["colour"] * (2 if old.name in COLOURED else 0)
    way = rng.choice(ways)
    if way == "added":
        second = _repeat(first, ground)
        place(rng, second, fresh, round(rng.uniform(0.16, 0.36) * min(size)))
        text = with_article(fresh.name) + (" were added." if fresh.name == "grapes" else " was added.")
        if len(second.things) == len(first.things):
            return changed_sample(rng, held_out)
    elif way == "removed":
        second = _repeat(first, ground, without=old)
        text = f"the {old.name} " + ("are gone." if old.name == "grapes" else "is gone.")
    elif way == "replaced":
        second = _swap(rng, first, ground, old, fresh)
        text = f"the {old.name} was replaced by {with_article(fresh.name)}."
    else:
        kind = rng.choice([k for k in KINDS_OF[old.name] if k != old.kind])
        second = _swap(rng, first, ground, old, kind)
        text = f"the {old.name} changed from {old.kind.colour} to {kind.colour}."
    turns = [Turn("changed", fill(rng, wording.CHANGED, ""), text[0].upper() + text[1:])]
    turns += [Turn("inside", fill(rng, wording.IN_PICTURE, "", ordinal=wording.ORDINALS[i],
                                  number=i + 1), listing(scene))
              for i, scene in enumerate((first, second)) if scene.things]
    return [first, second], turns
