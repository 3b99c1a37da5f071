"""The last line of every case: one JSON object, with the machine, the commit and the command."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from semscale_bench.machine import machine


def _writable(_: click.Context, __: click.Parameter, out: Path | None) -> Path | None:
    """Refuse a file that cannot be written now, and not when all is measured; nothing is left behind."""
    if out is None:
        return None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists():
            out.open("ab").close()
        else:
            out.touch()
            out.unlink()
    except OSError as error:
        raise click.BadParameter(f"{out}: cannot be written ({error.strerror})") from error
    return out


out_option = click.option("--out", type=click.Path(path_type=Path, dir_okay=False), callback=_writable,
                          help="Write the JSON line here too.")  # fmt: skip


def write_line(values: dict[str, Any], out: Path | None) -> None:
    """Print values as one line of JSON, and write it to `out` where one was given. Raises OSError when that fails."""
    made_on = machine()
    commit = made_on.pop("commit")
    command = shlex.join(["semscale", *sys.argv[1:]])
    line = json.dumps({**values, "machine": made_on, "commit": commit, "command": command}, allow_nan=False)
    click.echo(line)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(line + "\n", encoding="utf-8")
