"""Who takes part, in which environment, on how much, and what semscale aims at beside each.

Aims are ratios of images a second, of semscale to the peer, both in this run, for a CLIP of ViT-B/32's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EVERY = ""  # of an aim: whatever the images
EACH_SET, ONCE = "each-set", "once"  # arguments of `published`: when it loads the model


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to go from files to scores or embeddings."""

    name: str
    module: str  # of this package; what the worker imports
    arguments: tuple[str, ...] = ()
    environment: str = ""  # a name of REQUIREMENTS; "" where semscale's own interpreter has all it needs
    groups: int | None = None  # of the images; None for all
    precision: str = "fp32"  # of its weights
    plain: Mapping[str, float] = field(default_factory=dict)  # kind of images, or EVERY -> aim in equal precision
    fastest: float | None = None  # aim of the fastest back end


PUBLISHED_SETS = 2  # of the study's 200, on which the published script is timed
STUDY_SETS, STUDY_IMAGES = 200, 20  # 100 prompts x 2 models; images of each
PEERS = (
    Peer("Hugging Face loop", "hugging_face", plain={"jpeg 500x375": 1.1, "jpeg 1024x1024": 1.3}, fastest=4.0),
    Peer("torchmetrics CLIPScore.update", "torchmetrics_clip", environment="torchmetrics",
         plain={EVERY: 2.0}, fastest=8.0),
    Peer("published script, as published", "published", (EACH_SET,), "clip", groups=PUBLISHED_SETS, precision="fp16",
         plain={EVERY: 4.0}, fastest=12.0),
    Peer("published script, model loaded once", "published", (ONCE,), "clip", PUBLISHED_SETS, "fp16"),
    Peer("sentence-transformers CLIP", "sentence_clip", environment="sentence-transformers"),
    Peer("clip-retrieval inference", "clip_retrieval", environment="clip-retrieval"),
)  # fmt: skip
