"""A synthetic OUT folder for the report: real small pictures, several models, odd names, every kind of failure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
MODELS = ("sdxl", "pixart & co", "$\\frac{1}$ 模型")
GROUPS = ("a red cube on a table", HOSTILE, "ein Fuchs im Wald \u202egnp.exe", "four\nlines\tand 🦊")
SIZES = ((20, 12), (9, 30), (16, 16), (160, 90), (1, 1))
IMAGE_TYPES = {
    **dict.fromkeys(("key", "uri", "model", "group", "text"), pa.string()),
    "seed": pa.int64(),
    **dict.fromkeys(("width", "height"), pa.int32()),
    "sha256": pa.string(),
    **dict.fromkeys(("status", "reason", "message"), pa.string()),
    **dict.fromkeys(("group_similarity", "clip_score"), pa.float64()),
}
GROUP_TYPES = {
    **dict.fromkeys(("model", "group", "text"), pa.string()),
    **dict.fromkeys(("n", "n_invalid"), pa.int64()),
    **dict.fromkeys(("scs", "scs_se", "scs_low", "scs_high", "scs_corrected"), pa.float64()),
    "n_clamped": pa.int64(),
    **dict.fromkeys(("medoid_key", "outlier_key"), pa.string()),
    **dict.fromkeys(("min_similarity", "max_similarity", "clip_score"), pa.float64()),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """The rows that `make_out` wrote, for a test to change and write again."""

    out: Path
    images: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    summary: dict[str, Any]

    def write(self) -> Path:
        """Write the three files and return the folder."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_table(self.out / "images.parquet", self.images, IMAGE_TYPES)
        write_table(self.out / "groups.parquet", self.groups, GROUP_TYPES)
        (self.out / "summary.json").write_text(json.dumps(self.summary), encoding="utf-8")
        return self.out


def write_table(path: Path, rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> None:
    """Write rows as Parquet; a column that no row has is left out."""
    kept = {name: kind for name, kind in types.items() if not rows or name in rows[0]}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(kept.items()))), path)


def make_tables(root: Path, *, n_images: int = 11) -> Tables:
    """Make pictures under `root/pictures` and rows for a run over them: 3 models x 4 groups x `n_images`."""
    rng = np.random.default_rng(7)
    images: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    for m, model in enumerate(MODELS):
        for g, group in enumerate(GROUPS):
            members = [_image(root, rng, (m, g, seed), model, group) for seed in range(n_images)]
            images += members
            groups.append(group_row(model, group, members, scs=60.0 + 10 * m + 3 * g))
    images += _failures()
    groups.append(group_row("sdxl", "lonely", [], scs=None))
    return Tables(root / "out", images, groups, summary_of(groups, images))


def _image(root: Path, rng: np.random.Generator, place: tuple[int, int, int], model: str, group: str) -> dict[str, Any]:
    path = root / "pictures" / "{}_{}_{}.png".format(*place)
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[place[2] % len(SIZES)]
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return {
        **image_row(f"{model}/{group}/{place[2]}.png", model, group),
        "uri": str(path),
        "width": width,
        "height": height,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seed": place[2],
        "group_similarity": 90.0 - place[2],
        "clip_score": 25.0 + place[2],
    }


def image_row(key: str, model: str | None, group: str) -> dict[str, Any]:
    """Return a scored image whose file does not exist."""
    row: dict[str, Any] = dict.fromkeys(IMAGE_TYPES)
    return {**row, "key": key, "uri": f"/nowhere/{key}", "model": model, "group": group, "text": group, "status": "ok"}


def group_row(model: str | None, group: str, members: list[dict[str, Any]], *, scs: float | None) -> dict[str, Any]:
    """Return a row of groups.parquet; the first member is the medoid and the last the outlier."""
    row: dict[str, Any] = dict.fromkeys(GROUP_TYPES)
    row |= {"model": model, "group": group, "text": group, "n": len(members), "n_invalid": 0, "n_clamped": 0}
    if scs is None:
        return row | {"n": 1, "n_invalid": 1, "scs": float("nan"), "clip_score": float("nan")}
    row |= {"scs": scs, "scs_se": 1.0, "scs_low": scs - 2, "scs_high": scs + 2, "scs_corrected": scs / 2}
    row |= {"min_similarity": scs - 9, "max_similarity": min(scs + 9, 100.0), "clip_score": scs / 3}
    return row | ({"medoid_key": members[0]["key"], "outlier_key": members[-1]["key"]} if members else {})


def _failures() -> list[dict[str, Any]]:
    failed = {"status": "failed", "reason": "truncated", "message": "the file ends early; <b>copy</b> it again"}
    rows = [{**image_row(f"broken/{i}.png", "sdxl", "lonely"), **failed} for i in range(7)]
    invalid = {"status": "invalid", "reason": "invalid-embedding"}
    return [*rows, {**image_row("invalid/0.png", "sdxl", "lonely"), **invalid}]


