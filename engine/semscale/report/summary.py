"""`summary.json` as values: what a run found, scored and was made with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale.errors import StoreError, UsageError, explained
from semscale.report.format import as_float

SUMMARY_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """One score of one model, or of all: the value, how sure it is, and what it rests on. Undefined numbers are NaN."""

    value: float
    low: float
    high: float
    level: float  # of the interval, 0.95
    method: str  # of the interval
    n_groups: int
    n_images: int
    median: float
    sd: float  # ddof 1
    corrected: float
    n_clamped: int
    n_excluded: int  # groups with fewer than two valid images
    n_invalid: int
    n: int  # what the value rests on, in the unit of its score
    warnings: tuple[str, ...]  # why not to trust it


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """One score over the whole run and for each model."""

    metric: str  # "scs", "clip-score", "fid:clean-fid"
    name: str  # of the metric, without preset and encoder
    per: str  # what `n` of an estimate counts: "image", "group", "pair"
    encoder: str  # what made the embeddings, with its resize; "" where pixels were compared
    overall: Estimate
    by_model: Mapping[str, Estimate]
    higher_is_better: bool | None  # None where neither end is better
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """All of `summary.json`."""

    n_found: int
    n_ok: int
    n_failed: int
    n_ignored: int
    n_groups: int
    n_truncated_texts: int
    n_invalid: int
    images_per_second: float
    out: str  # the folder, as it was given
    source: str
    layout: str
    backend: str
    scores: tuple[ScoreSummary, ...]
    failures: Mapping[str, int]
    seconds: Mapping[str, float]
    models: Mapping[str, Mapping[str, Any]]  # "image" and, where there are texts, "text": ModelSpec as a mapping
    parameters: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def score(self, metric: str) -> ScoreSummary | None:
        """Return the score named `metric`, or None when the run has none."""
        return next((score for score in self.scores if score.metric == metric), None)


def read_summary(path: Path) -> Summary:
    """Read `summary.json`.

    Raises UsageError when there is no such file, StoreError when it cannot be read as a summary of this version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != SUMMARY_FORMAT:
            raise StoreError(f"{path}: format {raw['format']!r} is of another version of semscale; score again")
        return summary_of(raw)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; run `semscale score` into this folder first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not a summary of a run ({explained(error)}); score again") from error


def as_raw(summary: Summary) -> dict[str, Any]:
    """Return what `summary_of` reads as the same summary without its scores."""
    return {**dataclasses.asdict(dataclasses.replace(summary, scores=())), "scores": {}}


def summary_of(raw: Mapping[str, Any]) -> Summary:
    """Return the values of a `summary.json`. Raises KeyError, TypeError, ValueError and AttributeError for others."""
    return Summary(
        **{name: int(raw[name]) for name in ("n_found", "n_ok", "n_failed", "n_ignored", "n_groups")},
        n_truncated_texts=int(raw.get("n_truncated_texts") or 0),
        n_invalid=int(raw.get("n_invalid") or 0),
        images_per_second=as_float(raw.get("images_per_second")),
        **{name: str(raw.get(name) or "") for name in ("out", "source", "layout", "backend")},
        scores=tuple(_score(name, value) for name, value in raw["scores"].items()),
        failures={str(code): int(n) for code, n in (raw.get("failures") or {}).items()},
        seconds={str(stage): as_float(value) for stage, value in (raw.get("seconds") or {}).items()},
        models={kind: spec for kind, spec in (raw.get("models") or {}).items() if spec},
        parameters=dict(raw.get("parameters") or {}),
        provenance=dict(raw.get("provenance") or {}),
    )


def _score(metric: str, raw: Mapping[str, Any]) -> ScoreSummary:
    return ScoreSummary(
        metric=metric,
        name=str(raw.get("name") or metric),
        per=str(raw.get("per") or "image"),
        encoder=_encoder(raw.get("encoder") or {}),
        overall=_estimate(raw),
        by_model={str(model): _estimate(value) for model, value in (raw.get("by_model") or {}).items()},
        higher_is_better=raw.get("higher_is_better", True),
        params=dict(raw.get("params") or {}),
    )


def _estimate(raw: Mapping[str, Any]) -> Estimate:
    # `n` counts what the score averages: groups beside an "n_images", images beside an "n_groups".
    n = int(raw.get("n") or 0)
    return Estimate(
        **{name: as_float(raw.get(name)) for name in ("value", "low", "high", "median", "sd", "corrected")},
        level=float(raw.get("level") or 0.95),
        method=str(raw.get("method") or ""),
        n_groups=int(raw.get("n_groups", n) or 0),
        n_images=int(raw.get("n_images", n) or 0),
        **{name: int(raw.get(name) or 0) for name in ("n_clamped", "n_excluded", "n_invalid")},
        n=n,
        warnings=tuple(map(str, raw.get("warnings") or ())),
    )


def _encoder(raw: Mapping[str, Any]) -> str:
    return ", ".join(str(raw[name]) for name in ("name", "precision", "resize") if raw.get(name))
