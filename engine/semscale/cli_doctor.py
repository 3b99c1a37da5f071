"""The command `semscale doctor`: what runs here, and what is missing."""

from __future__ import annotations

import dataclasses
import sys

import click

from semscale.cli_output import DONE, FAILED, emit, output_options


@click.command()
@output_options
def doctor(as_json: bool, quiet: bool) -> None:
    """Say what this machine can run, what is missing, and the command that mends it."""
    from semscale.console import Console
    from semscale.doctor import examine

    findings = examine()
    Console(quiet=quiet).findings(findings)
    emit(as_json, {"findings": [dataclasses.asdict(finding) for finding in findings]})
    sys.exit(FAILED if any(finding.status == "broken" for finding in findings) else DONE)
