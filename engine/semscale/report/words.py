"""What each number means, in words: its range, its direction, and when not to trust it."""

from __future__ import annotations

from dataclasses import dataclass

from semscale.report.format import DASH, clean, count, number, plural, span, value_text
from semscale.report.summary import Estimate, ScoreSummary, Summary


@dataclass(frozen=True, slots=True)
class Meaning:
    """The words of one score."""

    title: str
    short: str  # on an axis
    what: str
    caution: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One number with its meaning."""

    name: str
    value: str
    meaning: str


MEANINGS = {
    "scs": Meaning(
        title="Semantic consistency (SCS)",
        short="SCS",
        what="How alike the images of one group are: 100 × the cosine similarity of their embeddings, averaged over "
        "all pairs in the group, then over groups, each group with the same weight.",
        caution="A collapsed model, which draws the same image every time, scores 100. Read SCS together with the CLIP "
        "score, which asks whether the images show what the text says.",
    ),
    "clip-score": Meaning(
        title="CLIP score",
        short="CLIP score",
        what="How well each image matches its text: the scaled cosine similarity of the two embeddings, averaged over "
        "images.",
        caution="Compare only values of the same encoder and the same preset: others have another scale.",
    ),
}


def meaning(metric: str) -> Meaning:
    """Return the words of a score; one without words of its own is called by its name."""
    return MEANINGS.get(metric) or Meaning(metric, metric, "See the documentation of this metric.", "")


def bounds(score: ScoreSummary) -> tuple[float, float]:
    """Return the lowest and the highest value a score can take."""
    scale = float(score.params.get("scale") or 100.0)
    return (-scale if score.params.get("clamp") == "none" else 0.0, scale)


def direction(score: ScoreSummary) -> str:
    """Return the range of a score and which end is better."""
    return _range(*bounds(score), score)


def _item_direction(score: ScoreSummary) -> str:
    # Where only means are clamped, as torchmetrics does it, one image may still be below zero.
    low, high = bounds(score)
    return _range(-high if score.params.get("clamp") == "mean" else low, high, score)


def _range(low: float, high: float, score: ScoreSummary) -> str:
    return f"{low:g} to {high:g}, {'higher' if score.higher_is_better else 'lower'} is better".replace("-", "−")


def facts(score: ScoreSummary) -> list[Fact]:
    """Return every number of a score's headline beside the value itself, each with its range and direction."""
    overall, is_scs = score.overall, score.metric == "scs"
    unit = "groups" if is_scs else "images"
    found = [
        Fact("Median", number(overall.median), f"the middle one of the {unit}; {_item_direction(score)}"),
        Fact("Standard deviation", number(overall.sd), f"spread of the {unit}; 0 and up, neither end is better"),
        Fact("Groups", count(overall.n_groups), "averaged; more make the interval narrower"),
        Fact("Images", count(overall.n_images), "with a valid embedding"),
    ]
    if is_scs:
        corrected = "0: no more alike than images of different groups; 100: identical; higher is more alike"
        clamped = "pairs of images with a similarity below 0, which count as 0; fewer is better"
        found.insert(2, Fact("Baseline-corrected", number(overall.corrected), corrected))
        found.append(Fact("Clamped pairs", count(overall.n_clamped), clamped))
    return found


def interval_words(estimate: Estimate) -> str:
    """Return the interval and what it says, or why there is none."""
    if span(estimate.low, estimate.high) == DASH:
        return "no interval: too few groups to tell how sure this is"
    return f"{100 * estimate.level:g} % interval {span(estimate.low, estimate.high)}"


def method_words(score: ScoreSummary) -> str:
    """Return how the interval was made, and every parameter of the score."""
    method = f"Interval: {score.overall.method}." if score.overall.method else "Interval: none."
    parameters = ", ".join(f"{name} = {value_text(value, 120)}" for name, value in score.params.items())
    return f"{method} Parameters: {parameters}." if parameters else method


def encoder_warnings(summary: Summary) -> list[str]:
    """Return the notes that came with the encoders, each once."""
    return list(dict.fromkeys(clean(str(s["note"])) for s in summary.models.values() if s.get("note")))


def cautions(summary: Summary) -> list[str]:
    """Return a line for everything that makes the numbers rest on less than they seem to."""
    scs = summary.score("scs")
    failed, texts = plural(summary.n_failed, "input"), plural(summary.n_truncated_texts, "text")
    lines = [
        (summary.n_failed, f"{failed} of {count(summary.n_found)} gave no score: see Failures."),
        (summary.n_invalid, f"{plural(summary.n_invalid, 'embedding')} of zero length or not a number: left out."),
        (summary.n_truncated_texts, f"{texts} longer than the encoder reads: the end was cut off and not scored."),
    ]
    return [text for applies, text in [*(_scs_cautions(scs.overall) if scs else []), *lines] if applies]


def _scs_cautions(overall: Estimate) -> list[tuple[int, str]]:
    pairs, excluded = plural(overall.n_clamped, "pair"), plural(overall.n_excluded, "group")
    averaged = "Only one group" if overall.n_groups else "No group"
    few = f"{averaged} could be averaged: there is no interval between groups, so nothing tells "
    return [
        (overall.n_groups < 2, few + "what other groups would score."),
        (overall.n_excluded, f"{excluded} with fewer than two valid images: not in the mean of SCS."),
        (overall.n_clamped, f"{pairs} of images with a similarity below 0: counted as 0 in SCS."),
    ]
