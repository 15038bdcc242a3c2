"""Training samples: pictures with several turns of questions and answers about them.

Most samples ask each question as if it were the only one: their turns share the picture, and no turn
sees another. Otherwise the model would learn to copy names and boxes from earlier answers, and
only one turn in eight would practise what a first question needs. The rest are conversations.
"""

import random
from dataclasses import dataclass

from . import wording
from .answers import Turn, object_turns
from .geometry import Geometry, token_count
from .scenes import Scene, object_scene
from .several import changed_sample, which_sample
from .tokens import Codec
from .writing import chart_sample, table_sample, text_sample

TEXT_BUDGET = 230  # text tokens of one sample
CONVERSATIONS = 0.15  # share of samples whose turns follow each other


@dataclass
class Sample:
    scenes: list[Scene]
    ids: list[int]
    answer: list[bool]  # True where the token must be predicted
    turn: list[int]  # 0 for what every turn sees, else the turn that the token belongs to
    positions: list[int]


def with_images(rng: random.Random, question: str, count: int) -> str:
    """Puts image placeholders around the first question."""
    return rng.choice(wording.IMAGE_LAYOUTS[count]).format(q=question)


def conversation(codec: Codec, rng: random.Random, scenes: list[Scene], turns: list[Turn],
                 each: int) -> Sample:
    """Returns turns that follow each other; `each` is the number of tokens of a picture."""
    ids, answer, used = [codec.bos], [False], 0
    for turn in turns:
        first = len(ids) == 1
        question = with_images(rng, turn.question, len(scenes)) if first else turn.question
        prompt = codec.user(question, [each] * len(scenes) if first else [])
        reply = codec.encode(turn.answer) + [codec.eos]
        cost = len(prompt) + len(reply) - (each * len(scenes) if first else 0)
        if used and used + cost > TEXT_BUDGET:
            continue
        used += cost
        ids += prompt + reply
        answer += [False] * len(prompt) + [True] * len(reply)
    return Sample(scenes, ids, answer, [0] * len(ids), list(range(len(ids))))


def separate_turns(codec: Codec, rng: random.Random, scenes: list[Scene], turns: list[Turn],
                   each: int) -> Sample:
    """Returns turns that share the pictures and are first questions all of them."""
    layout = rng.choice([form for form in wording.IMAGE_LAYOUTS[len(scenes)]
                         if form.endswith("{q}")])
    ids: list[int] = []
    answer, owner, positions, used = [], [], [], 0
    for turn in turns:
        prompt = [codec.bos] + codec.user(layout.format(q=turn.question), [each] * len(scenes))
        shared = len(prompt) - prompt[::-1].index(codec.image)
        reply = codec.encode(turn.answer) + [codec.eos]
        cost = len(prompt) - shared + len(reply)
        if used and used + cost > TEXT_BUDGET:
            continue
        if not used:
            ids, answer, owner = prompt[:shared], [False] * shared, [0] * shared
            positions = list(range(shared))
        used += cost
        ids += prompt[shared:] + reply
        answer += [False] * (len(prompt) - shared) + [True] * len(reply)
        owner += [owner[-1] + 1] * cost
        positions += range(shared, shared + cost)
    return Sample(scenes, ids, answer, owner, positions)


def object_sample(rng: random.Random, held_out: bool):
    scene = object_scene(rng, held_out)
    return [scene], object_turns(rng, scene, 12)


MAKERS = {"objects": object_sample, "which": which_sample, "changed": changed_sample,
          "text": text_sample, "table": table_sample, "chart": chart_sample}


def draw(rng: random.Random, mix: dict[str, float], codec: Codec, geometry: Geometry,
         held_out: bool = False) -> Sample:
    """Returns one sample of a kind drawn by the weights of `mix`."""
    kind = rng.choices(list(mix), list(mix.values()))[0]
    scenes, turns = MAKERS[kind](rng, held_out)
    encode = conversation if rng.random() < CONVERSATIONS else separate_turns
    return encode(codec, rng, scenes, turns, token_count(geometry, (1, 1)))
