"""What is missing for a metric, said before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semscale.encoders import load_spec
from semscale.errors import UsageError
from semscale.heads import CLASSIFIER, read_classifier, read_linear_head
from semscale.measures.asked import Asked
from semscale.measures.captions import read_captions
from semscale.measures.compute import Beside, early_pairs
from semscale.measures.labels import read_labels
from semscale.measures.measure import Need
from semscale.measures.pairs_table import read_pairs, refuse_missing
from semscale.measures.references import is_reference, open_references
from semscale.model import Failure, Source
from semscale.options import Options
from semscale.perceptual import open_distance
from semscale.planning import index_of

LOOKED_AT = 16  # images, for a text


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to compute, and what was given for it; all of it is there."""

    asked: list[Asked]
    beside: Beside
    images: list[str]  # of the reference set, still to be embedded
    head_dim: int | None = None  # numbers of an embedding that the linear head takes


def wanted(chosen: Options) -> Wanted:
    """Read what was asked for and what was given. Raises UsageError for whatever is missing or not needed."""
    asked = chosen.asked()
    present = {
        Need.REFERENCE: bool(chosen.reference),
        Need.ROWS: bool(chosen.reference),
        Need.PAIRS: chosen.pairs is not None,
        Need.HEAD: chosen.head is not None,
        Need.LABELS: chosen.labels is not None,
        Need.CAPTIONS: chosen.captions is not None,
        Need.FLOAT32: chosen.dtype == "float32",
    }
    for one in asked:
        for need in Need:
            if need in one.measure.needs and not present.get(need, True):
                raise UsageError(f"{one.label} needs {need.value}")
    _refuse_unused(chosen, asked)
    for one in asked:
        if one.measure.folder:
            _check_distance(one)
    stored = [Path(path) for path in chosen.reference if is_reference(Path(path))]
    images = [path for path in chosen.reference if not is_reference(Path(path))]
    pairs = None if chosen.pairs is None else read_pairs(chosen.pairs)
    head_dim = None if chosen.head is None else read_linear_head(chosen.head).weight.size
    if images and chosen.settings.part is not None:
        raise UsageError(f"--shards and --reference {images[0]}: embed the reference first, and give its store")
    labels = None if chosen.labels is None else read_labels(chosen.labels, chosen.templates)
    captions = None if chosen.captions is None else read_captions(chosen.captions)
    head = None if chosen.head is None else Path(chosen.head)
    return Wanted(
        asked,
        Beside(open_references(stored), pairs, early_pairs(asked, pairs), labels, captions, head),
        images,
        head_dim,
    )


def _refuse_unused(chosen: Options, asked: Sequence[Asked]) -> None:
    given = {
        "--reference": (Need.REFERENCE, bool(chosen.reference)),
        "--pairs": (Need.PAIRS, chosen.pairs is not None),
        "--head": (Need.HEAD, chosen.head is not None),
        "--captions": (Need.CAPTIONS, chosen.captions is not None),
        "--labels": (Need.LABELS, chosen.labels is not None),
        "--templates": (Need.LABELS, chosen.templates is not None),
    }
    needed = {need for one in asked for need in one.measure.needs}
    for option, (need, present) in given.items():
        if present and need not in needed:
            raise UsageError(
                f"{option}: no metric that was asked for uses it; name one with --metrics, or leave it out"
            )


def _check_distance(asked: Asked) -> None:
    spec = open_distance(asked.encoder, threads=1).spec
    if spec.net != asked.preset:
        raise UsageError(f"{asked.label}@{asked.encoder}: holds the net {spec.net}; ask for lpips:{spec.net}")


def check_source(wanted: Wanted, source: Source) -> None:
    """Raise UsageError where images of pairs are not in the source, or texts are needed and no image seems to have one.

    Few images are looked at, all over the source: it may hold some without a text.
    """
    pairs = wanted.beside.pairs
    if pairs is not None:
        found = index_of(source).find(pairs.keys).tolist()
        refuse_missing(pairs, [key for key, place in zip(pairs.keys, found, strict=True) if place < 0])
    texts = [one.label for one in wanted.asked if Need.TEXTS in one.measure.needs]
    if texts and len(source):
        some = source.read(range(0, len(source), -(-len(source) // LOOKED_AT)))
        if not any(isinstance(one, Failure) or one.text is not None for one in some):
            raise UsageError(f"{texts[0]} needs {Need.TEXTS.value}; these images have none")


def check_models(wanted: Wanted, models: dict[str, Path]) -> None:
    """Raise UsageError where an exported model is not one that a metric can take; `models` by encoder as asked for."""
    for one in wanted.asked:
        if one.measure.encodes:
            _check_model(one, models[one.encoder], wanted)


def _check_model(one: Asked, model: Path, wanted: Wanted) -> None:
    spec = load_spec(model / "image")
    if one.measure.only and not spec.name.startswith(one.measure.only):
        raise UsageError(
            f"{one.label}: {one.name} is of {one.measure.only} alone, and {spec.name} is another "
            "encoder; kid, cmmd, precision and others take any"
        )
    namesake = one.measure.encoder_of(one.preset)
    if spec.name != namesake and spec.name in one.measure.encoders.values():
        raise UsageError(f"{one.name}:{one.preset} resizes as {namesake} does, not {spec.name}; ask for its own preset")
    if Need.HEAD in one.measure.needs and wanted.head_dim != spec.dim:
        raise UsageError(
            f"{one.label}: {wanted.beside.head} is for embeddings of {wanted.head_dim} numbers, and {spec.name} gives "
            f"{spec.dim}; use the encoder that the head was trained on"
        )
    if one.name == "fid-clip" and not spec.normalized:
        raise UsageError(f"{one.label}: is of embeddings of length 1, as CLIP's, and {spec.name} gives raw ones")
    if Need.TEXT_TOWER in one.measure.needs and not (model / "text" / "model.json").exists():
        raise UsageError(f"{one.label} needs {Need.TEXT_TOWER.value}; {spec.name} reads none")
    if one.name in {"inception-score", "classifier-score"} and not (model / "image" / CLASSIFIER).exists():
        read_classifier(model / "image")
    if Need.REFERENCE not in one.measure.needs:
        return
    known = wanted.beside.references
    assert known is not None
    if not wanted.images:
        known.refuse_other(spec, rows=Need.ROWS in one.measure.needs)
    elif known.store(spec) is not None or known.saved(spec) is not None:
        raise UsageError(f"--reference {wanted.images[0]}: there is another reference by {spec.name}; give one of them")


def encoders(asked: Iterable[Asked]) -> list[str]:
    """The encoders that metrics need, in the order of the metrics; "" is `--model`."""
    return list(dict.fromkeys(one.encoder for one in asked if one.measure.encodes)) or [""]
