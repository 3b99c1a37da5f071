"""What every command shares: exit codes, and how its results are printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

DONE, FAILED, WRONG_USAGE, TOO_MANY_ERRORS = 0, 1, 2, 3  # exit codes, as cli.py explains them


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --json and --quiet."""
    command = click.option("--quiet", is_flag=True, help="No progress and no table.")(command)
    return click.option("--json", "as_json", is_flag=True, help="End with one machine-readable line.")(command)


def emit(as_json: bool, line: dict[str, Any]) -> None:
    """Print one line of JSON, where it was asked for."""
    if as_json:
        from semscale.outputs import finite

        click.echo(json.dumps(finite(line), ensure_ascii=False))


def command_line() -> str:
    """What was typed, as a shell would take it again."""
    return shlex.join(["semscale", *sys.argv[1:]])


def visible(text: str) -> str:
    """The text with its control characters shown instead of obeyed, for a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
