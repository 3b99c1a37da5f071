"""The published consistency study: generate, score, compare, and how many images a prompt needs.

    python examples/consistency_study.py study                        in minutes, on a CPU, without a network
    python examples/consistency_study.py study --real --prompts prompts.txt --seeds random_seeds.txt \\
        --painted prompts_monet_sdxl.txt prompts_monet_lora.txt --lora FILE

The first runs every step on tiny pipelines with random weights and on the encoder that comes with semscale: their
images are coloured noise, so the steps are real and the numbers mean nothing. The second is the study itself, for a
machine with a GPU: SDXL against PixArt-alpha, 100 prompts, 20 seeds, 768 pixels, 20 steps, guidance 7.5, and SDXL
against a LoRA of it on 50 prompts. Its lists are in github.com/brinnaebent/semantic-consistency-score. Each step is one
command of semscale, printed before it runs, and what is there already is not made again; with --commands the lists are
written and the commands only printed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

PROMPTS = 100  # that the paper used of its list
STYLES = ("Monet", "TOK")  # the word of a prompt that stands for the painter, and the one that calls the LoRA
SUBJECTS = (
    "a lighthouse in a storm", "two foxes asleep in the snow", "an old bicycle by a red wall", "a bowl of green apples",
    "a market street at night", "a glass of water on a table", "a child's drawing of a house", "a ship in a bottle",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Study:
    """What is generated, and how."""

    sdxl: str
    pixart: str
    lora: str
    prompts: Path
    painted: tuple[Path, Path]  # the same prompts in the style of the painter, and calling the LoRA
    seeds: Path
    images: int  # a prompt
    settings: tuple[str, ...]
    encoder: str


def tiny(folder: Path) -> Study:
    """Write tiny pipelines, a tiny LoRA and short lists, unless they are there."""
    from tiny_pipelines import write_lora, write_pipeline

    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    for kind, seed in (("sdxl", 1), ("pixart-alpha", 2)):
        if not (parts / kind / "model_index.json").exists():
            write_pipeline(kind, parts / kind, seed=seed)
    lora = parts / "lora.safetensors"
    if not lora.exists():
        write_lora(parts / "sdxl", lora)
    painted = tuple(
        _lines(parts / f"{style}.txt", (f"{subject}, in the style of {style}" for subject in SUBJECTS[:6]))
        for style in STYLES
    )
    prompts, seeds = _lines(parts / "prompts.txt", SUBJECTS), _lines(parts / "seeds.txt", range(100, 120))
    settings = ("--steps", "2")
    return Study(
        str(parts / "sdxl"), str(parts / "pixart-alpha"), str(lora), prompts, painted, seeds, 10, settings, "demo"
    )


def real(folder: Path, prompts: Path, painted: tuple[Path, Path], seeds: Path, lora: str) -> Study:
    """The models and settings of the paper, on the first of the published prompts, which are 104."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = _lines(folder / "prompts.txt", prompts.read_text(encoding="utf-8").splitlines()[:PROMPTS])
    settings = ("--size", "768", "--steps", "20", "--guidance", "7.5", "--scheduler", "EulerDiscreteScheduler")
    return Study(
        "stabilityai/stable-diffusion-xl-base-1.0", "PixArt-alpha/PixArt-XL-2-1024-MS", lora,
        prompts, painted, seeds, 20, settings, "openai/clip-vit-base-patch32",
    )  # fmt: skip


def commands(study: Study, out: Path) -> list[list[str]]:
    """Every step, as semscale takes it."""
    common = ["--seeds", str(study.seeds), "--n", str(study.images), *study.settings]
    models, painter = [str(out / "models"), str(out / "painter")], list(map(str, study.painted))
    lora = ["--lora", study.lora, "--lora-scale", "0.6"]
    return [
        ["generate", str(study.prompts), "-o", models[0], "--model", study.sdxl, "--label", "sdxl", *common],
        ["generate", str(study.prompts), "-o", models[0], "--model", study.pixart, "--label", "pixart", *common],
        ["score", models[0], "-o", str(out / "scores"), "--model", study.encoder],
        ["compare", str(out / "scores"), "--models", "pixart,sdxl", "-o", str(out / "pixart-sdxl")],
        ["plan-samples", str(out / "scores"), "-o", str(out / "plan")],
        ["compare", "--prompts", *painter],
        ["generate", painter[0], "-o", models[1], "--model", study.sdxl, "--label", "sdxl", *common],
        ["generate", painter[1], "-o", models[1], "--model", study.sdxl, "--label", "sdxl-lora", *lora, *common],
        ["score", models[1], "-o", str(out / "painter-scores"), "--model", study.encoder],
        ["compare", str(out / "painter-scores"), "--models", "sdxl,sdxl-lora",
         "--prompt-map", "s/{}/{}/".format(*STYLES), "-o", str(out / "sdxl-lora")],
    ]  # fmt: skip


def _lines(path: Path, lines: object) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")  # type: ignore[attr-defined]
    return path


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--real", "full", is_flag=True, help="The models of the paper; wants a GPU and a network.")
@click.option("--prompts", type=click.Path(path_type=Path, exists=True), help="With --real: the list of prompts.")
@click.option("--painted", nargs=2, type=click.Path(path_type=Path, exists=True), metavar="MONET TOK",
              help="With --real: the two lists of the LoRA's part, row by row the same prompts.")  # fmt: skip
@click.option("--seeds", type=click.Path(path_type=Path, exists=True), help="With --real: the list of seeds.")
@click.option("--lora", help="With --real: a LoRA of SDXL (the paper's own was never published).")
@click.option("--commands", "only", is_flag=True, help="Write the lists, print the commands, run nothing.")
def main(
    out: Path,
    full: bool,
    prompts: Path | None,
    painted: tuple[Path, Path] | None,
    seeds: Path | None,
    lora: str | None,
    only: bool,
) -> None:
    """Run the study, or print it."""
    if full and not (prompts and painted and seeds and lora):
        raise click.UsageError("--real needs --prompts, --painted, --seeds and --lora.")
    study = real(out, prompts, painted, seeds, lora) if full else tiny(out)  # type: ignore[arg-type]
    for step in commands(study, out):
        click.echo(f"\n$ {shlex.join(['semscale', *step])}")
        if not only:
            done = subprocess.run([sys.executable, "-m", "semscale", *step])
            if done.returncode:
                sys.exit(done.returncode)
    if not full and not only:
        click.echo("\nEvery step ran. The images are those of random weights: no number above says anything.")


if __name__ == "__main__":
    main()
