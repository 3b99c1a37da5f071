"""The commands about pairs of embeddings: `semscale pairs`, `dedup` and `novelty`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from semscale.cli_output import emit, output_options
from semscale.errors import UsageError

if TYPE_CHECKING:
    from semscale.console import Console
    from semscale.model import Score
    from semscale.moves import Copy

Device = Literal["auto", "cpu", "cuda"]
STORE = click.Path(path_type=Path, file_okay=False, exists=True)
OUT = click.Path(path_type=Path, dir_okay=False)
MAX_PAIRS = click.option("--max-pairs", type=click.IntRange(1), default=50_000_000, show_default=True,
                         help="Refuse when more are expected, and stop when more are found.")  # fmt: skip
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                      help="Where to compare; results are the same. 'auto': on a GPU if there is one.")  # fmt: skip


@click.command()
@click.argument("store", type=STORE)
@click.option("--threshold", type=click.FloatRange(-1, 1), metavar="T", help="All pairs with a cosine of T or more.")
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="The K most similar images of each image.")
@click.option("--within", type=click.Choice(["group"]), help="Only pairs inside a group.")
@click.option("--across", type=click.Choice(["group"]), help="Only pairs of different groups.")
@click.option("--between", type=STORE, metavar="OTHER_STORE", help="Pairs of an image of STORE and one of OTHER_STORE.")
@click.option("-o", "--out", type=OUT, required=True, help="Parquet file for the table.")
@MAX_PAIRS
@DEVICE
@output_options
def pairs(
    store: Path,
    threshold: float | None,
    top_k: int | None,
    within: str | None,
    across: str | None,
    between: Path | None,
    out: Path,
    max_pairs: int,
    device: Device,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find all similar pairs of images in STORE, exactly, or the nearest neighbours of every image.

    STORE is the folder of a store, or the results of `score` where they hold one. With --threshold the table has key_a,
    key_b, similarity: each unordered pair once, never an image with itself. With --top-k it has key, neighbour, rank,
    similarity: lists are directed, so a pair is there once from each side on whose list it is; ties go to the lower
    key. A group is one that scores are of. A command that was stopped goes on where it was when it is given again.
    """
    from semscale.console import Console
    from semscale.joins import Sides, write_neighbours, write_pairs
    from semscale.keyed import comparable, count_invalid, open_keyed, refuse_inside
    from semscale.search.devices import tuning_on

    if (threshold is None) == (top_k is None):
        raise UsageError("give either --threshold or --top-k")
    if sum(option is not None for option in (within, across, between)) > 1:
        raise UsageError("give one of --within, --across and --between")
    console = Console(quiet=quiet)
    left, right = open_keyed(store), None if between is None else open_keyed(between)
    refuse_inside(out, left, right)
    notes = [] if right is None else comparable(left.store, right.store)
    for note in notes:
        console.say(note)
    sides, tuning = Sides(left, right, "within" if within else "across" if across else None), tuning_on(device)
    with console.progress() as tell:
        if threshold is not None:
            done = write_pairs(
                out, sides, threshold, max_pairs=max_pairs, tuning=tuning, on_progress=tell, say=console.say
            )
        else:
            assert top_k is not None
            done = write_neighbours(out, sides, top_k, max_pairs=max_pairs, tuning=tuning, on_progress=tell)
    what = "pairs" if top_k is None else "neighbours"
    invalid = [count_invalid(side) for side in (left, right) if side is not None]
    left_out = f" ({sum(invalid)} without a valid vector are in none)" if any(invalid) else ""
    console.say(f"{done.rows} {what} of {len(left)} images{left_out} in {out}")
    line = {"out": str(out), "n_images": len(left), "n_other": None if right is None else len(right)}
    line |= {"n_invalid": invalid[0], "n_other_invalid": None if right is None else invalid[1]}
    asked = {"threshold": threshold, "top_k": top_k, "groups": sides.mode, "notes": notes}
    emit(as_json, {**line, **asked, **dataclasses.asdict(done)})


@click.command()
@click.argument("store", type=STORE)
@click.option("--threshold", type=click.FloatRange(-1, 1), metavar="T", help="Images with a cosine of T are copies.")
@click.option("--linkage", type=click.Choice(["single", "complete"]), default="single", show_default=True,
              help="'single': linked by a chain of copies; 'complete': no pair of a group is below T.")  # fmt: skip
@click.option("--keep", type=click.Choice(["largest", "first"]), default="largest", show_default=True,
              help="Of a group: the most pixels and then the first key, or the first key.")  # fmt: skip
