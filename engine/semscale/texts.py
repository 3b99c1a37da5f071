"""Texts to embeddings, each distinct text once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from semscale.model import Array, Encoder, ModelSpec
from semscale.tokens import Tokenizer

BATCH = 8  # one fixed shape, so that a text's embedding does not depend on which others came with it
REMEMBERED = 65_536  # texts; at 512 dimensions 128 MiB


class TextTower:
    """A tokenizer and a text encoder, opened when the first text comes, that remembers the texts seen last."""

    def __init__(
        self, spec: ModelSpec, open_tower: Callable[[], tuple[Tokenizer, Encoder]], *, prefix: str = ""
    ) -> None:
        self.spec = spec
        self.prefix = prefix
        self._open_tower = open_tower
        self._memory: OrderedDict[str, tuple[Array, bool]] = OrderedDict()

    @cached_property
    def _opened(self) -> tuple[Tokenizer, Encoder]:
        return self._open_tower()

    def encode(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """Texts -> (N, D) float32 and (N,) bool, true where a text was longer than the encoder reads."""
        new = [text for text in dict.fromkeys(texts) if not self._recall(text)]
        for start in range(0, len(new), BATCH):
            self._remember(new[start : start + BATCH])
        rows = [self._memory[text] for text in texts]
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)
        vectors = np.stack([row for row, _ in rows]) if rows else np.empty((0, self.spec.dim), np.float32)
        return vectors, np.array([cut for _, cut in rows], bool)

    def _recall(self, text: str) -> bool:
        if text in self._memory:
            self._memory.move_to_end(text)
        return text in self._memory

    def _remember(self, texts: Sequence[str]) -> None:
        tokenizer, encoder = self._opened
        ids, truncated = tokenizer.encode([self.prefix + text for text in texts])
        vectors = encoder.encode(np.concatenate([ids, np.repeat(ids[:1], BATCH - len(ids), axis=0)]))[: len(ids)]
        self._memory.update(zip(texts, zip(vectors.copy(), map(bool, truncated), strict=True), strict=True))
