"""The command `semscale import-study`: images as the consistency study publishes them, as a list for `score`."""

from __future__ import annotations

from pathlib import Path

import click

from semscale.cli_output import emit, output_options

LIST = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("import-study")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.jsonl",
              help="The list to write, outside DIR. [default: <name of DIR>-metadata.jsonl]")  # fmt: skip
@click.option("--prompts", type=LIST, multiple=True, metavar="FILE",
              help="The original prompts, which folders are compared with; may be given several times.")  # fmt: skip
@click.option("--seeds", type=LIST, metavar="FILE", help="The seeds to expect, one a line.")
@click.option("--n-seeds", type=click.IntRange(1), metavar="N", help="Expect the first N of them, 20 in the study.")
@click.option("--common-seeds", is_flag=True, help="Keep only seeds that every prompt of every model has.")
@output_options
def import_study(
    folder: Path,
    out: Path | None,
    prompts: tuple[Path, ...],
    seeds: Path | None,
    n_seeds: int | None,
    common_seeds: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List the images of DIR, laid out as <model>/<prompt>/<seed>.jpg, with model, prompt and seed for `score`.

    Nothing in DIR is changed, copied or moved. Whatever is odd is told and written beside the list: case and lost
    apostrophes, prompts that are another, seeds too many and too few, files that are no images: docs/import-study.md.
    """
    from semscale.console_import import ImportConsole
    from semscale.study.importing.import_files import as_json as told
    from semscale.study.importing.import_files import oddities_beside, place_of, write_study
    from semscale.study.importing.importers import Wanted, read_study

    place = place_of(out, folder)
    study = read_study(folder, Wanted(prompts, seeds, n_seeds, common_seeds))
    write_study(place, study)
    line = told(study, place)
    ImportConsole(quiet=quiet).imported(study, line, oddities_beside(place))
    emit(as_json, line)
