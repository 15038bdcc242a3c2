"""Training samples: pictures with several turns of questions and answers about them."""

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


@dataclass
class Sample:
    scenes: list[Scene]
    ids: list[int]
    answer: list[bool]  # True where the token must be predicted


def with_images(rng: random.Random, question: str, count: int) -> str:
    """Puts image placeholders around the first question."""
    return rng.choice(wording.IMAGE_LAYOUTS[count]).format(q=question)


def encode(codec: Codec, rng: random.Random, scenes: list[Scene], turns: list[Turn],
           geometry: Geometry) -> Sample:
    each = token_count(geometry, (1, 1))
    ids, answer, used = [codec.bos], [False], 0
    first = True
    for turn in turns:
        question = with_images(rng, turn.question, len(scenes)) if first else turn.question
        prompt = codec.user(question, [each] * len(scenes) if first else [])
        reply = codec.encode(turn.answer) + [codec.eos]
        cost = len(prompt) + len(reply) - (each * len(scenes) if first else 0)
        if used and used + cost > TEXT_BUDGET:
            continue
        used += cost
        first = False
        ids += prompt + reply
        answer += [False] * len(prompt) + [True] * len(reply)
    return Sample(scenes, ids, answer)


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
    return encode(codec, rng, scenes, turns, geometry)
