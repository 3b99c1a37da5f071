"""The `semscale` command: a thin layer over the Python calls. The only place that prints and chooses exit codes.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 finished but more inputs failed than --max-error-rate allows.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import semscale
from semscale.cli_agreement import agreement
from semscale.cli_annotate import annotate
from semscale.cli_compare import compare
from semscale.cli_evaluate import evaluate
from semscale.cli_generate import generate
from semscale.cli_import_study import import_study
from semscale.cli_metrics import metrics
from semscale.cli_output import emit, output_options
from semscale.cli_pairs import dedup, novelty, pairs
from semscale.cli_plan_samples import plan_samples
from semscale.cli_reference import reference
from semscale.cli_search import KINDS, index, search
from semscale.encoders import BACK_ENDS, DEFAULT_MODEL
from semscale.errors import SemscaleError, UsageError
from semscale.metrics.alignment import PRESETS
from semscale.model import DECODES, DTYPES

LPIPS = "lpips-"  # begins the names of distances that `export` takes
DONE, FAILED, WRONG_USAGE, TOO_MANY_ERRORS = 0, 1, 2, 3


class _Commands(click.Group):
    """Turns our errors into one line on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SemscaleError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED)
        except BrokenPipeError:  # whoever read our output has gone
            ctx.exit(FAILED)
        except OSError as error:  # a full disk, a folder that may not be written: the system says it best
            click.echo(f"Error: {error}", err=True)
            ctx.exit(FAILED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(semscale.__version__, prog_name="semscale")
def main() -> None:
    """Score images made by generative models, at the scale of millions.

    Start with `semscale demo`, then `semscale score FOLDER`.
    """


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options shared by the commands that embed images."""
    for option in reversed(
        (
            click.option("--model", default=DEFAULT_MODEL, show_default=True,
                         help="Hub id, checkpoint folder, exported folder, 'demo', or a name in docs/models.md."),
            click.option("--backend", type=click.Choice(["auto", *BACK_ENDS]), default="auto", show_default=True,
                         help="What runs the encoder; docs/backends.md says when to choose which."),
            click.option("--precision", metavar="fp32|tf32|fp16|bf16|int8",
                         help="Of the encoder, compared with float32 before it is used. [default: the back end's]"),
            click.option("--clip-score", type=click.Choice(list(PRESETS)), default="torchmetrics", show_default=True,
                         help="Whose convention of the CLIP score: scale, clamping and prefix."),
            click.option("--group-by", metavar="parent|COLUMN",
                         help="Group by parent folder or a metadata column. [default: by text, else parent folder]"),
            click.option("--decode", type=click.Choice(DECODES), default="exact", show_default=True,
                         help="'fast' decodes large JPEGs at a reduced size, 'gpu' some on the GPU: docs/pixels.md."),
            click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
                         help="Type of the stored embeddings."),
            click.option("--batch-size", type=click.IntRange(1), help="Images a batch. [default: the back end's]"),
            click.option("--workers", type=click.IntRange(1), help="Decoding threads. [default: one a core]"),
            click.option("--shard-size", type=click.IntRange(1), default=4096, show_default=True,
                         help="Images a shard, the unit of resuming."),
            click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images."),
            click.option("--max-pixels", type=click.IntRange(1), metavar="N",
                         help="Refuse images of more pixels. [default: 89478485]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _metric_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which metrics, and what they compare with."""
    for option in reversed(
        (
            click.option("--metrics", multiple=True, metavar="NAME[:PRESET][@ENCODER],...",
                         help="What to compute, see `semscale metrics`. [default: scs, and clip-score with texts]"),
            click.option("--reference", multiple=True, metavar="STORE|FOLDER|FILE",
                         help="Real images: a store, results, a folder, or a file of `semscale reference`."),
            click.option("--pairs", type=click.Path(dir_okay=False), metavar="TABLE",
                         help="Pairs of images: columns source and edited, perhaps source_text and edited_text."),
            click.option("--head", type=click.Path(dir_okay=False), metavar="FILE",
                         help="A linear head for the aesthetic score (.safetensors, .npz, .pth)."),
            click.option("--captions", type=click.Path(dir_okay=False), metavar="TABLE",
                         help="Reference captions: columns key (or text) and reference, one a row."),
            click.option("--labels", type=click.Path(dir_okay=False), metavar="FILE",
                         help="The classes for zero-shot, one a line; the truth is an image's group."),
            click.option("--templates", type=click.Path(dir_okay=False), metavar="FILE",
                         help="Texts for the classes, one a line, {} for the class. [default: a photo of a {}.]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the commands that may run for days, or on many machines."""
    for option in reversed(
        (
            click.option("--follow", is_flag=True,
                         help="Go on as images appear, until SOURCE holds a file _SUCCESS or nothing new comes."),
            click.option("--quiet-time", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True,
                         metavar="SECONDS", help="With --follow: end when nothing new came for so long."),
            click.option("--shards", metavar="I/N",
                         help="Only the I-th of N parts, for N processes or machines that share the output folder."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


_sources = click.argument("source", nargs=-1, required=True)
_error_option = click.option("--max-error-rate", type=click.FloatRange(0, 1), default=0.01, show_default=True,
                             help="Exit with 3 when a larger share of the inputs failed.")  # fmt: skip


@main.command()
@_sources
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results. [default: ./semscale-<name of SOURCE>]",
)
@_run_options
@_metric_options
@_source_options
@click.option("--dry-run", is_flag=True, help="Say what would be read, and estimate time and disk; write nothing.")
@click.option("--errors", is_flag=True, help="List the inputs that failed, each with its reason and what to do.")
@_error_option
@output_options
def score(
    source: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    errors: bool,
    max_error_rate: float,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Embed the images of SOURCE, compute every score, and write tables and a report.

    SOURCE is a folder: group/image, model/prompt/seed.png, or any tree with a metadata.csv, .jsonl or .parquet whose
    file_name column names the images; a list of paths (.csv, .jsonl, .parquet, .txt, or - for standard input); a
    WebDataset tar, a zip, or a Parquet file with a column of images; a folder of those; or any of these behind a
    protocol such as s3://. Several sources make one run.
    """
    from semscale import accounts, run
    from semscale.console import Console

    console = Console(quiet=quiet)
    chosen = _chosen(options)
    if dry_run:
        from semscale.estimate import estimate

        console.estimate(found := estimate(source, **chosen))
        emit(as_json, dataclasses.asdict(found))
        return
    with console.progress() as tell:
        finished = run.score(source, out=out, on_progress=tell, say=console.say, command=_command(), **chosen)
    if errors:
        Console(quiet=False).failures(accounts.failures(finished.out))
    console.scores(finished)
    emit(as_json, finished.summary)
    _exit_on_errors(finished.summary, max_error_rate)


@main.command()
@_sources
@click.option(
    "-o", "--store", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the store."
)
@_run_options
@_source_options
@click.option("--index", type=click.Choice(KINDS),
              help="Keep a FAISS index of the store meanwhile, as `semscale index` would make it.")  # fmt: skip
@_error_option
@output_options
def embed(
    source: tuple[str, ...], store: Path, max_error_rate: float, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Embed the images of SOURCE into a store, and nothing else. SOURCE is what `score` takes."""
    from semscale import accounts, run
    from semscale.console import Console

    console = Console(quiet=quiet)
    with console.progress() as tell:
        filled = run.embed(source, store, on_progress=tell, say=console.say, **_chosen(options))
    line = {**accounts.tallied(filled), "out": str(store)}
    left = f", {line['n_left']} left to other parts" if line["n_left"] else ""
    console.say(f"{line['n_ok']} embeddings, {line['n_failed']} failed{left}, in {store}")
    emit(as_json, line)
    _exit_on_errors(line, max_error_rate)


@main.command()
@click.argument("store", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--mend", is_flag=True, help="Discard damaged shards, so that the next run embeds them again.")
@output_options
def verify(store: Path, mend: bool, as_json: bool, quiet: bool) -> None:
    """Check every file of STORE against its checksum, its counts and the plan.

    STORE is the folder of a store, or the results of `score`, all of whose stores are checked. Exits with 1 when
    anything is wrong.
    """
    from semscale.console import Console
    from semscale.verify import stores_in, verify

    found = {str(path): verify(path, mend=mend) for path in stores_in(store)}
    for path, verification in found.items():
        Console(quiet=quiet).verification(path, verification)
    emit(as_json, {"stores": {path: dataclasses.asdict(verification) for path, verification in found.items()}})
    sys.exit(FAILED if any(verification.problems for verification in found.values()) else DONE)


@main.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False, exists=True))
def report(out: Path) -> None:
    """Rebuild OUT/report.html from the files in OUT."""
    from semscale.report import write_report

    click.echo(write_report(out))


@main.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="A new folder.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="File of weights to read instead of the checkpoint's; a pickle as plain tensors.")  # fmt: skip
@click.option("--heads", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="File of the heads of lpips-... [default: those of the package lpips 0.1.4]")  # fmt: skip
@click.option("--tensorrt", is_flag=True, help="Build TensorRT engines too; an export that is there already is kept.")
@click.option("--precision", type=click.Choice(["fp16", "fp32"]), help="Of the TensorRT engines. [default: fp16]")
@click.option("--max-batch", type=click.IntRange(1), help="Of the TensorRT engines. [default: 256]")
@click.option("--check", is_flag=True, help="Compare every back end that runs here with float32; MODEL is an export.")
@output_options
def export(
    model: str,
    out: Path | None,
    revision: str | None,
    weights: Path | None,
    heads: Path | None,
    tensorrt: bool,
    precision: str | None,
    max_batch: int | None,
    check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export the checkpoint MODEL to ONNX towers and prove them equal to the original.

    MODEL is a Hugging Face id, a checkpoint folder, 'demo', or the name of a model that comes with a package, such as
    'fid-inception' (docs/models.md); with --check it is a folder that was exported. 'lpips-alex', 'lpips-vgg' and
    'lpips-squeeze' are distances of two images, for `score --metrics lpips@DIR`; --weights names the network's file.
    """
    from semscale import run
    from semscale.console import Console

    console, package = Console(quiet=quiet), run.export_package()
    if model.startswith(LPIPS) and not check:
        _export_distance(console, model.removeprefix(LPIPS), out, weights=weights, heads=heads, as_json=as_json)
        return
    if heads:
        raise click.UsageError("--heads is of lpips-alex, lpips-vgg and lpips-squeeze.")
    if check and (out or revision or weights or tensorrt):
        raise click.UsageError("--check compares an export that is there; leave the other options out.")
    if not tensorrt and (precision or max_batch):
        raise click.UsageError("--precision and --max-batch are of engines; add --tensorrt.")
    if check:
        _check(console, Path(model), as_json=as_json)
        return
    if out is None:
        raise click.UsageError("Missing option '-o' / '--out'.")
    if tensorrt:
        engines = run.export_engines()
        settings = engines.EngineSettings(precision=precision or "fp16", max_batch=max_batch or engines.MAX_BATCH)
        rows, _ = engines.export_engines(model, out, settings, say=console.say, revision=revision, weights=weights)
    else:
        rows = package.export(model, out, revision=revision, weights=weights)
    console.parity(rows, out)
    emit(as_json, {"out": str(out), "parity": [dataclasses.asdict(row) for row in rows]})


def _export_distance(
    console: Any, net: str, out: Path | None, *, weights: Path | None, heads: Path | None, as_json: bool
) -> None:
    from semscale import run

    if out is None or weights is None:
        raise click.UsageError(f"{LPIPS}{net} needs -o DIR and --weights FILE, the network's file from torchvision.")
    spec = run.export_lpips()(net, out, weights=weights, heads=heads)
    console.say(f"exported to {out}, equal to the original within the tolerance; use it as lpips:{net}@{out}")
    emit(as_json, {"out": str(out), **dataclasses.asdict(spec)})


def _check(console: Any, folder: Path, *, as_json: bool) -> None:
    """Compare, print, and exit with 1 when a back end that runs here does not pass."""
    from semscale import run
    from semscale.checked import as_json as values_of
    from semscale.gate import Comparison

    found = run.check_export(folder)
    console.gate(found)
    compared = [each for each in found if isinstance(each, Comparison)]
    others = [dataclasses.asdict(each) for each in found if not isinstance(each, Comparison)]
    emit(as_json, {"compared": [values_of(each) for each in compared], "not_run": others})
    sys.exit(DONE if all(each.passed for each in compared) else FAILED)


@main.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="semscale-demo",
    show_default=True,
    help="Folder for images and results.",
)
@output_options
def demo(out: Path, as_json: bool, quiet: bool) -> None:
    """Everything end to end, offline: draw the pictures of two models, score both, compare them.

    Two made-up models draw the same prompts; one keeps to its prompt, the other strays. Nothing is downloaded.
    """
    from semscale.console import Console
    from semscale.demo import run_demo, verdict

    console = Console(quiet=quiet)
    with console.progress() as tell:
        finished = run_demo(out, on_progress=tell, command=_command())
    console.scores(finished)
    console.say(verdict(finished))
    emit(as_json, finished.summary)


@main.command()
@output_options
def doctor(as_json: bool, quiet: bool) -> None:
    """Say what this machine can run, what is missing, and the command that mends it."""
    from semscale.console import Console
    from semscale.doctor import examine

    findings = examine()
    Console(quiet=quiet).findings(findings)
    emit(as_json, {"findings": [dataclasses.asdict(finding) for finding in findings]})
    sys.exit(FAILED if any(finding.status == "broken" for finding in findings) else DONE)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure throughput, stage by stage, against the measured roof of this machine."""
    from semscale_bench.run import bench as command

    command.main(args=list(arguments), prog_name="semscale bench", standalone_mode=False)


_OTHERS = (
    agreement, annotate, compare, dedup, evaluate, generate, import_study,
    index, metrics, novelty, pairs, plan_samples, reference, search,
)  # fmt: skip
for _command in _OTHERS:
    main.add_command(_command)


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Command-line options as fields of Options."""
    from semscale.locks import Part
    from semscale.settings import Settings

    follow, quiet_time, shards = options.pop("follow"), options.pop("quiet_time"), options.pop("shards")
    names = ("batch_size", "workers", "shard_size", "limit", "max_pixels")
    given = {name: value for name in names if (value := options.pop(name)) is not None}
    settings = Settings(**given, part=None if shards is None else Part.parse(shards))
    return {**options, "settings": settings, "follow": quiet_time if follow else None}


def _command() -> str:
    return shlex.join(["semscale", *sys.argv[1:]])


def _exit_on_errors(summary: dict[str, Any], max_error_rate: float) -> None:
    rate = summary["n_failed"] / summary["n_found"]
    if rate > max_error_rate:
        click.echo(f"{rate:.1%} of the inputs failed, more than --max-error-rate {max_error_rate:.1%}", err=True)
        sys.exit(TOO_MANY_ERRORS)


def run() -> int:
    """The `semscale` command as it is installed: `main` in a process that survives the crash of a decoder."""
    from semscale.supervise import supervised

    return supervised(main, tell=lambda line: click.echo(line, err=True))
