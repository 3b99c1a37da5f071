"""Folders of ratings in the format of `semscale annotate`, and results of `semscale score` to hold against them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from images import png
from report_fixture import Tables, group_row, image_row, summary_of

MODELS = ("SDXL", "pixart")
SEEDS = (3, 7)


def task(folder: Path, prompts: Sequence[str], *, models: Sequence[str] = MODELS, seeds: Sequence[int] = SEEDS) -> None:
    """Write `task.json`; the item of a prompt is called i0, i1, ..."""
    (folder / "ratings").mkdir(parents=True, exist_ok=True)
    items = [{"item": f"i{n}", "prompt": prompt, "seeds": list(seeds)} for n, prompt in enumerate(prompts)]
    told = {"format": 1, "template": "consistency", "question": "Which set of images is more consistent?"}
    rest = {"models": list(models), "items": items, "seed": 0, "n_shown": len(seeds), "version": "0.1.0"}
    (folder / "task.json").write_text(json.dumps({**told, **rest}), encoding="utf-8")


def rated(rater: str, item: int, model: str, *, left: str = "", seconds: float = 2.0) -> dict[str, Any]:
    """One event; where `left` is not named, items alternate sides."""
    left = left or MODELS[item % 2]
    right = MODELS[1 - MODELS.index(left)]
    files = {side: [f"{name}/p/{seed}.png" for seed in SEEDS] for side, name in (("left", left), ("right", right))}
    return {
        **{"event": "rated", "rater": rater, "item": f"i{item}", "position": item, "left": left, "right": right},
        **{"choice": "left" if model == left else "right", "model": model, "seconds": seconds},
        **{"time": "2026-11-21T10:00:00+00:00", "files": files},
    }


def undone(rater: str, item: int) -> dict[str, Any]:
    """The last rating of an item, taken back."""
    return {"event": "undone", "rater": rater, "item": f"i{item}", "time": "2026-11-21T10:00:01+00:00"}


def events(folder: Path, rater: str, said: Sequence[Mapping[str, Any]], *, torn: str = "") -> Path:
    """Write the file of one rater; return it."""
    file = folder / "ratings" / f"{rater.lower()}.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in said) + torn, encoding="utf-8")
    return file


def study(folder: Path, answers: Mapping[str, str], prompts: Sequence[str] = ()) -> Path:
    """Ratings by rater, a letter an item: "a" for the first model, "b" for the second, "-" for none."""
    n = max(map(len, answers.values()))
    task(folder, prompts or [f"prompt {item}" for item in range(n)])
    for rater, letters in answers.items():
        said = [rated(rater, n, MODELS["ab".index(letter)]) for n, letter in enumerate(letters) if letter != "-"]
        events(folder, rater, said)
    return folder


def scores(
    root: Path,
    values: Mapping[str, Mapping[str | None, float]],
    *,
    seeds: Sequence[int] = SEEDS,
    pictures: bool = False,
) -> Path:
    """Results in `root`: prompt -> model -> scs, and one image a seed of each, with files where asked for."""
    images, groups = [], []
    for prompt, of_models in values.items():
        for model, scs in of_models.items():
            members = [_image(root, (model, prompt, seed), pictures) for seed in seeds]
            images += members
            groups.append(group_row(model, prompt, members, scs=scs))
    return Tables(root, images, groups, summary_of(groups, images)).write()


def _image(root: Path, of: tuple[str | None, str, int], pictures: bool) -> dict[str, Any]:
    model, prompt, seed = of
    row = image_row(f"{model}/{prompt}/{seed}.png", model, prompt) | {"seed": seed, "group_similarity": 80.0}
    if not pictures:
        return row
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    number = len(list((root / "pictures").iterdir()))
    file = root / "pictures" / f"{number}.png"
    file.write_bytes(png(number))
    return row | {"uri": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
