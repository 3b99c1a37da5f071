"""The images of one generator in a folder of this machine, by prompt and seed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semscale.errors import SourceError, UsageError
from semscale.sources.layout import Described, Layout, describe, detect, is_image_name
from semscale.sources.metadata import find_metadata, read_metadata
from semscale.sources.names import key_of
from semscale.sources.places import LocalFile

_SEED = re.compile(r"[0-9]{1,18}")
_RESULTS = ("summary.json", "images.parquet")  # what tells a folder of results from one of images
Prompts = Mapping[str, Mapping[int, bytes]]  # prompt -> seed -> path relative to the folder


@dataclass(slots=True)
class Listing:
    """What lies below a folder: its models, None where it names none, and how many files have no place in them."""

    folder: Path
    models: dict[str | None, dict[str, dict[int, bytes]]] = field(default_factory=dict)
    n_outside: int = 0  # links that lead out of the folder, or nowhere
    n_unplaced: int = 0  # images of which no prompt or no seed is known
    n_repeated: int = 0  # images of a prompt and seed that another file already has

    def add(self, known: Described, key: str, name: bytes) -> None:
        """Put one image in its place, by what is known of it."""
        prompt = known.text if known.text is not None else known.group
        seed = known.seed if known.seed is not None else _seed_of(key)
        if seed is None or prompt in ("", "."):
            self.n_unplaced += 1
            return
        seeds = self.models.setdefault(known.model, {}).setdefault(prompt, {})
        self.n_repeated += seed in seeds
        seeds.setdefault(seed, name)


@dataclass(frozen=True, slots=True)
class Generator:
    """One of the two that are compared."""

    label: str
    folder: Path
    prompts: Prompts
    listing: Listing


def list_folder(folder: Path) -> Listing:
    """List the images below a folder as `score` understands it: `<prompt>/<seed>.png`, `<model>/<prompt>/<seed>.png`,
    or as a metadata file beside them says. Links are followed to files inside the folder and nowhere else.

    Raises SourceError for a folder that is missing, cannot be listed, or holds no image of a known prompt and seed.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; give the folder that holds the images of a generator")
    if all((folder / name).is_file() for name in _RESULTS):
        raise SourceError(f"{folder}: results of `score`; give the folder of the images that were scored")
    listing = Listing(folder)
    names = list(_images(listing))
    for name, key, known in _described(folder, names):
        listing.add(known, key, name)
    if not listing.models:
        raise SourceError(
            f"{folder}: {len(names)} images, none of them <prompt>/<seed>.png or <model>/<prompt>/<seed>.png; "
            "arrange them so, or describe them in a metadata.csv with file_name, text, model and seed"
        )
    return listing


def choose(listings: list[Listing], models: tuple[str, ...] = ()) -> tuple[Generator, Generator]:
    """The two generators: the one model of each of two folders, those named of each, or two of one folder.

    Raises UsageError for another number of them, for a model that a folder does not have, and for one compared with
    itself.
    """
    if len(listings) == 1:
        listings = listings * 2
        if not models and len(listings[0].models) == 2:
            models = tuple(sorted(str(name) for name in listings[0].models))
        if len(models) != 2:
            raise UsageError(f"{listings[0].folder}: name two of its models with --models, or give a second folder")
    if len(listings) != 2 or len(models) not in (0, 2):
        raise UsageError(f"{len(listings)} folders and {len(models)} models; two generators are compared")
    names = [_model(each, models[place] if models else None) for place, each in enumerate(listings)]
    if names[0] == names[1] and os.path.samefile(listings[0].folder, listings[1].folder):
        raise UsageError(f"{listings[0].folder}: compared with itself; give two generators")
    first, second = (
        Generator(label, each.folder, each.models[name], each)
        for label, each, name in zip(_labels(listings, names), listings, names, strict=True)
    )
    return first, second


def is_inside(folder: Path, path: bytes) -> bool:
    """Whether a path leads, all its links followed, to something below the folder."""
    root = os.fsencode(os.path.realpath(folder))
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def _images(listing: Listing) -> Iterator[bytes]:
    root = os.fsencode(os.path.abspath(listing.folder))
    for folder, folders, files in os.walk(root, onerror=_refuse):
        folders.sort()
        listing.n_outside += sum(_leads_out(listing.folder, os.path.join(folder, name)) for name in folders)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not is_image_name(os.fsdecode(name)):
                continue
            if _leads_out(listing.folder, path):
                listing.n_outside += 1
                continue
            yield os.path.relpath(path, root)


def _leads_out(folder: Path, path: bytes) -> bool:
    return os.path.islink(path) and not (os.path.exists(path) and is_inside(folder, path))


def _refuse(error: OSError) -> None:
    where = key_of(os.fsencode(error.filename))
    raise SourceError(f"{where}: cannot be listed: {error.strerror}; make it readable or take it out") from error


def _described(folder: Path, names: list[bytes]) -> Iterator[tuple[bytes, str, Described]]:
    keys = [key_of(name) for name in names]
    found = find_metadata(lambda name: LocalFile(folder / name) if (folder / name).is_file() else None, str(folder))
    if found is None:
        layout, _ = detect(keys, len(keys)) if keys else (Layout.PARENT, 0)
        yield from ((name, key, describe(key, layout)) for name, key in zip(names, keys, strict=True))
        return
    metadata = read_metadata(found)
    rows = {name: row for row, name in enumerate(metadata.file_names.to_pylist())}
    for name, key in zip(names, keys, strict=True):
        yield name, key, metadata.describe(rows.get(name), key)


def _seed_of(key: str) -> int | None:
    stem = PurePosixPath(key).stem
    return int(stem) if _SEED.fullmatch(stem) else None


def _model(listing: Listing, asked: str | None) -> str | None:
    if asked is None:
        if len(listing.models) == 1:
            return next(iter(listing.models))
        raise UsageError(f"{listing.folder}: holds several models ({_named(listing)}); choose with --models")
    if asked in listing.models:
        return asked
    if set(listing.models) == {None} and asked == listing.folder.resolve().name:
        return None
    raise UsageError(f"{listing.folder}: has no model {asked!r}; it has {_named(listing)}")


def _named(listing: Listing) -> str:
    return ", ".join(sorted(name for name in listing.models if name is not None)) or "none with a name"


def _labels(listings: list[Listing], names: list[str | None]) -> list[str]:
    """The shortest kind of name that tells the two apart."""
    folders = [each.folder.resolve() for each in listings]
    short = [name or folder.name for name, folder in zip(names, folders, strict=True)]
    longer = [f"{folder.parent.name if name is None else folder.name}/{name or folder.name}"
              for name, folder in zip(names, folders, strict=True)]  # fmt: skip
    whole = [str(folder / name if name else folder) for name, folder in zip(names, folders, strict=True)]
    chosen = next((kind for kind in (short, longer) if kind[0] != kind[1]), whole)
    return [key_of(os.fsencode(label)) for label in chosen]
