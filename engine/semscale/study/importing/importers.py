"""Folders of images as the consistency study publishes them, `<model>/<prompt>/<seed>.jpg`, as a list for `score`.

Nothing in the folder is changed, copied or moved: the list names every image by its absolute path. Whatever was read
otherwise than it is written, or left out, is an Oddity. The published data set has several: see `published`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from semscale.errors import UsageError
from semscale.producers.prompts import read_prompts
from semscale.producers.seeds import read_seeds
from semscale.report.format import plural
from semscale.sources.names import uri_of
from semscale.study.importing.folder_prompts import Reading, guess, read_folders
from semscale.study.importing.published import File, Oddities, Oddity, find_files, shown

HOWS = ("exact", "case", "characters", "guess", "closest", "unknown")  # a prompt was found, the surest first


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the study."""

    file: str  # an absolute path, or its file:// URI where it is not UTF-8
    model: str
    prompt: str
    seed: int | None
    folder: str  # below the study's folder, as it is written


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of the study beside its folder."""

    prompts: tuple[Path, ...] = ()  # lists that folders are compared with
    seeds: Path | None = None  # one seed a line
    n_seeds: int | None = None  # the first so many are expected; None for all
    common_seeds: bool = False  # keep only seeds that every prompt of every model has


@dataclass(frozen=True, slots=True)
class Study:
    """The images of a study and what was odd about them."""

    images: list[Image]  # sorted by model, prompt and seed
    oddities: list[Oddity]  # sorted by kind, in the order of KINDS
    seeds: list[int]  # the expected ones: those listed, else those that most prompts have


def read_study(folder: str | Path, wanted: Wanted | None = None) -> Study:
    """Read the published layout below `folder`.

    Raises SourceError where there is no such image, and says which download keeps models and seeds; UsageError for
    lists that cannot be read, and where the prompts have no seed in common that shall be kept.
    """
    root, asked, odd = Path(folder), wanted or Wanted(), Oddities()
    if asked.n_seeds is not None and asked.seeds is None:
        raise UsageError(f"{asked.n_seeds} seeds are expected, but of which list? Give the file of seeds too")
    lists = [[prompt.text for prompt in read_prompts(path).prompts] for path in asked.prompts]
    listed = [] if asked.seeds is None else read_seeds(asked.seeds, asked.n_seeds)
    images = _once(root, _with_prompts(find_files(root, odd), lists, odd), odd)
    seeds = listed or _usual(images)
    _compare_seeds(images, set(seeds), odd)
    if asked.common_seeds:
        images = _common(root, images, listed, odd)
    return Study(images, odd.sorted(), seeds)


def _with_prompts(
    files: Sequence[File], lists: Sequence[Sequence[str]], odd: Oddities
) -> Iterator[tuple[File, Reading]]:
    """Each file and the prompt of its folder."""
    prompts = list(dict.fromkeys(prompt for one in lists for prompt in one))
    for model, group in groupby(sorted(files, key=attrgetter("model", "path")), key=attrgetter("model")):
        mine = list(group)
        folders = list(dict.fromkeys(file.folder for file in mine))
        read = read_folders(folders, prompts) if lists else {name: guess(name) for name in folders}
        for top, folder in sorted({(file.top, file.folder) for file in mine}):
            if read[folder].note:
                odd.tell(f"prompt-{read[folder].how}", f"{top}/{folder}", read[folder].note)
        _tell_missing(model, {reading.prompt for reading in read.values()}, lists, odd)
        yield from ((file, read[file.folder]) for file in mine)


def _tell_missing(model: str, there: set[str], lists: Sequence[Sequence[str]], odd: Oddities) -> None:
    """Prompts of those lists of which the model has some."""
    for one in lists:
        if not there.isdisjoint(one):
            for prompt in dict.fromkeys(one):
                if prompt not in there:
                    odd.tell("prompt-missing", model, repr(prompt))


def _once(root: Path, files: Iterable[tuple[File, Reading]], odd: Oddities) -> list[Image]:
    """Images sorted by model, prompt and seed; each seed once, from the folder that is named most like the prompt."""
    by_prompt: defaultdict[tuple[str, str], list[tuple[File, Reading]]] = defaultdict(list)
    for file, reading in files:
        by_prompt[file.model, shown(reading.prompt)].append((file, reading))
    images = []
    for (model, prompt), mine in sorted(by_prompt.items()):
        mine.sort(key=lambda each: (HOWS.index(each[1].how), each[0].path))
        _tell_merged(prompt, mine, odd)
        seen: dict[int, str] = {}
        for file, _ in mine:
            if file.seed is not None and seen.setdefault(file.seed, file.path) != file.path:
                odd.tell("seed-twice", file.path, f"{shown(seen[file.seed])!r} is listed")
                continue
            path = os.path.join(os.path.abspath(root), file.path)
            folder = shown(f"{file.top}/{file.folder}")
            images.append(Image(uri_of(os.fsencode(path)), model, prompt, file.seed, folder))
    return sorted(images, key=lambda i: (i.model, i.prompt, i.seed is None, i.seed or 0, i.file))


def _tell_merged(prompt: str, mine: Sequence[tuple[File, Reading]], odd: Oddities) -> None:
    first, *more = dict.fromkeys(shown(f"{file.top}/{file.folder}") for file, _ in mine)
    if more:
        odd.tell("folders-merged", first, f"and {', '.join(map(repr, more))} are of the prompt {prompt!r}")


def _compare_seeds(images: Sequence[Image], expected: set[int], odd: Oddities) -> None:
    for (model, prompt), mine in _by_prompt(images).items():
        for kind, seeds in (("seeds-missing", expected - mine), ("seeds-extra", mine - expected)):
            if seeds:
                listed = ", ".join(map(str, sorted(seeds)))
                odd.tell(kind, f"{model}/{prompt}", f"{plural(len(seeds), 'seed')}: {listed}")


def _common(root: Path, images: Sequence[Image], listed: Sequence[int], odd: Oddities) -> list[Image]:
    """The images of seeds that every prompt of every model has, and that are listed where there is a list."""
    every = _by_prompt(images)
    kept = set.intersection(*every.values(), *([set(listed)] if listed else []))
    if not kept:
        (model, prompt), fewest = min(every.items(), key=lambda each: len(each[1]))
        raise UsageError(
            f"{root}: no seed is in every prompt of every model and expected; fewest are of {prompt!r} of {model}, "
            f"{len(fewest)}; leave --common-seeds out, or take that folder away"
        )
    left = Counter((image.model, image.prompt) for image in images if image.seed not in kept)
    for (model, prompt), count in left.items():
        odd.tell("seeds-not-common", f"{model}/{prompt}", plural(count, "image"))
    return [image for image in images if image.seed in kept]


def _by_prompt(images: Sequence[Image]) -> dict[tuple[str, str], set[int]]:
    found: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for image in images:
        found[image.model, image.prompt] |= set() if image.seed is None else {image.seed}
    return dict(found)


def _usual(images: Sequence[Image]) -> list[int]:
    """The seeds that more than half of the prompts have."""
    every = _by_prompt(images)
    counts = Counter(seed for mine in every.values() for seed in mine)
    return sorted(seed for seed, count in counts.items() if 2 * count > len(every))
