"""What `bench/gpu.sh` runs: tests, export, engines, gate and throughput on a GPU, each in a process of its own.

A step that fails, crashes or takes too long is recorded and the next one starts, so that one command on a borrowed
machine brings home all that can be known. The record is written after every step. Rehearsed on a processor; on a GPU
this was never run.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from semscale.encoders.trt_driver import driver_problem, find_gpu
from semscale_bench.machine import machine

ROOT = Path(__file__).parents[2]
MODELS = ("B/32", "B/16", "L/14", "L/14@336")
REHEARSED = "tiny"
STEP_SECONDS = 3600.0
KEPT_LINES = 40  # of a step's output in the record; the log has all
WIDE = {"COLUMNS": "160"}  # for tables, which are otherwise cut to a terminal of 80
NO_GPU = 2  # exit status
SEMSCALE = (sys.executable, "-c", "import sys; from semscale.cli import run; sys.exit(run())")
PYTEST = (sys.executable, "-m", "pytest")
WRITE = (
    "import sys; from pathlib import Path; from semscale_bench.subjects import write_random; "
    "write_random(sys.argv[1], Path(sys.argv[2]))"
)
ON_GPU = ("--backend", "torch", "--backend", "cuda", "--backend", "tensorrt", "--tower", "both")
REHEARSAL = ("--batch-sizes", "1,2", "--repeats", "1")


@dataclass(frozen=True, slots=True)
class Step:
    """One command."""

    name: str
    model: str  # a shape, or "-"
    command: tuple[str, ...]
    gate: bool = True  # whether its failure is one of the whole; engines may be refused, and that is a result


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step."""

    step: Step
    status: int | None  # of the process, -n where signal n ended it; None when it took longer than STEP_SECONDS
    seconds: float
    found: Any  # its last line where that is JSON, else None
    said: tuple[str, ...]  # the last other lines

    @property
    def failed(self) -> bool:
        """Whether this makes the whole fail."""
        return self.step.gate and self.status != 0


def steps(models: Sequence[str], work: Path, *, tests: bool, rehearse: bool) -> Iterator[Step]:
    """Every step in order. The exports of a model lie in a folder of `work`, which the caller may remove after it.

    The join of pairs, of as many vectors as suit a GPU, has no rehearsal.
    """
    if tests:
        yield Step("gpu tests", "-", (*PYTEST, "-m", "gpu", "-q", "-p", "no:cacheprovider"))
    for model in models:
        folder = folder_of(model, work)
        checkpoint, exported = str(folder / "random"), str(folder / "model")
        yield Step("export", model, (sys.executable, "-c", WRITE, model, str(folder)))
        for precision in ("fp16", "fp32"):
            build = ("export", checkpoint, "-o", exported, "--tensorrt", "--precision", precision)
            yield Step(f"engines {precision}", model, (*SEMSCALE, *build), gate=False)
        yield Step("gate", model, (*SEMSCALE, "export", "--check", exported, "--json"))
        options = REHEARSAL if rehearse else ON_GPU
        yield Step("encoders", model, (*SEMSCALE, "bench", "encoders", "--model", exported, *options))
    if not rehearse:
        yield Step("pairs", "-", (*SEMSCALE, "bench", "pairs", "--repeats", "3"))


def folder_of(model: str, work: Path) -> Path:
    """Where the exports of a shape lie."""
    return work / slug(model)


def slug(name: str) -> str:
    """A name as it may stand in a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def run_step(step: Step, log: Path, *, limit_seconds: float = STEP_SECONDS) -> Outcome:
    """Run a step, its output appended to `log`. Whatever happens to it is in the outcome."""
    with log.open("ab") as out:
        out.write(f"\n=== {step.name} {step.model}: {shlex.join(step.command)}\n".encode())
        out.flush()
        before, start = out.tell(), time.perf_counter()
        status = _status(step.command, out, limit_seconds)
        seconds = time.perf_counter() - start
    lines = log.read_bytes()[before:].decode(errors="replace").splitlines()
    found = [value for value in map(_json, lines) if value is not None]
    said = [line for line in lines if _json(line) is None]
    return Outcome(step, status, seconds, found[-1] if found else None, tuple(said[-KEPT_LINES:]))


def _status(command: Sequence[str], out: Any, limit_seconds: float) -> int | None:
    try:
        return subprocess.run(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | WIDE,
            timeout=limit_seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def _json(line: str) -> Any:
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def write(path: Path, outcomes: Sequence[Outcome], facts: dict[str, Any]) -> None:
    """Write the record of all steps so far."""
    rows = [{**dataclasses.asdict(outcome), "failed": outcome.failed} for outcome in outcomes]
    path.write_text(json.dumps({"format": 1, **facts, "steps": rows}, indent=1) + "\n", encoding="utf-8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "models", type=click.Choice(MODELS), multiple=True, help="Shapes. [default: all four]")
@click.option("--tests/--no-tests", default=True, show_default=True, help="Run the gpu tests first.")
@click.option("--name", help="Of the result files. [default: the GPU's]")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="[default: bench/results]")
@click.option("--rehearse", is_flag=True, help="The same steps with a tiny shape on the processor; nothing is kept.")
def main(models: tuple[str, ...], tests: bool, name: str | None, results: Path | None, rehearse: bool) -> None:
    """Measure this GPU: tests, export, TensorRT engines, the numeric gate, and every back end side by side."""
    problem = "" if rehearse else driver_problem()
    if problem:
        click.echo(f"bench/gpu.sh measures a GPU, and {problem}; --rehearse runs its steps on the processor", err=True)
        sys.exit(NO_GPU)
    with TemporaryDirectory() as work:
        kept = results or (Path(work) if rehearse else ROOT / "bench" / "results")
        kept.mkdir(parents=True, exist_ok=True)
        named = name or ("rehearsal" if rehearse else slug(find_gpu().name))
        stem = kept / f"gpu_{named}_{datetime.date.today()}"
        todo = steps((REHEARSED,) if rehearse else models or MODELS, Path(work), tests=tests, rehearse=rehearse)
        outcomes = _run(todo, stem, {"rehearsal": rehearse, "machine": machine()})
    failed = [outcome for outcome in outcomes if outcome.failed]
    where = "nothing is kept" if rehearse and results is None else f"{stem.name}.json and .log in {kept}"
    click.echo(f"{len(outcomes)} steps, {len(failed)} failed; {where}")
    sys.exit(1 if failed else 0)


def _run(todo: Iterator[Step], stem: Path, facts: dict[str, Any]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    log = stem.with_name(f"{stem.name}.log")
    log.write_bytes(b"")
    for step in todo:
        click.echo(f"{step.name}, {step.model}: {shlex.join(step.command)}")
        outcomes.append(run_step(step, log))
        write(stem.with_name(f"{stem.name}.json"), outcomes, facts)
        click.echo("\n".join(_told(outcomes[-1])))
    return outcomes


def _told(outcome: Outcome) -> Iterator[str]:
    yield from (f"    {line}" for line in outcome.said)
    verdict = "too slow, stopped" if outcome.status is None else f"status {outcome.status}"
    yield f"    -> {verdict} after {outcome.seconds:.0f} s"


if __name__ == "__main__":
    main()
