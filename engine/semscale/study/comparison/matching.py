"""The prompts and images of several models side by side, and everything that has no partner."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.errors import UsageError
from semscale.model import Array
from semscale.study.comparison.joining import (
    Items,
    Joined,
    counts_of_prompts,
    join_prompts,
    keys_of,
    means_of_prompts,
    repeated_seeds,
    shared_seeds,
    sides_of_seeds,
)
from semscale.study.comparison.measured import Metric
from semscale.study.comparison.prompt_lists import Words, learn, words_of
from semscale.study.comparison.prompt_maps import map_prompts
from semscale.study.comparison.sides import Side

UNMATCHED = pa.schema(
    [
        ("what", pa.string()),  # "prompt" or "seed"
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("present_in", pa.list_(pa.string())),
        ("missing_in", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """The prompts that all S models have."""

    joined: Joined
    written: tuple[tuple[str, ...], ...]  # (P, S) each prompt as each model has it
    unused: tuple[tuple[str, str], ...]  # rows of the map that fit nothing

    def __len__(self) -> int:
        return len(self.joined.keys)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The scored images of those prompts, of all models."""

    items: Items
    known: Array  # (N,) whether an image's seed is known; where it is not, items.seed is 0
    values: Mapping[str, Array]  # (N,) by column, NaN where there is none
    counts: Array  # (P, S) images
    paired: bool  # whether they are joined by seed: some prompt has one that all models have
    n_without_seed: tuple[int, ...]  # by model
    n_shared: Array  # (P,) seeds that all models have
    n_repeated: int  # images that repeat a prompt and seed of their model


def match_prompts(sides: Sequence[Side], prompt_map: str = "") -> Prompts:
    """Join the prompts of all sides; the map, where there is one, says what those of the first are in the others.

    Raises UsageError when they have none in common, and for a bad map.
    """
    groups = [side.groups for side in sides]
    texts, names = ([table[column].to_pylist() for table in groups] for column in ("text", "group"))
    original = keys_of(texts, names)
    if None in set().union(*texts) and not set.intersection(*map(set, original)):
        original = keys_of([[None] * len(mine) for mine in names], names)  # one has no texts: all go by their names
    keys, unused = list(original), ()
    if prompt_map:
        mapped = map_prompts(keys[0], prompt_map, set.intersection(*map(set, keys[1:])))
        keys[0], unused = list(mapped.prompts), mapped.unused
    joined = join_prompts(keys)
    if not joined.keys:
        raise UsageError(_nothing_common(sides, original))
    written = tuple(tuple(original[s][row] for s, row in enumerate(rows)) for rows in joined.rows.tolist())
    return Prompts(joined, written, unused)


def _nothing_common(sides: Sequence[Side], keys: Sequence[Sequence[str]]) -> str:
    seen = "; ".join(f"{side.label}: {mine[0]!r}" for side, mine in zip(sides, keys, strict=True))
    return f"no prompt is in all of {', '.join(side.label for side in sides)} ({seen}){advice(keys[0], keys[1])}"


def advice(a: Sequence[str], b: Sequence[str]) -> str:
    """How more prompts of `a` and `b` would be joined, where they are nearly the same; "" where they are not."""
    plain = {letters: prompt for prompt in b if (letters := _letters(prompt))}
    alike = [(prompt, plain[letters]) for prompt in a if (letters := _letters(prompt)) in plain]
    if alike:
        mine, other = map(repr, alike[0])
        return (
            f"; {len(alike)} of them differ in case, blanks or punctuation alone, as {mine} and {other}: "
            "a table as --prompt-map joins them"
        )
    substitution = learn([words_of(prompt) for prompt in a], [words_of(prompt) for prompt in b])
    if not substitution.old or not substitution.new:
        return ""
    old, new = _as_written(substitution.old, a), _as_written(substitution.new, b)
    pattern, replacement = re.escape(old).replace(r"\ ", " "), new.replace("\\", r"\\")
    fitting = len({re.sub(pattern, replacement, prompt) for prompt in a} & set(b))
    return f"; --prompt-map {shlex.quote(f'{pattern}=>{replacement}')} would join {fitting} of them" if fitting else ""


def _letters(prompt: str) -> str:
    """A prompt without case, blanks and punctuation."""
    return "".join(filter(str.isalnum, prompt.casefold()))


