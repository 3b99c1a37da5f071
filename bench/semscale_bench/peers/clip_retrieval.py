"""clip-retrieval's way to embeddings: images opened and prepared one by one, its encoder of all-clip on batches.

What is timed is its mapper's work, rows of length 1 in float16, with a plain loop in the place of its reader, and no
writer. The encoder's package imports the CLIP package, and that torchvision, for which Pillow stands in where there is
none; with transformers' weights the encoder uses neither.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image

from semscale_bench.peers.job import Found, Model, Task
from semscale_bench.peers.openai_package import torchvision

with torchvision():
    from all_clip.main import load_clip_without_warmup  # pyright: ignore[reportMissingImports] - the peer's own

VERSION_OF = "all-clip"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(model: Model) -> Callable[[Task], Found]:
    """The mapper's work, with the model loaded."""
    clip, prepare, _ = load_clip_without_warmup(f"hf_clip:{model.checkpoint}", False, DEVICE, None)
    clip.eval()

    def embed(task: Task) -> Found:
        starts = range(0, len(task.images), model.batch_size)
        with torch.no_grad():
            rows = [batch(task, slice(at, at + model.batch_size)) for at in starts]
        return Found(embeddings=torch.cat(rows).numpy())

    def batch(task: Task, part: slice) -> torch.Tensor:
        pixels = torch.stack([prepare(Image.open(path).convert("RGB")) for path in task.images[part]])
        features = clip.encode_image(pixels.to(DEVICE))
        return (features / features.norm(dim=-1, keepdim=True)).cpu().to(torch.float16)

    return embed
