"""Text to token ids, with the end-of-text token always kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from semscale.errors import ModelError
from semscale.model import Array, ModelSpec, Tokens


class Tokenizer:
    """The tokenizer beside an exported text tower.

    Its ids equal those of Hugging Face's tokenizer called with `padding="max_length", truncation=True`, up to the last
    padding: SigLIP attends to all T ids and pools at the last one, so that a wrong id there changes every embedding.
    (CLIP is causal and pools at the first end-of-text token; to it nothing after that one matters.)
    """

    def __init__(self, folder: Path) -> None:
        """Load `tokenizer.json` and `model.json` from `folder`. Raises ModelError when they do not make a tokenizer."""
        self._tokens = _tokens(folder / "model.json")
        self._tokenizer = _load(folder / "tokenizer.json")
        self._tokenizer.enable_truncation(max_length=self._tokens.length)
        self._tokenizer.no_padding()
        self._check_end()
        self._tokenizer.enable_padding(length=self._tokens.length, pad_id=self._tokens.pad)

    def encode(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """Texts -> (N, T) int64 ids and (N,) bool, true where a text was longer than T and lost its end.

        A text that is not valid Unicode (it holds half of a surrogate pair) is read with "?" in that place.
        """
        # One by one: batch encoding starts a thread pool, which is no faster for captions and unsafe to fork.
        encodings = [self._tokenizer.encode(_well_formed(text)) for text in texts]
        ids = np.array([encoding.ids for encoding in encodings], np.int64).reshape(-1, self._tokens.length)
        return ids, np.array([bool(encoding.overflowing) for encoding in encodings], bool)

    def _check_end(self) -> None:
        # Without this token CLIP would pool at the first position and give every text the same embedding, and SigLIP
        # would see texts unlike any that it was trained on.
        if self._tokenizer.encode("").ids[-1:] != [self._tokens.eos]:
            raise ModelError(
                f"tokenizer.json does not end a text with id {self._tokens.eos}, as model.json says it does; "
                "export the model again"
            )


def _tokens(path: Path) -> Tokens:
    try:
        tokens = ModelSpec.from_json(path.read_text(encoding="utf-8"), where=str(path)).tokens
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); export the model again") from error
    if tokens is None:
        raise ModelError(f"{path}: not a text tower; give the folder of one")
    return tokens


def _load(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; export the model again")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception, and nothing else
        raise ModelError(f"{path}: not a tokenizer ({error}); export the model again") from error


def _well_formed(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
