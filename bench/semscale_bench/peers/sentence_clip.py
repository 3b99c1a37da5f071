"""sentence-transformers' CLIP: `encode` on opened images, in batches of its own making."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from sentence_transformers import SentenceTransformer, models  # pyright: ignore[reportMissingImports] - the peer's own

from semscale_bench.peers.job import Found, Model, Task

VERSION_OF = "sentence-transformers"


def load(model: Model) -> Callable[[Task], Found]:
    """The encoder, with the model loaded."""
    encoder = SentenceTransformer(modules=[models.CLIPModel(str(model.checkpoint))])

    def encode(task: Task) -> Found:
        images = [Image.open(path) for path in task.images]
        rows = encoder.encode(images, batch_size=model.batch_size, show_progress_bar=False, convert_to_numpy=True)
        return Found(embeddings=rows)

    return encode
