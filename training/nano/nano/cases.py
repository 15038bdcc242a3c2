"""Evaluation cases: held-out backgrounds, fonts and seeds; one question each."""

import random

from . import samples
from .answers import Turn
from .scenes import Scene

HELD_OUT_SEED = 900_000_000
KIND_OF_SKILL = {
    "grounding": "objects", "absent": "objects", "description": "objects", "naming": "objects",
    "counting": "objects", "colour": "objects", "relation": "objects", "presence": "objects",
    "which": "which", "inside": "which", "changed": "changed",
    "reading": "text", "table": "table", "chart": "chart",
}


def draw(skill: str, count: int, held_out: bool = True) -> list[tuple[list[Scene], Turn, str]]:
    """Returns (pictures, turn, question with image placeholders) for a skill."""
    rng = random.Random(f"{skill}-{HELD_OUT_SEED}")
    found = []
    while len(found) < count:
        scenes, turns = samples.MAKERS[KIND_OF_SKILL[skill]](rng, held_out)
        wanted = [turn for turn in turns if turn.skill == skill]
        if wanted:
            turn = rng.choice(wanted)
            found.append((scenes, turn, samples.with_images(rng, turn.question, len(scenes))))
    return found
