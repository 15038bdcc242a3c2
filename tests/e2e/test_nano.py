"""The model that ships with Tessera gives right answers through the real cluster, in the serving setting (bf16).

models/nano/examples/examples.json holds held-out pictures with right answers and boxes in pixels.
"""
import json

import pytest

from harness.client import image
from harness.cluster import Cluster
from harness.environment import NANO

EXAMPLES = json.loads((NANO / "examples/examples.json").read_text())


@pytest.fixture(scope="module")
def client():
    with Cluster(NANO, compute="bf16") as cluster, cluster.client() as connected:
        yield connected


def overlap(one, other):
    """Intersection over union of (x1, y1, x2, y2)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both) if area > both else 0.0


def phrases(text):
    """The answer without its numbers: what was named, in which words."""
    return "".join(c for c in text if c not in "0123456789")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_example_is_answered_rightly(client, example):
    pictures = [image((NANO / "examples" / name).read_bytes()) for name in example["images"]]
    answer = client.ask(*pictures, example["prompt"], max_tokens=200)
    if not example["boxes"]:
        assert answer.text == example["answer"]
        assert not answer.boxes
        return
    assert phrases(answer.text) == phrases(example["answer"])
    assert len(answer.boxes) == len(example["boxes"])
    for box, (phrase, expected) in zip(answer.boxes, example["boxes"]):
        assert box.valid and box.phrase == phrase
        pixels = (box.pixels.x1, box.pixels.y1, box.pixels.x2, box.pixels.y2)
        assert overlap(pixels, expected) >= 0.5, f"{phrase}: {pixels} against {expected}"


def test_there_are_a_dozen_examples():
    assert len(EXAMPLES) >= 12
