"""Stage 2: trains tower, projector and language model together on questions and answers.

Starts from the tower of stage 1 (--tower), from an exported model (--init) or from its own last
state (--resume).
"""

import argparse
import json
import math
import os
import time

import torch

import export
from nano import checkpoint, optim, tokens
from nano.batches import Stream, loader, to_float
from nano.config import GEOMETRY, MODEL, VISION, WIDTH
from nano.losses import AnswerLoss
from nano.model import VisionLanguageModel
from nano.teacher import CellHead, DenseHead

BALANCE = 0.01  # weight of the loss that keeps all experts in use


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/nano")
    parser.add_argument("--tower", help="tower.pt of stage 1")
    parser.add_argument("--init", help="folder of an exported model")
    parser.add_argument("--warm", help="state.pt whose weights, not its progress, are taken over")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--minutes", type=float, default=90,
                        help="length of the whole schedule, resumed parts included")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--tower-rate", type=float, default=0.3, help="times --lr, for the tower")
    parser.add_argument("--final", type=float, default=0.05, help="last rate as a share of --lr")
    parser.add_argument("--mix", default="objects=1", help="sample kinds, as a=1,b=2")
    parser.add_argument("--dense", type=float, default=0.5, help="weight of the dense labels")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export-minutes", type=float, default=10)
    return parser.parse_args()


def load_codec(args) -> tokens.Codec:
    """Takes the tokenizer of the model that is continued; token ids must not move."""
    exported = os.path.join(args.out, "export")
    if args.resume and os.path.exists(exported):
        return tokens.Codec.load(exported)
    return tokens.Codec.load(args.init) if args.init else tokens.Codec(tokens.build())


def start_modules(args, codec) -> torch.nn.ModuleDict:
    model = VisionLanguageModel(MODEL)
    head = DenseHead(VISION["width"])
    if args.init:
        model = checkpoint.load(args.init)
        aux = os.path.join(args.out, "dense_head.pt")
        if os.path.exists(aux):
            head.load_state_dict(torch.load(aux))
    checkpoint.share_numbers(model, codec.number_tokens())
    modules = torch.nn.ModuleDict(
        {"model": model, "dense_head": head, "cell_head": CellHead(WIDTH, codec)})
    if args.warm:
        modules.load_state_dict(torch.load(args.warm)["modules"], strict=False)
    if args.tower:
        state = torch.load(args.tower)
        model.vision.load_state_dict({k.removeprefix("vision."): v for k, v in state.items()
                                      if k.startswith("vision.")})
        head.load_state_dict({k.removeprefix("dense_head."): v for k, v in state.items()
                              if k.startswith("dense_head.")})
    return modules.train()


def batch_loss(modules, batch, answer_loss, dense_weight: float):
    model = modules["model"]
    tower = model.vision(to_float(batch["pixels"]))
    dense, figures = modules["dense_head"](tower, *batch["labels"])
    features = model.square_features(tower).flatten(0, 1)
    ids = batch["ids"]
    hidden = model.language(model.merge(ids, batch["mask"], features), batch["positions"],
                            mask=batch["visible"])
    predicted = batch["answer"][:, 1:]
    logits = model.language.logits(hidden[:, :-1][predicted])
    coordinate = answer_loss.coordinates(ids)[:, 1:][predicted]
    answer, more = answer_loss(logits, ids[:, 1:][predicted], coordinate)
    seen = hidden[batch["mask"]].view(len(tower), -1, hidden.shape[-1])
    cells, cell_figures = modules["cell_head"](features.view_as(seen), seen, model.language,
                                               batch["labels"][0], batch["labels"][3])
    loss = answer + dense_weight * (dense + cells) + BALANCE * model.language.balance_loss()
    return loss, {**more, **cell_figures, "kind": figures["kind"], "patch_right": figures["patch_right"]}


def rate_at(share: float, peak: float, final: float) -> float:
    warm = min(1.0, share / 0.02)
    return peak * warm * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))


def save_state(path: str, modules, optimizers, step: int, seconds: float) -> None:
    torch.save({"modules": modules.state_dict(), "step": step, "seconds": seconds,
                "optimizers": [o.state_dict() for o in optimizers]}, path + ".tmp")
    os.replace(path + ".tmp", path)


class Log:
    """Averages figures over 25 steps and appends them to log.jsonl."""

    def __init__(self, folder: str):
        self.path, self.sums, self.count = os.path.join(folder, "log.jsonl"), {}, 0

    def add(self, step: int, seconds: float, figures: dict, extra: dict) -> None:
        self.count += 1
        for key, value in figures.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        if self.count < 25:
            return
        line = {"step": step, "seconds": round(seconds), **extra,
                **{key: round(value / self.count, 4) for key, value in self.sums.items()}}
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        self.sums, self.count = {}, 0


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    codec = load_codec(args)
    modules = start_modules(args, codec)
    optimizers = optim.build(modules.named_parameters(), args.lr, args.tower_rate)
    state_path = os.path.join(args.out, "state.pt")
    step, before = 0, 0.0
    if args.resume and os.path.exists(state_path):
        state = torch.load(state_path)
        modules.load_state_dict(state["modules"])
        step, before = state["step"], state["seconds"]
        for optimizer, values in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(values)
    mix = {part.split("=")[0]: float(part.split("=")[1]) for part in args.mix.split(",")}
    answer_loss = AnswerLoss(codec, modules["model"].language.config.vocab_size)
    log, start, exported = Log(args.out), time.time(), time.time()
    if not args.resume:
        export.write(modules["model"], codec, os.path.join(args.out, "export"))
    for batch in loader(Stream(args.seed + step, args.batch, mix, codec, GEOMETRY)):
        share = (before + time.time() - start) / (args.minutes * 60)
        rate = rate_at(min(share, 1), args.lr, args.final)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
        loss, figures = batch_loss(modules, batch, answer_loss, args.dense)
        modules.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 2.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        seconds = before + time.time() - start
        log.add(step, seconds, {"loss": loss.item(), **figures},
                {"lr": round(rate, 6), "length": batch["ids"].shape[1]})
        if time.time() - exported > args.export_minutes * 60 or share >= 1:
            save_state(state_path, modules, optimizers, step, seconds)
            export.write(modules["model"], codec, os.path.join(args.out, "export"))
            exported = time.time()
        if share >= 1:
            break


if __name__ == "__main__":
    main()
