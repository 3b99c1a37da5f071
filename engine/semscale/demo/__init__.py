"""Everything end to end, offline: two made-up models draw the same prompts, and both are scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from semscale.model import Progress
from semscale.producers.scenes import generate
from semscale.run import Run, score

PROMPTS = (
    "a large red star on a sandy beach",
    "two small blue cats, watercolor style",
    "three green houses at sunset",
    "a yellow striped fish in the ocean",
    "five purple butterflies on a brick wall",
    "a black car left of a large orange tree",
    "a small pink heart above a blue square",
    "four white flowers under a starry sky",
    "a brown key on a chess board, vintage photo",
    "a turquoise spotted cup, pencil sketch",
)
SEEDS = range(12)
MODELS = {"faithful": 1.0, "careless": 0.7}  # name -> how often an attribute of the prompt is drawn as asked


def run_demo(out: Path, *, on_progress: Callable[[Progress], None] = lambda _: None, command: str = "") -> Run:
    """Draw the images of both models into `out/images` and score them into `out` with the bundled encoder.

    Running it again draws the same images and goes on where it was.
    """
    images = out / "images"
    for model, fidelity in MODELS.items():
        generate(PROMPTS, SEEDS, images, model=model, fidelity=fidelity)
    return score(images, out=out, model="demo", on_progress=on_progress, command=command)


def verdict(run: Run) -> str:
    """One sentence on which of the two models did better, by each score."""
    parts = []
    for name, entry in run.summary["scores"].items():
        ranked = sorted(entry["by_model"].items(), key=lambda item: -item[1]["value"])
        (best, high), (other, low) = ((model, part["value"]) for model, part in ranked)
        parts.append(f"{name}: {best} {high:.1f} beats {other} {low:.1f}")
    return "; ".join(parts)
