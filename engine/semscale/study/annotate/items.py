"""What raters are shown of two generators: their common prompts, and of each the same seeds."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from semscale.cores import usable_cores
from semscale.errors import SourceError
from semscale.study.annotate.folders import Generator
from semscale.study.annotate.pictures import is_image
from semscale.study.annotate.text import counted


@dataclass(frozen=True, slots=True)
class Item:
    """One question: two sets of images for one prompt."""

    item: str  # an id that depends on the prompt alone
    prompt: str
    seeds: tuple[int, ...]  # rising; shown of both generators


@dataclass(frozen=True, slots=True)
class Counts:
    """What of two generators, a and b, is not shown."""

    n_only_a: int = 0  # prompts
    n_only_b: int = 0
    n_without_seeds: int = 0  # common prompts without a common seed
    n_unmatched: int = 0  # images of common prompts whose seed the other generator lacks
    n_not_images: int = 0  # common seeds of which a file is no image, or a damaged one
    n_beyond: int = 0  # common seeds after the first n
    n_fewer: int = 0  # items with fewer than n images a side
    n_outside: int = 0  # links that lead out of their folder
    n_unplaced: int = 0  # images of which no prompt or no seed is known
    n_repeated: int = 0  # images of a prompt and seed that another file already has

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


def join(generators: tuple[Generator, Generator], n_shown: int) -> tuple[tuple[Item, ...], Counts]:
    """Join two generators by prompt and seed: the first `n_shown` common seeds, in numeric order, of every common
    prompt, sorted by prompt. A seed counts where both files are images, so each is decoded once.

    Raises SourceError where nothing is common.
    """
    a, b = generators
    common = sorted(set(a.prompts) & set(b.prompts))
    listings = {id(each.listing): each.listing for each in generators}.values()
    counts = Counts(n_only_a=len(a.prompts) - len(common), n_only_b=len(b.prompts) - len(common))
    for listing in listings:
        counts += Counts(n_outside=listing.n_outside, n_unplaced=listing.n_unplaced, n_repeated=listing.n_repeated)
    items = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for item, found in pool.map(lambda prompt: _item(generators, prompt, n_shown), common):
            counts += found
            items += [item] if item.seeds else []
    if not items:
        raise SourceError(_nothing(generators, len(common)))
    return tuple(items), counts


def _item(generators: tuple[Generator, Generator], prompt: str, n_shown: int) -> tuple[Item, Counts]:
    seeds = [set(each.prompts[prompt]) for each in generators]
    common = sorted(seeds[0] & seeds[1])
    shown, n_looked_at = [], 0
    while len(shown) < n_shown and n_looked_at < len(common):
        seed = common[n_looked_at]
        n_looked_at += 1
        if all(is_image(each.folder, each.prompts[prompt][seed]) for each in generators):
            shown.append(seed)
    return Item(_id(prompt), prompt, tuple(shown)), Counts(
        n_without_seeds=int(not shown),
        n_unmatched=len(seeds[0] ^ seeds[1]),
        n_not_images=n_looked_at - len(shown),
        n_beyond=len(common) - n_looked_at,
        n_fewer=int(0 < len(shown) < n_shown),
    )


def told(counts: Counts, labels: Sequence[str], n_shown: int) -> Iterator[str]:
    """What is not shown, one line a reason."""
    lines = (
        (counts.n_only_a, "prompt", f"that only {labels[0]} has"),
        (counts.n_only_b, "prompt", f"that only {labels[1]} has"),
        (counts.n_without_seeds, "common prompt", "without a common seed"),
        (counts.n_unmatched, "image", "whose seed the other generator lacks"),
        (counts.n_not_images, "common seed", "of which a file is no image, or a damaged one"),
        (counts.n_beyond, "common seed", f"after the first {n_shown} of a prompt"),
        (counts.n_outside, "link", "to the outside of a folder"),
        (counts.n_unplaced, "image", "of no known prompt and seed"),
        (counts.n_repeated, "image", "of a prompt and seed that another file has"),
    )
    yield from (f"not shown: {counted(count, noun)} {which}" for count, noun, which in lines if count)
    if counts.n_fewer:
        prompts = counted(counts.n_fewer, "prompt has", "prompts have")
        yield f"{prompts} fewer than {counted(n_shown, 'image')} a side"


def _id(prompt: str) -> str:
    return hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _nothing(generators: tuple[Generator, Generator], n_common: int) -> str:
    a, b = generators
    names = f"{a.label} ({counted(len(a.prompts), 'prompt')}) and {b.label} ({len(b.prompts)})"
    if n_common:
        return f"{names}: of {counted(n_common, 'common prompt')}, none has a seed of which both have an image"
    first = [min(each.prompts) for each in generators]
    return f"{names}: no prompt in common; the first are {first[0]!r:.80} and {first[1]!r:.80}; are the folders right?"
