"""The command `semscale export`: a checkpoint to towers that the back ends run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from semscale.cli_output import DONE, FAILED, emit, output_options

LPIPS = "lpips-"  # begins the names of distances that this takes


@click.command()
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