def _as_written(words: Words, prompts: Sequence[str]) -> str:
    """The words as the first prompt that has them writes them, with its blanks."""
    pattern = re.compile(r"\s*".join(map(re.escape, words)))
    return next((found[0] for prompt in prompts if (found := pattern.search(prompt))), " ".join(words))


def match_images(sides: Sequence[Side], prompts: Prompts, metrics: Sequence[Metric]) -> Images:
    """Read the images of the joined prompts, with the values of the metrics that are per image."""
    columns = [metric.column for metric in metrics if metric.per == "image"]
    tables = [_images_of(side, prompts, number, columns) for number, side in enumerate(sides)]
    table = pa.concat_tables(tables)
    known = pc.is_valid(table["seed"]).to_numpy()
    items = Items(table["prompt"].to_numpy(), table["seed"].fill_null(0).to_numpy(), table["side"].to_numpy())
    shape = (len(prompts), len(sides))
    each, having = sides_of_seeds(items.only(known), len(sides))
    shared = having.all(axis=1)
    return Images(
        items=items,
        known=known,
        values={name: _finite(table[name]) for name in columns},
        counts=counts_of_prompts(items, shape),
        paired=bool(shared.any()),
        n_without_seed=tuple(np.bincount(items.side[~known], minlength=shape[1]).tolist()),
        n_shared=np.bincount(each.prompt[shared], minlength=shape[0]),
        n_repeated=repeated_seeds(items.only(known)),
    )


def _images_of(side: Side, prompts: Prompts, number: int, columns: Sequence[str]) -> pa.Table:
    """Its images of the joined prompts: prompt, side, seed, and `columns`."""
    names = side.groups["group"].take(pa.array(prompts.joined.rows[:, number])).combine_chunks()
    table = side.results.images_of(side.model, columns)
    table = table.append_column("prompt", pc.index_in(table["group"], value_set=names).cast(pa.int64()))
    table = table.append_column("side", pa.array(np.full(len(table), number)))
    return table.filter(pc.is_valid(table["prompt"])).select(["prompt", "side", "seed", *columns]).combine_chunks()


def _finite(column: pa.ChunkedArray) -> Array:
    values = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def values_of(metric: Metric, sides: Sequence[Side], prompts: Prompts, images: Images) -> Array:
    """One number of every joined prompt and model: (P, S), NaN where there is none.

    Of an image's number the mean over the images of a prompt: of seeds that all models have, where any are shared.
    """
    if metric.per == "prompt":
        rows = prompts.joined.rows
        return np.column_stack([_finite(s.groups[metric.column])[rows[:, n]] for n, s in enumerate(sides)])
    values = images.values[metric.column]
    chosen = np.isfinite(values) & images.known if images.paired else np.isfinite(values)
    items, values = images.items.only(chosen), values[chosen]
    if images.paired:
        shared = shared_seeds(items, len(sides))
        items, values = items.only(shared), values[shared]
    return means_of_prompts(items, values, (len(prompts), len(sides)))


def unmatched(sides: Sequence[Side], prompts: Prompts, images: Images) -> pa.Table:
    """Prompts, and seeds of joined prompts, that some models lack: the columns of UNMATCHED."""
    labels = np.array([side.label for side in sides], dtype=object)
    loose = [(key, np.isin(np.arange(len(sides)), who)) for key, who in prompts.joined.unmatched]
    of_prompts = [
        {"what": "prompt", "prompt": key, "present_in": labels[has].tolist(), "missing_in": labels[~has].tolist()}
        for key, has in loose
    ]
    if any(images.n_without_seed) and not images.paired:
        return pa.Table.from_pylist(of_prompts, UNMATCHED)
    each, having = sides_of_seeds(images.items.only(images.known), len(sides))
    some = ~having.all(axis=1)
    patterns, which = np.unique(having[some], axis=0, return_inverse=True)
    present, missing = (
        pa.array([labels[chosen].tolist() for chosen in kind], pa.list_(pa.string())) for kind in (patterns, ~patterns)
    )
    of_seeds = {
        "what": pa.array(["seed"] * int(some.sum()), pa.string()),
        "prompt": pa.array(prompts.joined.keys, pa.string()).take(pa.array(each.prompt[some])),
        "seed": pa.array(each.seed[some]),
        "present_in": present.take(pa.array(which.ravel())),
        "missing_in": missing.take(pa.array(which.ravel())),
    }
    return pa.concat_tables([pa.Table.from_pylist(of_prompts, UNMATCHED), pa.table(of_seeds, UNMATCHED)])
