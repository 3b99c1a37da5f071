"""The images of the published layout, `<model>/<prompt>/<seed>.jpg`, by their paths alone, and what is odd of them.

Models are told by the top folder, in lower case: the data set has `SDXL` where the study's own code looks for `sdxl`.
Its second part lies in the same folder: prompts "in the style of TOK" are those of a LoRA, and so of another model,
`sdxl-lora`; those "in the style of Monet" are the same base model's, but a study of their own. They become
`sdxl-monet`, so that no mean mixes both parts, and `sdxl-monet` compares with `sdxl-lora` prompt by prompt.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semscale.errors import SourceError
from semscale.report.format import plural
from semscale.sources.layout import is_image_name
from semscale.sources.walk import walk
from semscale.study.importing.folder_prompts import style_of

DEPTH = 3  # parts of a path: model, prompt, seed
SEED = re.compile(r"[0-9]{1,18}", re.ASCII)
TABLES = (".parquet", ".arrow")
DOWNLOAD = "hf download runsdata/semantic-consistency-score --repo-type dataset --local-dir DIR"
KINDS = {  # of oddities -> what each is
    "model-name": "a folder of a model is named otherwise than the model",
    "model-split": "prompts of the study's second part are a model of their own",
    "prompt-case": "a folder differs from the listed prompt by its case",
    "prompt-characters": "a folder lacks characters of the listed prompt, as an apostrophe",
    "prompt-guess": "an apostrophe was put back without a list of prompts",
    "prompt-closest": "a folder was taken for the closest prompt of the list: check it",
    "prompt-unknown": "a folder is no prompt of the list",
    "prompt-missing": "a listed prompt has no folder",
    "folders-merged": "several folders are of one prompt",
    "seed-not-a-number": "a file is not named by a seed; it has none in the list",
    "seed-twice": "a seed is there twice; the second file is left out",
    "seeds-extra": "a prompt has seeds that are not expected",
    "seeds-missing": "a prompt lacks seeds that are expected",
    "seeds-not-common": "left out: not every prompt of every model has them",
    "link": "a file is a link; it is listed like any other",
    "broken-link": "a link leads nowhere; left out",
    "other-depth": "an image that is not <model>/<prompt>/<seed>; left out",
    "not-an-image": "a file without a known image suffix; left out",
}


@dataclass(frozen=True, slots=True)
class Oddity:
    """One thing that was not as expected."""

    kind: str  # of KINDS
    where: str  # a path below the folder, or a model and a prompt
    message: str


class Oddities:
    """Collects what is odd."""

    def __init__(self) -> None:
        self._found: list[Oddity] = []

    def tell(self, kind: str, where: str, message: str) -> None:
        """Add one. `where` may hold bytes that are not UTF-8, as os.fsdecode gives them."""
        assert kind in KINDS, kind
        self._found.append(Oddity(kind, shown(where), message))

    def sorted(self) -> list[Oddity]:
        """All, by kind in the order of KINDS, then by place."""
        order = list(KINDS)
        return sorted(self._found, key=lambda oddity: (order.index(oddity.kind), oddity.where))


@dataclass(frozen=True, slots=True)
class File:
    """An image by its path alone; parts that are not UTF-8 are as os.fsdecode gives them."""

    path: str  # below the folder
    top: str
    folder: str
    model: str
    seed: int | None


def find_files(root: Path, odd: Oddities) -> list[File]:
    """Every image of the layout below `root`. Raises SourceError, which says what to do, where there is none."""
    if root.is_file():
        raise SourceError(_of_a_table(root))
    found: list[File] = []
    others: list[str] = []
    suffixes: Counter[str] = Counter()
    for name in map(os.fsdecode, walk(os.fsencode(root))):
        if not is_image_name(name):
            suffixes[os.path.splitext(name)[1].lower() or os.path.basename(name)] += 1
        elif name.count("/") != DEPTH - 1:
            others.append(name)
        elif _is_there(root, name, odd):
            found.append(_file(name, odd))
    if not found:
        raise SourceError(_nothing(root, others, suffixes))
    for name in others:
        odd.tell("other-depth", name, "is not <model>/<prompt>/<seed>")
    for suffix, count in suffixes.items():
        odd.tell("not-an-image", suffix, f"{count} of them")
    _tell_models(found, odd)
    return found


def shown(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_there(root: Path, name: str, odd: Oddities) -> bool:
    path = os.path.join(root, name)
    if not os.path.islink(path):
        return True
    there = os.path.exists(path)
    odd.tell("link" if there else "broken-link", name, f"leads to {shown(os.readlink(path))}")
    return there


def _file(name: str, odd: Oddities) -> File:
    top, folder, image = name.split("/")
    stem = os.path.splitext(image)[0]
    seed = int(stem) if SEED.fullmatch(stem) else None
    if seed is None:
        odd.tell("seed-not-a-number", name, f"{shown(stem)!r} is no seed")
    style = style_of(folder)
    return File(name, top, folder, _model(top) + (f"-{style}" if style else ""), seed)


def _model(top: str) -> str:
    return shown(top).casefold()


def _tell_models(files: Sequence[File], odd: Oddities) -> None:
    for top in sorted({file.top for file in files if file.top != _model(file.top)}):
        odd.tell("model-name", top, f"is the model {_model(top)!r}")
    split = Counter((file.top, file.model) for file in files if file.model != _model(file.top))
    for (top, model), count in sorted(split.items()):
        odd.tell("model-split", top, f"{plural(count, 'image')} of the model {model!r}, by the prompts")


def _nothing(root: Path, others: Sequence[str], suffixes: Counter[str]) -> str:
    if any(suffixes[suffix] for suffix in TABLES) and not others:
        return _of_a_table(root)
    wanted = f"{root}: no image is <model>/<prompt>/<seed>"
    if not others and not suffixes:
        return f"{root}: is empty; give the folder with <model>/<prompt>/<seed> below it"
    if not others:
        return f"{wanted}, but {plural(sum(suffixes.values()), 'file')} without a known image suffix"
    example, depths = others[0], {name.count("/") for name in others}
    if depths == {DEPTH} and len({name.split("/")[0] for name in others}) == 1:
        return f"{wanted}, but {shown(example)!r} is below a folder; give {root / shown(example.split('/')[0])}"
    hint = "" if depths != {DEPTH - 2} else f"; for the files as they were published: {DOWNLOAD}"
    return f"{wanted}, as {shown(example)!r}: the model or the seed is lost; `score` reads it group by group{hint}"


def _of_a_table(root: Path) -> str:
    return (
        f"{root}: tables as `load_dataset` keeps them have an image and a label, which is the prompt: the model and "
        f"the seed are lost. Download the files as they were published: {DOWNLOAD}"
    )
