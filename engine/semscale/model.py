"""The value types that cross a boundary between rooms. Imported by all, imports only numpy.

Shape letters, used in every docstring:

    B  images or texts in a batch       H, W  height and width in pixels
    C  colour channels (always 3, RGB)  D     embedding dimension
    N  items                            Q     queries
    K  neighbours                       T     tokens of a text
    G  groups                           n     images in one group
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy.typing as npt

from semscale.errors import ModelError

Array = npt.NDArray[Any]
SPEC_FORMAT = 1
MAX_SIDE = 4096  # pixels of an encoder's input; a strip of 12 times that is still resized in memory
DECODES = ("exact", "close", "fast", "gpu")  # ways of decoding, the default first
MOST_LETTERS = 60  # of a name in a notebook
BAR, LABEL = 140, 42  # pixels of a drawn interval's axis, and beside it of the numbers at its ends
DTYPES = ("float32", "float16")  # of stored vectors, the default first


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, in items."""

    done: int
    failed: int
    total: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded image as a source delivers it, with what is known about it."""

    key: str  # stable id: the path relative to the source
    uri: str  # where the bytes came from
    image: bytes  # the encoded file
    group: str  # the text where there is one, else the parent folder
    text: str | None = None
    model: str | None = None
    seed: int | None = None
    fingerprint: str = ""  # changes when the file or what is known of it does; "" where nobody can tell


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that gave no embedding, and why: a row of the errors table."""

    key: str
    uri: str
    code: str  # stable reason code, see errors.InputError
    message: str
    group: str | None = None  # what the source knows of it all the same
    text: str | None = None
    model: str | None = None
    seed: int | None = None
    fingerprint: str = ""  # of the Sample; "" where it should be tried again whatever happens


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work: a slice of the plan that becomes one set of files in the store."""

    index: int
    start: int  # first position in the plan
    stop: int  # one past the last

    @property
    def count(self) -> int:
        """Items in this shard."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How pixels become encoder input. Everything after `crop` (rescale, mean, std) happens inside the graph."""

    size: int  # the shortest side after resizing, pixels; with "stretch" both
    crop: int  # side of the centre crop, pixels
    filter: str  # how to resample, a name of preprocess.FILTERS
    mean: tuple[float, float, float]  # of channels scaled to 0..1
    std: tuple[float, float, float]
    geometry: Literal["crop", "stretch"] = "crop"  # keep the proportions and crop, or make it square

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            if not 1 <= getattr(self, name) <= MAX_SIDE:
                raise ValueError(f"{name} of {getattr(self, name)} pixels; it must be from 1 to {MAX_SIDE}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """How text becomes token ids."""

    length: int  # T, the fixed number of ids
    eos: int  # id of the end-of-text token, at which CLIP pools
    pad: int  # id that fills the rest


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The contract between export and engine: `model.json`, beside each `model.onnx`."""

    name: str  # hub id, or name of the checkpoint folder
    sha256: str  # of the checkpoint's weight files
    kind: Literal["image", "text"]
    input_shape: tuple[int, ...]  # without the batch: (H, W, 3) or (T,)
    input_dtype: str  # "uint8", "float32" (0 to 255, where resizing does not round) or "int64"
    dim: int  # D
    normalized: bool  # rows have unit L2 norm; where lengths carry meaning, as for the Fréchet distance, they have not
    precision: str  # "fp32", "fp16", ...
    preprocess: Preprocess | None = None  # image towers
    tokens: Tokens | None = None  # text towers
    note: str = ""  # a warning that every report shows, for example of a demo encoder
    graph: str = ""  # SHA-256 of model.onnx and the weights beside it; "" where there is none

    def to_json(self) -> str:
        """Return the text of `model.json`."""
        return json.dumps({"format": SPEC_FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ModelSpec:
        """Read the text of `model.json`; `where` names the file in errors.

        Raises ModelError when it is not a specification this version understands.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != SPEC_FORMAT:
                raise ModelError(f"{where}: made by another version of semscale; export the model again")
            if values["preprocess"] is not None:
                raw = values["preprocess"]
                values["preprocess"] = Preprocess(**{**raw, "mean": tuple(raw["mean"]), "std": tuple(raw["std"])})
            if values["tokens"] is not None:
                values["tokens"] = Tokens(**values["tokens"])
            values["input_shape"] = tuple(values["input_shape"])
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{where}: not a model specification ({error!r}); export the model again") from error


class Source(Protocol):
    """Where images come from. The listing is fixed when the source is opened; it may hold millions, so it is read in
    slices."""

    uri: str
    layout: str  # how keys were understood, in words
    n_ignored: int  # files that are not images
    n_strays: int  # images that do not fit the layout and are grouped by folder

    def __len__(self) -> int:
        """Items in the listing."""
        ...

    def keys(self, start: int, stop: int) -> list[str]:
        """Stable ids of a slice of the listing, in stable order; each occurs once in the whole listing."""
        ...

    def uris(self, start: int, stop: int) -> list[str]:
        """Where each item of a slice lies, aligned with `keys`."""
        ...

    def read(self, indices: Iterable[int]) -> Iterator[Sample | Failure]:
        """One Sample or Failure for each index, in the order given; rising indices are read in one pass."""
        ...

    def fingerprint(self, index: int) -> str:
        """The fingerprint that `read` gives this item as it was listed or is now, found without reading it."""
        ...


class Encoder(Protocol):
    """The one back-end protocol. Called from one thread; pads batches itself."""

    spec: ModelSpec

    def encode(self, inputs: Array) -> Array:
        """(B, *spec.input_shape) of spec.input_dtype -> (B, D) float32."""
        ...

    def close(self) -> None:
        """Free what the encoder holds."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, with the method that made it spelled out."""

    low: float
    high: float
    level: float  # 0.95
    method: str


@dataclass(frozen=True, slots=True)
class Score:
    """One number, how sure it is, and every parameter behind it."""

    metric: str
    value: float
    n: int  # items the value rests on
    interval: Interval | None
    higher_is_better: bool
    params: Mapping[str, Any]

    def _repr_html_(self) -> str:
        return headline([("", self)])


def headline(rows: Iterable[tuple[str, Score]]) -> str:
    """Return scores as a table for a notebook, each drawn with its interval on the axis of its metric; no script.

    `rows` are models, "" for none, and scores.
    """
    told = list(rows)
    named = any(model for model, _ in told)
    heads = ["score", *(["model"] if named else []), "value", "interval", "n", "", ""]
    axes = {name: _axis([score for _, score in told if score.metric == name]) for name in {s.metric for _, s in told}}
    lines = [_line(score, [model] if named else [], axes[score.metric]) for model, score in told]
    return f"<table>{_row(_cells('th', heads))}{''.join(lines)}</table>"


def _line(score: Score, model: list[str], axis: tuple[float, float]) -> str:
    better = {True: "higher is better", False: "lower is better"}.get(score.higher_is_better, "neither end is better")
    told = [score.metric, *model, _number(score.value), _between(score.interval), f"{score.n:,}", better]
    return _row(f"{_cells('td', told)}<td>{_drawn(score, axis)}</td>")


def _between(interval: Interval | None) -> str:
    return "–" if interval is None else f"{_number(interval.low)} to {_number(interval.high)}"


def _axis(scores: list[Score]) -> tuple[float, float]:
    """What all values and intervals of one metric lie on: from 0 to its scale, where it has one and they are inside."""
    ends = [end for s in scores for end in (s.value, *((s.interval.low, s.interval.high) if s.interval else ()))]
    known = [end for end in ends if math.isfinite(end)] or [0.0]
    scale = scores[0].params.get("scale")
    if scale and min(known) >= 0 and max(known) <= scale:
        return 0.0, float(scale)
    return min(known), max(known)


def _drawn(score: Score, axis: tuple[float, float]) -> str:
    """A stroke at the value and a bar over its interval, between the ends of the axis, in the colour of the text."""
    low, high = axis
    if not (math.isfinite(score.value) and low < high):
        return ""
    ends = (score.value, score.value) if score.interval is None else (score.interval.low, score.interval.high)
    x, left, right = (LABEL + BAR * (min(max(at, low), high) - low) / (high - low) for at in (score.value, *ends))
    first, last = f"{low:.4g}", f"{high:.4g}"
    told = f"{_number(score.value)}, interval {_between(score.interval)}, between {first} and {last}"
    text = '<text y="12" font-size="9" fill="currentColor"'
    return (
        f'<svg width="{BAR + 2 * LABEL}" height="18" role="img" aria-label="{told}">'
        f'{text} x="{LABEL - 5}" text-anchor="end">{first}</text>{text} x="{LABEL + BAR + 5}">{last}</text>'
        f'<path d="M{LABEL} 9h{BAR}" stroke="currentColor" stroke-opacity=".3"/>'
        f'<path d="M{left:.1f} 9H{right:.1f}" stroke="currentColor" stroke-width="7" stroke-opacity=".45"/>'
        f'<path d="M{x:.1f} 2v14" stroke="currentColor" stroke-width="2"/></svg>'
    )


def _number(value: float) -> str:
    return f"{value:#.4g}".rstrip(".") if math.isfinite(value) else "–"


def _cells(tag: str, texts: list[str]) -> str:
    cut = (text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…" for text in texts)
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in cut)


def _row(cells: str) -> str:
    return f"<tr>{cells}</tr>"
