"""Measures each skill on held-out cases; finished skills are kept, so a second call resumes."""

import argparse
import json
import os

import torch

from check_golden import read_geometry
from nano import answering, cases, checkpoint, judge, tokens


def measure(model, codec, geometry, skill: str, count: int, show: int) -> float:
    drawn = cases.draw(skill, count)
    asked = [([scene.image for scene in scenes], question) for scenes, _, question in drawn]
    answers = answering.ask(model, codec, geometry, asked)
    scores = [judge.score(turn, answer) for (_, turn, _), answer in zip(drawn, answers)]
    for (_, turn, question), answer, value in list(zip(drawn, answers, scores))[:show]:
        print(f"  [{value:.2f}] {question!r}\n    want {turn.answer}\n    got  {answer}")
    return sum(scores) / len(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--skills", default=",".join(cases.KIND_OF_SKILL))
    parser.add_argument("--results", help="JSON file to keep results in and to resume from")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, codec = checkpoint.load(args.model), tokens.Codec.load(args.model)
    geometry = read_geometry(args.model, model.config)
    results = {}
    if args.results and os.path.exists(args.results):
        with open(args.results) as file:
            results = json.load(file)
    for skill in args.skills.split(","):
        if results.get(skill, {}).get("cases") == args.cases:
            continue
        value = measure(model, codec, geometry, skill, args.cases, args.show)
        results[skill] = {"cases": args.cases, "score": round(value, 4)}
        print(f"{skill:12} {100 * value:5.1f} %", flush=True)
        if args.results:
            with open(args.results, "w") as file:
                json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
