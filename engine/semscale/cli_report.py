"""The command `semscale report`: the pages again, from the files beside them."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False, exists=True))
def report(out: Path) -> None:
    """Rebuild report.html, compare.html and agreement.html from the files in OUT.

    Each page is made where OUT holds what `semscale score`, `compare -o` or `agreement -o` wrote, the same byte for
    byte, without a model or a network. Pictures are read from where they were; a frame says where one has gone.
    """
    from semscale.study.rebuilding import rebuild

    for page in rebuild(out):
        click.echo(page)
