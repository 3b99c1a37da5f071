"""The command `semscale verify`: is a store what it was when it was written?"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from semscale.cli_output import DONE, FAILED, emit, output_options


@click.command()
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
