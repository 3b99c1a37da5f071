"""The command `semscale generate`: prompts to images, by a diffusion model or drawn offline."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semscale.cli_output import TOO_MANY_ERRORS, emit, output_options
from semscale.errors import UsageError

if TYPE_CHECKING:
    from semscale.producers.outputs import Output
    from semscale.producers.request import Producer, Setting

SCENES = "scenes"
N = 4  # images a prompt, where nobody says
SHOWN = 300  # characters of a reason
_OF_DIFFUSION = ("revision", "variant", "dtype", "device", "lora", "lora_scale", "batch_size")


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which model, and how it is loaded."""
    for option in reversed(
        (
            click.option("--model", required=True, metavar="ID|FOLDER|scenes",
                         help="Hub id or folder of a diffusers model; 'scenes' draws offline, without a model."),
            click.option("--label", metavar="NAME", help="What its images are called. [default: the model's name]"),
            click.option("--revision", metavar="NAME", help="Branch, tag or commit of a hub model."),
            click.option("--variant", metavar="NAME", help="Of the weight files, such as fp16."),
            click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16"]),
                         help="Of weights and computation. [default: on a CUDA GPU fp16, or bf16 for Flux; else fp32]"),
            click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps. [default: the best there is]"),
            click.option("--lora", metavar="FILE|ID", help="A LoRA to load on top: safetensors file or hub id."),
            click.option("--lora-scale", type=float, metavar="X", help="How strong the LoRA is. [default: 1]"),
            click.option("--batch-size", type=click.IntRange(1), help="Images at once; results are the same."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of which each takes a list; all combinations are made."""
    for option in reversed(
        (
            click.option("--steps", metavar="N,...", help="Denoising steps."),
            click.option("--guidance", metavar="X,...", help="Guidance scale."),
            click.option("--image-guidance", metavar="X,...", help="Of edits: how closely the source is kept."),
            click.option("--strength", metavar="X,...", help="Of image to image: the share of steps, 0 to 1."),
            click.option("--scheduler", metavar="NAME,...", help="A diffusers scheduler class, DDIMScheduler say."),
            click.option("--size", metavar="N|WxH,...", help="In pixels: 512, or width x height, 768x512."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("prompts", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder for the images; one that holds some already gets what is missing.")  # fmt: skip
@_model_options
@click.option(
    "--n",
    type=click.IntRange(1),
    help=f"Images a prompt: seeds 0 to N-1, or the file's first N. [default: {N}, or all]",
)
@click.option("--seeds", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="Seeds, one a line.")  # fmt: skip
@_setting_options
@click.option("--format", "form", type=click.Choice(["png", "jpeg"]), default="png", show_default=True,
              help="'jpeg' is of quality 95 without subsampling, and loses detail that some metrics see.")  # fmt: skip
@click.option("--shards", type=click.IntRange(1), metavar="N", help="Write WebDataset tars of N images each.")
@click.option("--dry-run", is_flag=True, help="Say what would be made; write nothing.")
@click.option("--max-error-rate", type=click.FloatRange(0, 1), default=0.01, show_default=True,
              help="Exit with 3 when a larger share of the images failed.")  # fmt: skip
@output_options
def generate(
    prompts: Path, out: Path, dry_run: bool, max_error_rate: float, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Make images of PROMPTS, which `semscale score DIR` then reads as they are.

    PROMPTS is a text file with one a line, or a CSV, TSV or JSON Lines file with a column prompt, prompts, text or
    caption. With a column image, whose paths are relative to the file, prompts are instructions of edits. Options that
    take a list make every combination, each under a label of its own. A run that was stopped goes on where it was when
    it is given again. docs/generate.md says what is written.
    """
    from semscale.console import Console
    from semscale.model import Progress
    from semscale.producers import generation
    from semscale.producers.prompts import read_prompts

    console = Console(quiet=quiet)
    listed = read_prompts(prompts)
    settings, seeds, output = _settings(options), _seeds(options), _output(out, options)
    edits = any(prompt.source is not None for prompt in listed.prompts)
    producer = _opened(options, settings, edits=edits)
    asked: dict[str, Any] = {"seeds": seeds, "out": output, "settings": settings}
    try:
        forecast = generation.forecast(producer, listed.prompts, **asked)
        notes = [*listed.notes, *forecast.notes]
        for note in notes:  # before what may take hours
            console.say(note)
        if dry_run:
            _tell_forecast(console, forecast)
            emit(as_json, dataclasses.asdict(forecast) | {"out": str(out), "notes": notes})
            return
        with console.progress() as tell:
            done = generation.generate(
                producer,
                listed.prompts,
                **asked,
                on_progress=lambda done, failed, total: tell(Progress(done, failed, total)),
            )
    finally:
        producer.close()
    for line in _told(done):
        console.say(line)
    emit(as_json, dataclasses.asdict(done) | {"out": str(out), "notes": notes})
    if done.n_failed > max_error_rate * done.n_asked:
        rate = done.n_failed / done.n_asked
        click.echo(f"{rate:.1%} of the images failed, more than --max-error-rate {max_error_rate:.1%}", err=True)
        sys.exit(TOO_MANY_ERRORS)


def _told(done: Any) -> Iterator[str]:
    labels = f" under {len(done.labels)} labels" if len(done.labels) > 1 else ""
    failed = f", {done.n_failed} failed (see failures.jsonl)" if done.n_failed else ""
    yield f"{done.n_made} images made, {done.n_kept} were there{failed}, of {done.n_asked}{labels}, in {done.out}"
    for reason, count in list(done.reasons.items())[:1]:
        yield f"most frequent reason, of {count}: {' '.join(reason.split())[:SHOWN]}"


def _tell_forecast(console: Any, forecast: Any) -> None:
    console.say(f"{forecast.n_asked} images, of which {forecast.n_kept} are there")
    for label in forecast.labels:
        console.say(f"  label {label}")
    for name in forecast.first:
        console.say(f"  file  {name}")


def _settings(options: dict[str, Any]) -> list[Setting]:
    from semscale.producers import sweep

    read = {
        "steps": sweep.whole_numbers,
        "guidance": sweep.numbers,
        "image_guidance": sweep.numbers,
        "strength": sweep.numbers,
        "scheduler": sweep.names,
        "size": sweep.sizes,
    }
    given = {name: text for name in read if (text := options[name]) is not None}
    return sweep.product(**{name: read[name](text, f"--{name.replace('_', '-')}") for name, text in given.items()})


def _seeds(options: dict[str, Any]) -> list[int]:
    from semscale.producers.seeds import first_seeds, read_seeds

    file, n = options["seeds"], options["n"]
    return first_seeds(n or N) if file is None else read_seeds(file, n)


def _output(out: Path, options: dict[str, Any]) -> Output:
    from semscale.producers.folder_output import FolderOutput
    from semscale.producers.tar_output import TarOutput

    size, form = options["shards"], options["form"]
    return FolderOutput(out, form) if size is None else TarOutput(out, size, form)


def _opened(options: dict[str, Any], settings: list[Setting], *, edits: bool) -> Producer:
    """The producer, under the label that was asked for; settings that it cannot do are refused before it is loaded."""
    from semscale.producers.work import check_label

    if options["label"] is not None:
        check_label(options["label"])
    given = {name: options[name] for name in _OF_DIFFUSION if options[name] is not None}
    if options["model"] == SCENES:
        from semscale.producers.drawing import SceneProducer

        if given:
            raise UsageError(f"--{next(iter(given)).replace('_', '-')} is of diffusion models; scenes have none")
        producer: Producer = SceneProducer()
    else:
        from semscale.producers.diffusion import DiffusionOptions, open_producer

        asked = {"settings": tuple(settings), "edits": edits}
        producer = open_producer(options["model"], DiffusionOptions(**given, **asked))
    producer.name = producer.name if options["label"] is None else options["label"]
    return producer
