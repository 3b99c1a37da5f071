"""The command `semscale bench`, which is the package `semscale_bench`."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure throughput, stage by stage, against the measured roof of this machine."""
    from semscale_bench.run import bench as command

    command.main(args=list(arguments), prog_name="semscale bench", standalone_mode=False)
