"""The tokenizer (byte-level BPE of the V3 family) and the conversation format."""

import json
import os

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from . import wording
from .classes import COLOURS, KINDS, with_article

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
AFTER_VOCABULARY = ["<image>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>",
                    "<|User|>", "<|Assistant|>"]
_SPLITS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
LEARNED = 1400


def _pre_tokenizer():
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _SPLITS]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True,
                                               use_regex=False))
    return pre_tokenizers.Sequence(steps)


def _form_texts() -> list[str]:
    texts: list[str] = []
    for name, value in vars(wording).items():
        if not name.isupper():
            continue
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            texts += [item for item in value if isinstance(item, str)]
        elif isinstance(value, dict):
            texts += [item for part in value.values() for item in part]
    return texts


def corpus() -> list[str]:
    """Returns the wording of all questions and answers, names and colours included."""
    texts = _form_texts() * 3
    for kind in KINDS:
        for word in (kind.name, kind.plural, kind.name.capitalize(), kind.plural.capitalize()):
            texts += [word, " " + word] * 6
        texts += [with_article(kind.name), with_article(kind.name).capitalize()] * 2
    for colour in COLOURS:
        texts += [colour, " " + colour, colour.capitalize()] * 6
    for word in wording.EXTRA_WORDS.split() + wording.NUMBER_WORDS + wording.LABELS:
        texts += [word, " " + word, word.capitalize(), " " + word.capitalize()] * 2
    texts += [label for label in wording.LABELS for _ in range(2)]
    texts += ["[[1, 2, 3, 4], [5, 6, 7, 8]]", "?\n\n", ".\n\n", ": ", "Yes.", "No."] * 20
    texts += [form.replace("?", "?\n\n").replace(".", ".\n\n") for form in _form_texts()]
    return ["".join(c for c in text if not c.isdigit() or c in "1234") for text in texts]


def build() -> Tokenizer:
    """Trains the words and adds merges that make every run of two or three digits one token."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + LEARNED, show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(corpus(), trainer)
    state = json.loads(trained.to_str())["model"]
    digits = "0123456789"
    pairs = [a + b for a in digits for b in digits]
    merges = [(pair[0], pair[1]) for pair in pairs]
    tokens_of_digits = [a + b for a, b in merges] + [pair + d for pair in pairs for d in digits]
    # Either two of three digits may be joined first, so both ways must lead to the whole.
    merges += [(pair, last) for pair in pairs for last in digits]
    merges += [(first, pair) for pair in pairs for first in digits]
    order = sorted(state["vocab"], key=state["vocab"].get)
    tokens = [BOS, EOS, PAD] + order + tokens_of_digits
    merges += [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    result = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    result.pre_tokenizer = _pre_tokenizer()
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([BOS, EOS, PAD] + AFTER_VOCABULARY)
    return result


class Codec:
    """Encodes conversations as the official processor does."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        ids = {text: tokenizer.token_to_id(text) for text in [BOS, EOS, PAD] + AFTER_VOCABULARY}
        self.bos, self.eos, self.image = ids[BOS], ids[EOS], ids["<image>"]
        self.cache: dict[str, list[int]] = {}

    @classmethod
    def load(cls, folder: str) -> "Codec":
        return cls(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode([i for i in ids if i != self.eos], skip_special_tokens=False)

    def user(self, text: str, image_tokens: list[int]) -> list[int]:
        """Encodes a user turn; image_tokens gives the length of each image still to be placed."""
        text = text.strip()
        formatted = f"<|User|>: {text}\n\n<|Assistant|>:" if text else "<|User|>:"
        pieces = formatted.split("<image>")
        ids = self.encode(pieces[0])
        for piece, count in zip(pieces[1:], image_tokens, strict=True):
            ids += [self.image] * count + self.encode(piece)
        return ids

    def number_tokens(self) -> dict[str, int]:
        """Returns all tokens that are one to three digits."""
        return {text: index for text, index in self.tokenizer.get_vocab().items()
                if text.isascii() and text.isdigit()}


def write(folder: str, tokenizer: Tokenizer, template: dict) -> None:
    """Writes the tokenizer in the official layout; `template` holds the fixed config keys."""
    state = json.loads(tokenizer.to_str())
    state["normalizer"] = {"type": "Sequence", "normalizers": []}
    state["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                        "use_regex": True}
    state["post_processor"] = {
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {}}
    state["model"].pop("ignore_merges", None)
    state["model"]["merges"] = [m if isinstance(m, str) else " ".join(m)
                                for m in state["model"]["merges"]]
    with open(os.path.join(folder, "tokenizer.json"), "w") as file:
        json.dump(state, file, ensure_ascii=True, separators=(",", ":"))
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {str(t["id"]): {"content": t["content"], **plain, "special": True}
             for t in state["added_tokens"]}
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({**template, "added_tokens_decoder": added, "bos_token": BOS, "eos_token": EOS,
                   "pad_token": PAD}, file, indent=2, ensure_ascii=False)
    special = {key: {"content": text, **plain} for key, text in
               (("bos_token", BOS), ("eos_token", EOS), ("pad_token", PAD))}
    special["additional_special_tokens"] = [{"content": text, **plain}
                                            for text in ("<|User|>", "<|Assistant|>")]
    with open(os.path.join(folder, "special_tokens_map.json"), "w") as file:
        json.dump(special, file, indent=2, ensure_ascii=False)
