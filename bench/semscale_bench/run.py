"""The `semscale bench` command: cases in turn, a table for people, and one line of JSON for programs."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import click
import rich.console

from semscale.encoders import BACK_ENDS
from semscale.errors import SemscaleError
from semscale_bench import rows
from semscale_bench.cases import CASES, run_case
from semscale_bench.line import out_option, write_line
from semscale_bench.plan import Plan
from semscale_bench.rows import Outcome
from semscale_bench.studies import HELP, STUDIES, sizes

SEVERAL = "run"  # the command behind `semscale bench [CASE]...`
DEFAULTS = Plan()
WIDTH = 200  # characters; wider than a pipe is taken for, so that no number is cut
HELP_NAMES = {"-h", "--help"}
WRONG = 1  # exit status: an output was further off than it may be, or a case did not run


class _Cases(click.Group):
    """A group whose cases may be named one after the other: `bench decode encode --seconds 5`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A case alone that knows every option is a command of its own; all else is what `run` is given."""
        named = list(itertools.takewhile(lambda argument: not argument.startswith("-"), args))
        asked = {argument.partition("=")[0] for argument in args if argument.startswith("-")}
        study = self.commands.get(named[0]) if len(named) == 1 else None
        alone = study is not None and asked <= {*HELP_NAMES, *_options(study)}
        return super().parse_args(ctx, args if alone or asked & HELP_NAMES else [SEVERAL, *args])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help of `run`, and which cases have options of their own."""
        several = self.commands[SEVERAL]
        with click.Context(several, info_name=ctx.info_name, parent=ctx.parent) as inner:
            several.format_help(inner, formatter)
        with formatter.section("Cases"):
            formatter.write_dl([(name, case.summary + "" if case.quick else f"{case.summary} (not quick)")
                                for name, case in CASES.items()])  # fmt: skip
        with formatter.section("Cases with options of their own, when named alone (see CASE --help)"):
            formatter.write_dl([(each.name or "", each.get_short_help_str(80)) for each in STUDIES])


def _options(command: click.Command) -> list[str]:
    return [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]


@click.group(cls=_Cases, context_settings=HELP)
def bench() -> None:
    """Measure throughput, stage by stage, against the measured roof of this machine."""


@bench.command(SEVERAL, hidden=True)
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--model", default=DEFAULTS.model, show_default=True,
              help="B/32, L/14 or another shape, with random weights; or whatever `semscale score` takes.")  # fmt: skip
@click.option("--backend", type=click.Choice(["auto", *(name for name in BACK_ENDS if name != "fake")]),
              default="auto", show_default=True, help="What runs the encoder.")  # fmt: skip
@click.option("--precision", metavar="fp32|tf32|fp16|bf16|int8", help="Of the encoder. [default: the back end's]")
@click.option("--batch-sizes", default="", callback=sizes,
              help="Images a batch, as in 1,8,32; `pipeline` takes the largest. [default: the case's]")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Your own images. [default: generated ones of four kinds]")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0), default=DEFAULTS.seconds, show_default=True,
              help="How long each contestant is timed on the average, at least.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=DEFAULTS.repeats, show_default=True, help="Rounds at least.")
@out_option
@click.option("--compare", "compared", nargs=2, type=click.Path(path_type=Path), metavar="A B",
              help="Measure nothing: say what changed from the file A to the file B beyond the noise.")  # fmt: skip
def several(cases: tuple[str, ...], out: Path | None, compared: tuple[Path, Path] | None, **plan: Any) -> None:
    """Measure throughput, stage by stage, against the measured roof of this machine.

    Without CASE all quick cases run. Every contestant warms up, then all take turns; each row has the median rate, the
    spread of the rounds, and how far the output was from the reference. The last line is one JSON object. Exits with 1
    when an output is wrong or a case does not run.
    """
    console = rich.console.Console(highlight=False, soft_wrap=True, width=WIDTH)
    if compared is not None:
        _compare(console, *compared)
        return
    if unknown := [name for name in cases if name not in CASES]:
        raise click.UsageError(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    names = cases or tuple(name for name, case in CASES.items() if case.quick)
    found = [_run(console, name, Plan(**plan)) for name in dict.fromkeys(names)]
    problems = rows.wrong(found)
    write_line(rows.values(found), out)
    if problems:
        click.echo("\n".join(problems), err=True)
    if problems or any(not outcome.rows for outcome in found):
        sys.exit(WRONG)


def _run(console: rich.console.Console, name: str, plan: Plan) -> Outcome:
    """Run a case and show it; one that cannot run at all is an outcome without rows."""
    try:
        found = run_case(name, plan)
    except SemscaleError as error:
        found = Outcome(name, "", [], absent=[str(error)])
    console.print(f"{name}: {found.regime or 'did not run'}", markup=False)
    if found.rows:
        console.print(rows.table([found]))
    console.print(*found.sentences, *(f"not run: {absent}" for absent in found.absent), "", sep="\n", markup=False)
    return found


def _compare(console: rich.console.Console, a: Path, b: Path) -> None:
    from semscale_bench import comparing

    found = comparing.compare(a, b)
    console.print(comparing.table(found))
    console.print(*comparing.lines(found), sep="\n", markup=False)
    write_line({"case": "compare", **comparing.values(found)}, None)


for study in STUDIES:
    bench.add_command(study)
