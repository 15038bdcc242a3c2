"""Golden results of the reference implementation (tests/fixtures/golden/README.md)."""
import dataclasses
import json

from harness.client import ASSISTANT, USER, image, message
from harness.environment import GOLDEN, IMAGES, MODELS


@dataclasses.dataclass
class Case:
    model: str
    name: str
    data: dict

    @property
    def model_dir(self):
        return MODELS / self.model

    @property
    def turns(self):
        """The conversation without the empty assistant turn that asks for the answer."""
        turns = self.data["conversation"]
        return turns[:-1] if turns[-1]["content"] == "" else turns

    @property
    def messages(self):
        roles = {"<|User|>": USER, "<|Assistant|>": ASSISTANT}
        return [message(roles[turn["role"]], *(image((IMAGES / name).read_bytes()) for name in turn.get("images", [])), turn["content"])
                for turn in self.turns]

    @property
    def picture_names(self):
        return [name for turn in self.turns for name in turn.get("images", [])]

    @property
    def available(self):
        return all((IMAGES / name).exists() for name in self.picture_names)

    @property
    def greedy(self):
        return self.data["greedy_tokens_no_stop"]

    @property
    def until_eos(self):
        return self.data["generated_until_eos"]

    @property
    def prompt_tokens(self):
        return sum(repeat for _, repeat in self.data["input_ids_rle"])

    @property
    def image_tokens(self):
        return sum(length for _, length in self.data["images_seq_mask_runs"])


def model_names():
    return sorted(folder.name for folder in MODELS.iterdir() if (folder / "config.json").exists())


def case(model, name):
    return Case(model, name, json.loads((MODELS / model / "golden" / f"{name}.json").read_text()))


def cases(model):
    """The cases whose pictures are here."""
    found = (case(model, file.stem) for file in sorted((MODELS / model / "golden").glob("*.json")))
    return [each for each in found if each.available]
