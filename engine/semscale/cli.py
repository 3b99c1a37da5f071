"""The `semscale` command: a thin layer over the Python calls. The only place that prints and chooses exit codes.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 finished but more inputs failed than --max-error-rate allows.

Each command has a module of its own, which is imported when that command is used: help should not wait for numpy.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections import UserDict
from typing import Any

import click

import semscale
from semscale.cli_output import FAILED, WRONG_USAGE
from semscale.errors import SemscaleError, UsageError

# New objects between two searches for garbage, 700 otherwise. Most objects of a short run are those of imports, which
# stay: looking through them again and again took an eighth of it.
GARBAGE = 50_000
# What a user has not set himself. Arrow's own pool keeps 40 MB of what planning a few thousand images took, for good.
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
COMMANDS = {  # name -> where it is, and the first sentence of its help
    "agreement": ("cli_agreement:agreement", "Say how far raters agree, with each other and with a metric, beyond "
                  "what chance and a constant answer give."),
    "annotate": ("cli_annotate:annotate", "Let people rate the images of two generators, A and B, on a page of this "
                 "machine."),
    "bench": ("cli_bench:bench", "Measure throughput, stage by stage, against the measured roof of this machine."),
    "compare": ("cli_compare:compare", "Compare models over the prompts that all of them have: who is ahead, by how "
                "much, and how sure that is."),
    "dedup": ("cli_pairs:dedup", "Find groups of near-copies in STORE, and say which image of each to keep."),
    "demo": ("cli_demo:demo", "Everything end to end, offline: draw the pictures of two models, score both, compare "
             "them."),
    "doctor": ("cli_doctor:doctor", "Say what this machine can run, what is missing, and the command that mends it."),
    "embed": ("cli_embed:embed", "Embed the images of SOURCE into a store, and nothing else."),
    "evaluate": ("cli_evaluate:evaluate", "Compute accuracy, mean IoU or BLEU of the predictions and truths in TABLE, "
                 "a CSV, JSON Lines or Parquet file."),
    "export": ("cli_export:export", "Export the checkpoint MODEL to ONNX towers and prove them equal to the original."),
    "generate": ("cli_generate:generate", "Make images of PROMPTS, which `semscale score DIR` then reads as they are."),
    "import-study": ("cli_import_study:import_study", "List the images of DIR, laid out as "
                     "<model>/<prompt>/<seed>.jpg, with model, prompt and seed for `score`."),
    "index": ("cli_search:index", "Make a FAISS index of STORE, or bring it up to date, and measure how much of the "
              "truth it finds."),
    "metrics": ("cli_metrics:metrics", "List the metrics, or say all about the metric NAME: formula, range, "
                "estimator, smallest n, paper, presets."),
    "novelty": ("cli_pairs:novelty", "Find the nearest reference images of every image in STORE: is it new, or "
                "memorised?"),
    "pairs": ("cli_pairs:pairs", "Find all similar pairs of images in STORE, exactly, or the nearest neighbours of "
              "every image."),
    "plan-samples": ("cli_plan_samples:plan_samples", "Say how many images a prompt needs for a consistency score as "
                     "precise as you want, from the images in STORE."),
    "reference": ("cli_reference:reference", "Save the mean and covariance of the embeddings in STORE, and which "
                  "encoder and resizing made them."),
    "report": ("cli_report:report", "Rebuild report.html, compare.html and agreement.html from the files in OUT."),
    "score": ("cli_score:score", "Embed the images of SOURCE, compute every score, and write tables and a report."),
    "search": ("cli_search:search", "Find the images of STORE most similar to a text, an image file or one of its own "
               "images."),
    "verify": ("cli_verify:verify", "Check every file of STORE against its checksum, its counts and the plan."),
}  # fmt: skip


class _Imported(UserDict[str, Any]):
    """Commands by name; one that is a place, "module:attribute", is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        found = self.data[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = self.data[name] = getattr(importlib.import_module(f"semscale.{module}"), attribute)
        return found


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does, from the table: none is imported for it."""
        listed = [click.Command(name, help=COMMANDS[name][1]) for name in self.commands]
        click.Group(commands=listed).format_commands(ctx, formatter)


@click.group(
    cls=_Commands,
    commands=_Imported({name: place for name, (place, _) in COMMANDS.items()}),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(semscale.__version__, prog_name="semscale")
def main() -> None:
    """Score images made by generative models, at the scale of millions.

    Start with `semscale demo`, then `semscale score FOLDER`.
    """


def run() -> int:
    """The `semscale` command as it is installed: `main` in a process that survives the crash of a decoder."""
    from semscale.supervise import supervised

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)  # or Python looks through all of them once more before it ends: a quarter of a second
    return supervised(main, tell=lambda line: click.echo(line, err=True))
