"""Judges an answer against the truth."""

import re

from .answers import Turn

PAIR = re.compile(r"<\|ref\|>(.*?)<\|/ref\|><\|det\|>\[(.*?)\]<\|/det\|>")
FOUR = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")


def parse(text: str) -> list[tuple[str, list[int]]]:
    """Returns (label, box) pairs of a grounded answer."""
    return [(label, [int(v) for v in numbers])
            for label, boxes in PAIR.findall(text) for numbers in FOUR.findall(boxes)]


def overlap(a: list[int], b: list[int]) -> float:
    """Returns intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (areas - both)


def matches(found: list, truth: list, same_label: bool) -> int:
    """Counts true boxes that have their own found box with IoU >= 0.5."""
    left, hits = list(found), 0
    for label, box in truth:
        for candidate in left:
            if (not same_label or candidate[0] == label) and overlap(candidate[1], box) >= 0.5:
                left.remove(candidate)
                hits += 1
                break
    return hits


def score(turn: Turn, answer: str) -> float:
    """Returns 1 or 0; for a description the F1 of its (name, box) pairs."""
    if turn.skill == "grounding":
        found, truth = parse(answer), parse(turn.answer)
        good = len(found) == len(truth) == matches(found, truth, same_label=True)
        return float(good)
    if turn.skill == "description":
        found, truth = parse(answer), parse(turn.answer)
        hits = matches(found, truth, same_label=True)
        return 2 * hits / max(1, len(found) + len(truth))
    if turn.skill == "absent":
        return float("<|det|>" not in answer and answer.startswith("There "))
    return float(answer.strip().lower() == turn.answer.lower())