def _estimate(values: np.ndarray, n_images: int) -> dict[str, Any]:
    n = len(values)
    if not n:
        return {**dict.fromkeys(("value", "low", "high", "median", "sd")), "level": 0.95, "method": "too few to tell"}
    sd = float(values.std(ddof=1)) if n > 1 else None
    reach = 2 * sd / n**0.5 if sd is not None else None
    mean = float(values.mean())
    return {
        "value": mean,
        "low": None if reach is None else mean - reach,
        "high": None if reach is None else min(mean + reach, 100.0),
        "level": 0.95,
        "method": "Student t over groups",
        "median": float(np.median(values)),
        "sd": sd,
        "sd_ddof": 1,
        "higher_is_better": True,
        "n_groups": n,
        "n_images": n_images,
    }


def _scores(groups: list[dict[str, Any]]) -> dict[str, Any]:
    used = [row for row in groups if row["scs"] is not None and np.isfinite(row["scs"])]
    n_images = sum(row["n"] for row in used)
    scs = _estimate(np.array([row["scs"] for row in used]), n_images)
    clip = _estimate(np.array([row["clip_score"] for row in used if "clip_score" in row]), n_images)
    extra = {"corrected": 41.5, "n_clamped": 0, "n_excluded": len(groups) - len(used)}
    scs = {**scs, **extra, "n": len(used), "params": {"scale": 100, "clamp": "pair"}}
    clip = {**clip, "n": n_images, "n_invalid": 0, "params": {"preset": "torchmetrics", "scale": 100, "clamp": "mean"}}
    scs.pop("n_groups", None)  # the field is called n there
    return {"scs": scs, "clip-score": clip}


def summary_of(groups: list[dict[str, Any]], images: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a summary.json that fits the rows."""
    models = sorted({row["model"] for row in groups if row["model"] is not None})
    parts = {model: _scores([row for row in groups if row["model"] == model]) for model in models}
    scores = {
        name: {**v, "by_model": {m: part[name] for m, part in parts.items()}} for name, v in _scores(groups).items()
    }
    n_failed = sum(row["status"] == "failed" for row in images)
    return {
        "format": 1,
        "n_found": len(images),
        "n_ok": len(images) - n_failed,
        "n_failed": n_failed,
        "n_ignored": 2,
        "n_groups": len(groups),
        "images_per_second": 123.4,
        "out": "out",
        "source": "/data/my pictures",
        "layout": "model/prompt/seed",
        "scores": scores,
        "failures": {"truncated": n_failed} if n_failed else {},
        "n_truncated_texts": 0,
        "n_invalid": sum(row["status"] == "invalid" for row in images),
        "seconds": {"list": 0.1, "decode": 2.5, "encode": 10.0, "write": 0.2, "score": 0.4, "total": 13.5},
        "models": {"image": _spec("image"), "text": _spec("text")},
        "backend": "onnx",
        "parameters": {"batch_size": 32, "workers": 2, "model": "openai/clip-vit-base-patch32"},
        "provenance": {
            "semscale": "0.1.0",
            "command": "semscale score 'my pictures' -o out",
            "started": "2026-11-21T10:00:00+00:00",
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "cpu": "a processor",
            "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
        },
    }


def _spec(kind: str) -> dict[str, Any]:
    preprocess = {"size": 224, "crop": 224, "filter": "bicubic", "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    return {
        "name": "openai/clip-vit-base-patch32",
        "sha256": "0123456789abcdef" * 4,
        "kind": kind,
        "input_shape": [224, 224, 3] if kind == "image" else [77],
        "input_dtype": "uint8" if kind == "image" else "int64",
        "dim": 512,
        "normalized": True,
        "precision": "fp32",
        "preprocess": preprocess if kind == "image" else None,
        "tokens": None if kind == "image" else {"length": 77, "eos": 49407, "pad": 49407},
        "note": "",
    }


def write_groups(out: Path, scs: np.ndarray) -> None:
    """Write a groups.parquet with a group for each score, of three models in turn."""
    n, row = len(scs), group_row("m", "g", [], scs=50.0)
    columns = {name: pa.array([row[name]] * n, kind) for name, kind in GROUP_TYPES.items()}
    columns |= {"scs": pa.array(scs), "group": pa.array([f"a prompt with number {i}" for i in range(n)])}
    columns |= {"model": pa.array([f"model {i % 3}" for i in range(n)]), "n": pa.array(np.full(n, 20))}
    pq.write_table(pa.table(columns), out / "groups.parquet")