@click.option("-o", "--out", type=OUT, default="dedup.parquet", show_default=True, help="Parquet file for the table.")
@click.option("--apply", "how", type=click.Choice(["list", "move", "undo"]),
              help="List the files that are not kept, move them to --to, or move them back.")  # fmt: skip
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where files are moved to, under the paths that they have in the source.")  # fmt: skip
@MAX_PAIRS
@DEVICE
@output_options
def dedup(
    store: Path,
    threshold: float | None,
    linkage: str,
    keep: str,
    out: Path,
    how: str | None,
    to: Path | None,
    max_pairs: int,
    device: Device,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find groups of near-copies in STORE, and say which image of each to keep.

    The table has a row for every image of a group of two or more: key, uri, group_id, kept, similarity to the one that
    is kept, reason. Nothing is ever deleted or overwritten; --apply move records every move in DIR, and --apply undo
    takes them back.
    """
    from semscale.console import Console
    from semscale.dedup import Rules, find_copies, table_of, to_move, write_copies
    from semscale.keyed import open_keyed, refuse_inside
    from semscale.search.devices import tuning_on

    console = Console(quiet=quiet)
    if how in ("move", "undo") and to is None:
        raise UsageError(f"--apply {how} needs --to DIR")
    if how == "undo":
        _undo(console, to, as_json=as_json)
        return
    if threshold is None:
        raise UsageError("give --threshold, the cosine from which on two images are copies")
    images, rules = open_keyed(store), Rules(threshold, linkage, keep)  # type: ignore[arg-type]
    tuning = tuning_on(device)
    for place in (out, to):
        refuse_inside(place, images)
    with console.progress() as tell:
        found = find_copies(images, rules, max_pairs=max_pairs, tuning=tuning, on_progress=tell, say=console.say)
    write_copies(out, table_of(images, found, rules))
    copies = [] if how is None else to_move(images, found)
    moved = _applied(console, copies, how, to)
    surplus = int(found.surplus.sum())
    console.say(f"{surplus} copies in {found.n_groups} groups, of {len(images)} images, in {out}")
    counts = {"n_images": len(images), "n_invalid": found.n_invalid, "n_groups": found.n_groups, "n_copies": surplus}
    line = {"out": str(out), **dataclasses.asdict(rules), **counts, "n_moved": len(moved) if how == "move" else 0}
    emit(as_json, {**line, "files": [copy.uri for copy in copies]})


def _applied(console: Console, copies: Sequence[Copy], how: str | None, to: Path | None) -> list[Any]:
    """List or move what is not kept; return the moves."""
    from semscale.moves import apply_moves, plan_moves

    if to is None:
        for copy in copies:
            console.say(_visible(copy.uri))
        return []
    moves = plan_moves(copies, to)
    for move in moves:
        console.say(f"{_visible(str(move.source))} -> {_visible(str(move.target))}")
    if how == "move" and moves:
        apply_moves(moves, to)
    return moves


def _undo(console: Console, to: Path | None, *, as_json: bool) -> None:
    from semscale.moves import undo_moves

    assert to is not None
    undone = undo_moves(to)
    console.say(f"{undone.back} files moved back from {to}")
    for gone in undone.gone:
        console.say(f"gone, neither there nor where it came from: {_visible(str(gone))}")
    emit(as_json, {"to": str(to), "n_moved_back": undone.back, "gone": list(map(str, undone.gone))})


def _visible(name: str) -> str:
    return name if name.isprintable() else ascii(name)


@click.command()
@click.argument("store", type=STORE)
@click.option("--reference", type=STORE, required=True, help="Store of the images that may have been copied.")
@click.option("--threshold", type=click.FloatRange(-1, 1), metavar="T",
              help="Images with a cosine of T to a reference image are copies of it.")  # fmt: skip
@click.option("-k", type=click.IntRange(1), default=1, show_default=True, help="Nearest reference images to list.")
@click.option("-o", "--out", type=OUT, default="novelty.parquet", show_default=True, help="Parquet file for the table.")
@DEVICE
@output_options
def novelty(
    store: Path,
    reference: Path,
    threshold: float | None,
    k: int,
    out: Path,
    device: Device,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the nearest reference images of every image in STORE: is it new, or memorised?

    Says which share of the images are near-copies at the threshold, and the authenticity percentage of Alaa et al.
    (2022): an image is authentic when it is farther from its nearest reference image than that one is from its own
    nearest other reference image, as Euclidean distance between vectors of length 1. The table has key, rank,
    nearest_key, similarity, copy, authentic.
    """
    from semscale.console import Console
    from semscale.keyed import comparable, open_keyed, refuse_inside
    from semscale.novelty import find_novelty, write_novelty
    from semscale.search.devices import tuning_on

    console, tuning = Console(quiet=quiet), tuning_on(device)
    images, others = open_keyed(store), open_keyed(reference)
    refuse_inside(out, images, others)
    notes = comparable(images.store, others.store)
    for note in notes:
        console.say(note)
    with console.progress() as tell:
        found = find_novelty(images, others, k=k, threshold=threshold, tuning=tuning, on_progress=tell)
    write_novelty(out, images, others, found)
    valid = int(found.valid.sum())
    copied, authentic = found.copies(), found.authenticity()
    for score in filter(None, (copied, authentic)):
        console.say(_told(score))
    console.say(f"{valid} images compared with {len(others)} reference images, in {out}")
    line = {"out": str(out), "n_images": len(images), "n_invalid": len(images) - valid, "n_reference": len(others)}
    scores = {"near_copies": _as_json(copied), "authenticity": _as_json(authentic)}
    emit(as_json, {**line, "k": k, "threshold": threshold, "notes": notes, **scores})


def _told(score: Score) -> str:
    scale = 100.0 if score.metric == "near-copies" else 1.0  # the other is a percentage
    numbers = f"{score.metric}: {score.value * scale:.4g} %"
    if score.interval is None:
        return f"{numbers} of {score.n} images"
    low, high = score.interval.low * scale, score.interval.high * scale
    return f"{numbers} ({low:.4g} to {high:.4g}) of {score.n} images"


def _as_json(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else dataclasses.asdict(score)
