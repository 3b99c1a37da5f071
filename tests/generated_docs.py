"""The pages of docs/ that the program itself knows best: `make docs` writes them, test_doc_pages.py finds stale ones.

    docs/commands.md    the help of every command and of every case of `bench`
    docs/metrics.md     all that the registry says of each metric

They are the same on every machine: help has a fixed width, and no default is a path or a number of cores.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from semscale.cli import main
from semscale.cli_metrics import in_a_run
from semscale.measures.table import MEASURES
from semscale.metrics.description import Description
from semscale.metrics.registry import METRICS
from semscale_bench.run import bench

DOCS = Path(__file__).parents[1] / "docs"
HELP_WIDTH = 100  # columns: fits a code block on a page of GitHub without scrolling
LINE_WIDTH = 120
GENERATED = "<!-- Written by `make docs`. Do not edit: change the program instead. -->"
COMMANDS_HEAD = """
What `--help` says, of every command. `semscale COMMAND --help` says the same for the version that you have.
Options that several commands share mean the same everywhere: `--json` ends with one machine-readable line on standard
output, `--quiet` prints neither progress nor tables. Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 finished
but more inputs failed than `--max-error-rate` allows.
"""
METRICS_HEAD = """
All that semscale computes: what a number means, how it is estimated, how many samples it takes to mean something, and
where it is from. `semscale metrics NAME` prints the same. [statistics.md](statistics.md) explains the words,
[parity.md](parity.md) says which numbers equal those of other packages, [formats.md](formats.md) where they are
written. Below its *smallest n* a number comes with a warning.
"""


def pages() -> dict[Path, str]:
    """Each generated page, and what it should hold."""
    return {DOCS / "commands.md": commands_page(), DOCS / "metrics.md": metrics_page()}


def commands_page() -> str:
    """The help of every command."""
    helps = dict(_helps(main, "semscale"))
    contents = [f"- [{path}](#{path.replace(' ', '-')})" for path in helps]
    sections = [f"## {path}\n\n```text\n{text}\n```" for path, text in helps.items()]
    return "\n\n".join([f"# Commands\n\n{GENERATED}", COMMANDS_HEAD.strip(), "\n".join(contents), *sections]) + "\n"


def _helps(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """(command line, help) of a command and of all below it, in the order of their names."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=HELP_WIDTH)
    yield context.command_path, command.get_help(context)
    below: Mapping[str, click.Command] = command.commands if isinstance(command, click.Group) else {}
    for inner in sorted(name for name, each in below.items() if not each.hidden):
        yield from _helps(bench if below[inner].name == "bench" else below[inner], inner, context)


def metrics_page() -> str:
    """A section for each metric, in the order of the registry."""
    contents = [_item(f"[{name}](#{name}): {_plain(one.what)}") for name, one in METRICS.items()]
    sections = [_section(one) for one in METRICS.values()]
    return "\n\n".join([f"# Metrics\n\n{GENERATED}", METRICS_HEAD.strip(), "\n".join(contents), *sections]) + "\n"


def _section(one: Description) -> str:
    facts = [
        f"Formula: `{one.formula}`",
        f"Range: {_plain(one.range)}",
        f"Better: {one.better}",
        f"Estimator: {_plain(one.estimator)}",
        f"Smallest n: {one.smallest_n:,} {one.of}",
        f"Source: {_plain(one.source)}",
        f"In a run: {_plain(in_a_run(one.name))}",
    ]
    default = MEASURES[one.name].default if one.name in MEASURES else ""
    presets = [
        f"Preset `{name}`{' (default)' if name == default else ''}: {_plain(convention)}"
        for name, convention in one.presets.items()
    ]
    what = _plain(f"{one.what[:1].upper()}{one.what[1:]}.")
    return "\n".join([f"## {one.name}", "", textwrap.fill(what, LINE_WIDTH), "", *map(_item, [*facts, *presets])])


def _item(text: str) -> str:
    return textwrap.fill(
        f"- {text}", LINE_WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


def _plain(text: str) -> str:
    """Text that Markdown shows as it is; what stands between backticks is code already."""
    parts = text.split("`")
    return "`".join(re.sub(r"([*<\[\]|])", r"\\\1", part) if n % 2 == 0 else part for n, part in enumerate(parts))


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        click.echo(f"docs/{path.name}")
