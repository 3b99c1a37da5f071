"""The command `semscale report`: the pages again, from the files beside them."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False, exists=True))
def report(out: Path) -> None:
    """Rebuild report.html and compare.html from the files in OUT."""
    from semscale.study.rebuilding import rebuild

    for page in rebuild(out):
        click.echo(page)
