"""Folders of results as `semscale score` writes them, with numbers that a test chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ENCODER = {"name": "tiny/clip", "sha256": "ab" * 32, "precision": "fp32", "backend": "onnx", "resize": "bicubic to 64"}
IMAGES = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "uri", "model", "group", "text")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("sha256", "status", "reason", "message")),
        *((name, pa.float64()) for name in ("group_similarity", "clip_score")),
    ]
)
PROMPTS = tuple(f"a picture of number {n}" for n in range(12))


def scores(shift=0.0, prompts=PROMPTS, noise=0):
    """A consistency for each prompt: the same for all models but for a shift and noise of its own."""
    own = np.random.default_rng(noise)
    base = {prompt: np.random.default_rng([*prompt.encode()]).random() for prompt in prompts}
    return {p: 60 + shift + 20 * base[p] + (own.random() if noise else 0.0) for p in prompts}


def images_of(values, seeds=(1, 2, 3), shift=0.0):
    """A CLIP score for every prompt and seed; the seed weighs more than the shift, so pairing can be told."""
    return {prompt: {seed: 20 + shift + 5 * seed + n for seed in seeds} for n, prompt in enumerate(values)}


def write_results(
    folder: Path, models: dict[str | None, dict[str, float]], images: dict[Any, Any] | None = None, **changed: Any
) -> Path:
    """Write the three files: `models` -> prompt -> consistency, `images` -> prompt -> seed -> CLIP score.

    `changed` are further things to say: rows in another order (`shuffled`), entries of the encoder, and `note`.
    """
    images = images if images is not None else {model: images_of(values) for model, values in models.items()}
    shuffled, note = changed.pop("shuffled", False), changed.pop("note", "")
    preset, texts = changed.pop("preset", "torchmetrics"), changed.pop("texts", True)
    groups = [
        {"model": model, "group": prompt, "text": prompt if texts else None, "n": len(images[model].get(prompt, ())),
         "n_invalid": 0, "scs": value, "scs_corrected": value / 2, "clip_score": 0.0}
        for model, values in models.items() for prompt, value in values.items()
    ]  # fmt: skip
    rows = [
        {"key": f"{model}/{prompt}/{at}.png", "uri": "", "model": model, "group": prompt, "text": prompt,
         "seed": seed if isinstance(seed, int) else None, "status": "ok", "group_similarity": 50.0, "clip_score": value}
        for model, of_model in images.items() for prompt, of_prompt in of_model.items()
        for at, (seed, value) in enumerate(of_prompt.items())
    ]  # fmt: skip
    rows.append({"key": "x.png", "model": next(iter(models)), "group": PROMPTS[0], "seed": 99, "status": "failed"})
    if shuffled:
        rng = np.random.default_rng(3)
        groups, rows = ([part[i] for i in rng.permutation(len(part))] for part in (groups, rows))
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(groups), folder / "groups.parquet")
    pq.write_table(pa.Table.from_pylist(rows, IMAGES), folder / "images.parquet")
    (folder / "summary.json").write_text(json.dumps(_summary(rows, groups, {**ENCODER, **changed}, note, preset)))
    return folder


def _summary(rows, groups, encoder, note, preset):
    entry = {"value": 1.0, "n": 1, "higher_is_better": True, "encoder": encoder, "by_model": {}}
    image = {"name": encoder["name"], "sha256": encoder["sha256"], "precision": encoder["precision"], "note": note}
    scs = {**entry, "name": "scs", "preset": "bent2024", "params": {"scale": 100, "clamp": "pair"}}
    scale = 2.5 if preset == "clip-s" else 100
    clip = {**entry, "name": "clip-score", "preset": preset, "params": {"scale": scale, "clamp": "mean"}}
    return {
        "format": 1, "n_found": len(rows), "n_ok": len(rows), "n_failed": 0, "n_ignored": 0, "n_groups": len(groups),
        "source": "pictures", "layout": "model/prompt/seed", "backend": "onnx",
        "scores": {"clip-score": clip, "scs": scs}, "models": {"image": image, "text": {**image, "kind": "text"}},
        "parameters": {"decode": "exact", "dtype": "float32"},
        "provenance": {"semscale": "0", "command": "semscale score pictures"},
    }  # fmt: skip
