"""Case `startup`: what a command costs before it does anything, in fresh processes.

Regime: modules and images in the page cache, and modules compiled, as they are once an installed package has been used.
The floor is Python itself, `python -c pass`. The score is of ten images with the bundled encoder, exported before, into
a new folder each time, report included; always of generated ones, because of what other images weigh this says nothing.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from semscale.errors import UsageError
from semscale_bench.images import Images, write_kinds
from semscale_bench.measure import Contestant, Timing, measure
from semscale_bench.plan import Plan
from semscale_bench.rows import Check, Outcome, Row

CASE = "startup"
IMAGES, KIND = 10, "jpeg 500x375"
FLOOR, HELP, SCORE_HELP, SCORE = "python -c pass", "semscale --help", "semscale score --help", "semscale score"
GOALS = {HELP: 0.3, SCORE: 3.0}  # seconds
SEMSCALE = ("-m", "semscale")
NOT_KEPT, KEPT_IN = "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"  # Python's
COMMANDS = {FLOOR: ("-c", "pass"), HELP: (*SEMSCALE, "--help"), SCORE_HELP: (*SEMSCALE, "score", "--help")}


def run(plan: Plan) -> Outcome:
    """Time each command in turn. Raises UsageError with what a command said where one fails."""
    with TemporaryDirectory() as work, compiled(Path(work) / "compiled"):
        images = write_kinds(Path(work) / "images", names=[KIND], count=IMAGES)[0]
        scored = Scored(Path(work))
        contestants = {name: _started(arguments) for name, arguments in COMMANDS.items()}
        contestants[SCORE] = scored.contestant(images)
        timed = measure(contestants, repeats=plan.repeats, seconds=plan.seconds)
    rows = [Row(CASE, name, "", "starts", timing) for name, timing in timed.items() if name != SCORE]
    check = Check("images without a score", float(scored.missing), 0.0)
    rows.append(Row(CASE, SCORE, f"{len(images.files)} of {images.name}", "starts", timed[SCORE], check, "given"))
    return Outcome(CASE, "fresh processes of compiled modules, everything in the page cache", rows, _sentences(timed))


@contextmanager
def compiled(folder: Path) -> Iterator[None]:
    """Let the processes that start meanwhile keep their compiled modules in `folder`, whatever the shell says."""
    before = {name: os.environ.pop(name, None) for name in (NOT_KEPT, KEPT_IN)}
    os.environ[KEPT_IN] = str(folder)
    try:
        yield
    finally:
        del os.environ[KEPT_IN]
        os.environ.update({name: value for name, value in before.items() if value is not None})


class Scored:
    """`semscale score` into a new folder at every go."""

    def __init__(self, work: Path) -> None:
        self.missing = 0  # images, at worst
        self._outs = (work / f"scores-{number}" for number in itertools.count())

    def contestant(self, images: Images) -> Contestant:
        """Scores all images; looks into the summary for how many there are."""
        listed = next(self._outs).with_suffix(".txt")
        listed.write_text("".join(f"{file.resolve()}\n" for file in images.files), encoding="utf-8")

        def score() -> int:
            out = next(self._outs)
            _run((*SEMSCALE, "score", str(listed), "--model", "demo", "--quiet", "-o", str(out)))
            self.missing = max(self.missing, len(images.files) - scores_in(out))
            return 1

        return score


def scores_in(out: Path) -> int:
    """How many images the consistency score in a summary rests on; none where it is no number."""
    score = json.loads((out / "summary.json").read_text(encoding="utf-8"))["scores"]["scs"]
    return score["n_images"] if score["value"] is not None and math.isfinite(score["value"]) else 0


def _started(arguments: Sequence[str]) -> Contestant:
    def start() -> int:
        _run(arguments)
        return 1

    return start


def _run(arguments: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")


def _sentences(timed: dict[str, Timing]) -> list[str]:
    floor = timed[FLOOR].median
    return [
        f"{name} takes {timing.median:.2f} s ({min(timing.seconds):.2f} to {max(timing.seconds):.2f}), of which Python "
        f"itself {floor:.2f} (goal: under {GOALS[name]:g} s: {'met' if timing.median < GOALS[name] else 'missed'})"
        for name, timing in timed.items()
        if name in GOALS
    ]
