"""Writes a trained model in the official layout, bf16, file by file and atomically."""

import argparse
import json
import os
import tempfile

import torch

from nano import checkpoint, tokens
from nano.config import MODEL, PROCESSOR, TOKENIZER
from nano.model import VisionLanguageModel


def write(model: VisionLanguageModel, codec: tokens.Codec, folder: str) -> None:
    """Writes everything beside `folder` first, then renames each file into place."""
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(folder))) as fresh:
        checkpoint.save(model, fresh)
        tokens.write(fresh, codec.tokenizer, TOKENIZER)
        with open(os.path.join(fresh, "processor_config.json"), "w") as file:
            json.dump(PROCESSOR, file, indent=2, ensure_ascii=False)
        for name in sorted(os.listdir(fresh)):
            os.replace(os.path.join(fresh, name), os.path.join(folder, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", help="state.pt of train.py")
    parser.add_argument("folder", help="where the model goes")
    args = parser.parse_args()
    codec = tokens.Codec(tokens.build())
    model = VisionLanguageModel(MODEL)
    checkpoint.share_numbers(model, codec.number_tokens())
    state = torch.load(args.state)["modules"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()
                           if key.startswith("model.")})
    write(model, codec, args.folder)


if __name__ == "__main__":
    main()
