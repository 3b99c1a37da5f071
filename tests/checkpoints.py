"""Random checkpoints for tests, and where the real tokenizer and photos lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semscale_bench.random_clip import VIT_B_32, VIT_L_14, copy_tokenizer, write_clip

__all__ = ["VIT_B_32", "VIT_L_14", "copy_tokenizer", "write_clip"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CLIP_TOKENIZER = SHARED / "clip_tokenizer"
PHOTOS = SHARED / "dreambooth"


def set_in_json(path: Path, **values: Any) -> None:
    """Set top-level keys of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2), encoding="utf-8")
