"""What to know before a comparison is believed: what has no partner, and noise that is not shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semscale.model import Array
from semscale.report.format import plural
from semscale.report.names import named
from semscale.study.comparison.matching import Images, Prompts, advice
from semscale.study.comparison.measured import FIRST, entry_of
from semscale.study.comparison.sides import Side

EXAMPLES = 3
FEW_PROMPTS = 6  # with fewer no exact signed-rank test can give p below 0.05


def cautions(
    sides: Sequence[Side],
    prompts: Prompts,
    images: Images,
    loose: pa.Table,
    values: Mapping[str, Array],
    *,
    common_seeds: bool = False,
) -> list[str]:
    """A line for everything that a reader should know.

    `loose` is what has no partner, `values` are by metric the (n, S) of the prompts that have one in every model. With
    `common_seeds` scs is of the images of shared seeds.
    """
    counted = {name: len(found) for name, found in values.items()}
    return [
        *_notes(sides),
        *_prompts(sides, prompts, loose),
        *_seeds(sides, prompts, images, loose, common_seeds),
        *_counts(sides, prompts, images),
        *_clamped(sides, values),
        *_few(prompts, counted, common_seeds),
        *_several(counted),
    ]


def _notes(sides: Sequence[Side]) -> list[str]:
    notes = [str((side.results.summary.models.get("image") or {}).get("note") or "") for side in sides]
    return [note for note in dict.fromkeys(notes) if note]


def _prompts(sides: Sequence[Side], prompts: Prompts, loose: pa.Table) -> Iterator[str]:
    lone = loose.filter(pc.equal(loose["what"], "prompt"))
    of_side = [pc.list_element(lone["present_in"], 0)] if len(sides) == 2 and len(lone) else []
    if len(lone):
        told = f"{plural(len(lone), 'prompt')} without a partner, left out: {_some(lone['prompt'].to_pylist())}"
        hint = ""
        if of_side:
            a, b = (lone.filter(pc.equal(of_side[0], side.label))["prompt"].to_pylist() for side in sides)
            told += f" ({len(a)} in {named(sides[0].label)} alone, {len(b)} in {named(sides[1].label)} alone)"
            hint = advice(a, b) if a and b else ""
        yield told + hint
    if prompts.unused:
        useless = plural(len(prompts.unused), "row")
        yield f"{useless} of the prompt map fit nothing: {_some([a for a, _ in prompts.unused])}"


def _seeds(
    sides: Sequence[Side], prompts: Prompts, images: Images, loose: pa.Table, common_seeds: bool
) -> Iterator[str]:
    unknown = [f"{named(side.label)} ({n})" for side, n in zip(sides, images.n_without_seed, strict=True) if n]
    if unknown:
        left = "; scores of images leave them out" if images.paired else ""
        yield f"images without a seed in {', '.join(unknown)}{left}"
    if not images.paired:
        yield (
            "unpaired noise: no seed of any prompt is known to be shared; every image of a prompt counts, and "
            "differences are less sure than with the same seeds"
        )
        return
    lone = loose.filter(pc.equal(loose["what"], "seed"))
    if len(lone):
        where = lone["prompt"].unique().to_pylist()
        others = "scs leaves them out, too" if common_seeds else "scs rests on all images, but with --common-seeds"
        yield (
            f"seeds not shared: {plural(len(lone), 'seed')} in {plural(len(where), 'prompt')} ({_some(where)}); "
            f"scores of images leave them out, {others}"
        )
    if images.n_repeated:
        yield f"{plural(images.n_repeated, 'image')} with the prompt and seed of another of the same model; all count"
    none = [key for key, n in zip(prompts.joined.keys, images.n_shared, strict=True) if not n]
    if none:
        yield f"{plural(len(none), 'prompt')} without a shared seed, left out of scores of images: {_some(none)}"


def _counts(sides: Sequence[Side], prompts: Prompts, images: Images) -> Iterator[str]:
    different = np.flatnonzero(images.counts.min(axis=1) != images.counts.max(axis=1))
    if len(different):
        first = different[0]
        shown = ", ".join(f"{n} in {named(side.label)}" for side, n in zip(sides, images.counts[first], strict=True))
        example = _quoted(prompts.joined.keys[first])
        yield f"{plural(len(different), 'prompt')} with different numbers of images, as {example}: {shown}"


def _clamped(sides: Sequence[Side], values: Mapping[str, Array]) -> Iterator[str]:
    """Means that `score` raises to 0 by the preset of a metric, and that count as they are here."""
    for name, found in values.items():
        entry, below = entry_of(sides[0], name), int((found < 0).sum())
        if below and (entry.get("params") or {}).get("clamp") == "mean":
            yield (
                f"{name}: {plural(below, 'value')} of a prompt below 0, for values of single images below 0 count as "
                f"they are here; `score` shows 0 for a mean below 0 (preset {entry.get('preset')})"
            )


def _few(prompts: Prompts, counted: Mapping[str, int], common_seeds: bool) -> Iterator[str]:
    for name, n in counted.items():
        if n < len(prompts):
            why = "; with --common-seeds scs needs two shared seeds" if common_seeds and _is_scs(name) else ""
            yield f"{name}: {plural(len(prompts) - n, 'prompt')} left out, without a value in every model{why}"
    least = min(counted.values(), default=0)
    if least < FEW_PROMPTS:
        yield f"{plural(least, 'prompt')}: with fewer than {FEW_PROMPTS} no signed-rank test can show a difference"


def _several(counted: Mapping[str, int]) -> Iterator[str]:
    if len(counted) > 1:
        yield (
            f"{len(counted)} metrics: their p are not adjusted for one another, so that one below 0.05 among them says "
            "less than it does alone"
        )


def _is_scs(name: str) -> bool:
    return name.split("@")[0] == FIRST


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else ""
    return ", ".join(map(_quoted, names[:EXAMPLES])) + more


def _quoted(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else f"{text[: limit - 1]}…")
