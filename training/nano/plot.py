"""Draws the learning curves of a run from its log.jsonl."""

import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

CURVES = {"right": "words right (not coordinates)", "near": "coordinates within 20 of 999",
          "patch_right": "patches right (dense labels)", "cell_right": "image tokens right"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("picture")
    args = parser.parse_args()
    with open(args.log) as file:
        lines = [json.loads(line) for line in file]
    figure, axes = plt.subplots(figsize=(7, 4))
    for key, label in CURVES.items():
        points = [(line["step"], line[key]) for line in lines if key in line]
        if points:
            axes.plot(*zip(*points), label=label)
    axes.set_xlabel("step")
    axes.set_ylim(0, 1)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
