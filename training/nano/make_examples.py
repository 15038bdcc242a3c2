"""Writes example pictures that the model answers rightly: PNG files and examples.json."""

import argparse
import json
import os
import random

import torch

from check_golden import read_geometry
from nano import answering, cases, checkpoint, judge, tokens
from nano.answers import Turn, scaled
from nano.classes import KINDS_OF
from nano.scenes import Scene, object_scene

WANTED = {"grounding": 4, "description": 2, "absent": 2, "naming": 2, "counting": 2, "colour": 1,
          "relation": 1, "presence": 1, "which": 1, "changed": 1, "reading": 1, "table": 1, "chart": 1}


def pixel_boxes(text: str, size: tuple[int, int]) -> list:
    """Returns [label, [x1, y1, x2, y2]] in pixels, by the official rule."""
    width, height = size
    return [[label, [int(v / 999 * s) for v, s in zip(box, (width, height) * 2)]]
            for label, box in judge.parse(text)]


def save(folder: str, name: str, scenes: list[Scene], question: str, turn: Turn) -> dict:
    files = []
    for index, scene in enumerate(scenes):
        file = f"{name}.png" if len(scenes) == 1 else f"{name}_{index + 1}.png"
        scene.image.save(os.path.join(folder, file), optimize=True)
        files.append(file)
    return {"name": name, "skill": turn.skill, "images": files, "prompt": question,
            "answer": turn.answer, "boxes": pixel_boxes(turn.answer, scenes[0].image.size)}


def right_answers(model, codec, geometry, skill: str, count: int, tries: int):
    """Yields (scenes, question, turn) whose answers are right, the answer as the model gave it."""
    drawn = [case for case in cases.draw(skill, tries)
             if all(max(s.image.size) <= 480 for s in case[0])]
    asked = [([s.image for s in scenes], question) for scenes, _, question in drawn]
    answers = answering.ask(model, codec, geometry, asked)
    for (scenes, turn, question), answer in zip(drawn, answers):
        if count and judge.score(turn, answer) == 1.0:
            count -= 1
            yield scenes, question, Turn(turn.skill, question, answer)


def readme_picture(model, codec, geometry, tries: int = 60):
    """Returns a 640x480 held-out scene of four objects on which every question comes out right."""
    rng = random.Random(640480)
    for _ in range(tries):
        kinds = [KINDS_OF[name][0] for name in rng.sample(sorted(KINDS_OF), 3)]
        scene = object_scene(rng, True, (640, 480), [KINDS_OF["giraffe"][0], *kinds])
        if len(scene.things) < 4:
            continue
        question = "<image>\nWhere is the <|ref|>giraffe<|/ref|>?"
        answer = answering.ask(model, codec, geometry, [([scene.image], question)])[0]
        boxes = [scaled(t, scene) for t in scene.things if t.name == "giraffe"]
        found = judge.parse(answer)
        if len(found) == len(boxes) == 1 and judge.overlap(found[0][1], boxes[0]) > 0.75:
            return scene, question, Turn("grounding", question, answer)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tries", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model, codec = checkpoint.load(args.model), tokens.Codec.load(args.model)
    geometry = read_geometry(args.model, model.config)
    folder = os.path.join(args.model, "examples")
    os.makedirs(folder, exist_ok=True)
    found = []
    shown = readme_picture(model, codec, geometry)
    if shown:
        found.append(save(folder, "readme", [shown[0]], shown[1], shown[2]))
    for skill, count in WANTED.items():
        for number, (scenes, question, turn) in enumerate(
                right_answers(model, codec, geometry, skill, count, args.tries)):
            found.append(save(folder, f"{skill}_{number + 1}", scenes, question, turn))
    with open(os.path.join(folder, "examples.json"), "w") as file:
        json.dump(found, file, indent=2)
    print(f"{len(found)} examples: " + ", ".join(entry["name"] for entry in found))


if __name__ == "__main__":
    main()
