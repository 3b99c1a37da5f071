"""The demo encoder's own byte-pair tokenizer, in CLIP's form: lower case, end-of-word suffix, two special tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
TOKENS = 48  # longest text, start and end included
_SUFFIX = "</w>"


def train_tokenizer(texts: Iterable[str], merges: int, folder: Path) -> CLIPTokenizerFast:
    """Learn at most `merges` merges from `texts` and return the tokenizer; writes `vocab.json` and `merges.txt`.

    Every byte is in the vocabulary, inside and at the end of a word, so no text has an unknown token: CLIP's unknown
    token is its end token, at which the text tower would stop reading.
    """
    rules = _learn_merges(texts, merges)
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(letter + _SUFFIX for letter in alphabet), *(a + b for a, b in rules), BOS, EOS]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in rules)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = [str(folder / name) for name in ("vocab.json", "merges.txt")]
    return CLIPTokenizerFast(*files, model_max_length=TOKENS)


def _learn_merges(texts: Iterable[str], merges: int) -> list[tuple[str, str]]:
    learner = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=merges + 100, end_of_word_suffix=_SUFFIX, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]["merges"]
    return [(pair[0], pair[1]) for pair in learned[:merges]]
