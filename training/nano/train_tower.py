"""Stage 1: trains the vision tower alone on dense labels."""

import argparse
import math
import os
import time

import torch

from nano import optim
from nano.batches import DenseStream, loader, to_float
from nano.config import GEOMETRY, VISION
from nano.teacher import DenseHead
from nano.vision import VisionTower


def learning_rate(share: float, peak: float) -> float:
    warm = min(1.0, share / 0.03)
    return peak * warm * (0.15 + 0.85 * 0.5 * (1 + math.cos(math.pi * share)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/nano")
    parser.add_argument("--init", help="an earlier tower.pt to go on from")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    tower, head = VisionTower(**VISION), DenseHead(VISION["width"])
    modules = torch.nn.ModuleDict({"vision": tower, "dense_head": head})
    optimizers = optim.build(modules.named_parameters(), args.lr)
    if args.init:
        modules.load_state_dict(torch.load(args.init))
    start, step = time.time(), 0
    for batch in loader(DenseStream(args.seed, args.batch, GEOMETRY)):
        share = (time.time() - start) / (args.minutes * 60)
        if share >= 1:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(share, args.lr)
        pixels, *labels = batch
        loss, figures = head(tower(to_float(pixels)), *labels)
        modules.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        if step % 25 == 0:
            text = " ".join(f"{key} {value:.3f}" for key, value in figures.items())
            rate = step * args.batch / (time.time() - start)
            print(f"{time.time() - start:.0f}s step {step} {rate:.1f}/s loss {loss:.3f} {text}",
                  flush=True)
        if step % 200 == 0:
            torch.save(modules.state_dict(), os.path.join(args.out, "tower.pt"))
    torch.save(modules.state_dict(), os.path.join(args.out, "tower.pt"))


if __name__ == "__main__":
    main()
