"""Joins numbers, plots and pictures into one page that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semscale.files import replacing
from semscale.report import format, palette, sections, tables, words
from semscale.report.beside import read_agreement, read_comparison
from semscale.report.curves import sensitivity_plot
from semscale.report.figures import write_figures
from semscale.report.gallery import panels
from semscale.report.groups import averaged, best_and_worst, not_averaged, read_groups, widest
from semscale.report.groups_csv import write_csv
from semscale.report.images import failures_in
from semscale.report.others import CARDS, others
from semscale.report.sections import End
from semscale.report.sensitivity import read_sensitivity
from semscale.report.side_by_side import MAX_PROMPTS, grids
from semscale.report.summary import Summary, read_summary
from semscale.report.svg import Plot

N_EXTREME = 6  # groups shown with pictures, from each end
N_FAILURE_EXAMPLES = 5
TEMPLATES = Path(__file__).parent


def write_report(out: Path) -> Path:
    """Write `out/report.html` from `summary.json`, `groups.parquet` and `images.parquet` in `out`; return its path.

    Its figures go into `out/figures`, every group into `out/groups.csv`. Each file replaces an older one in one step
    and is the same, byte for byte, for the same files. Raises UsageError when one of the three is missing, StoreError
    when one cannot be read or written.
    """
    page, plots = compose(out)
    write_figures(out, plots)
    write_csv(out / "groups.parquet", out / "groups.csv")
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def compose(out: Path) -> tuple[str, list[Plot]]:
    """Return the page of the results in `out` and its plots; writes nothing. Errors as in `write_report`."""
    summary, groups = read_summary(out / "summary.json"), read_groups(out / "groups.parquet")
    parts = _numbers(summary, groups) | _pictures(averaged(groups), out / "images.parquet") | _beside(out)
    parts["failures"] = tables.failure_rows(summary, failures_in(out / "images.parquet", n_examples=N_FAILURE_EXAMPLES))
    page = environment().get_template("page.html").render(**frame(), **parts, sections=_sections(parts))
    cards = [card.plot for card in parts["cards"]]
    plots = [*cards, *parts["plots"], *parts["paired"], parts["alignment"], *parts["sweeps"], parts["sensitivity_plot"]]
    return page, [plot for plot in plots if plot is not None]


def _numbers(summary: Summary, groups: pa.Table) -> dict[str, Any]:
    """What the page says from the summary and the groups alone."""
    ranked, cards = averaged(groups), [score for score in summary.scores if score.metric in CARDS]
    named = [model for score in summary.scores for model in score.by_model]
    marks = palette.marks([*named, *groups["model"].unique().to_pylist()])
    return {
        "summary": summary,
        "title": tables.source_name(summary),
        "folder": shlex.quote(format.shorten(summary.out, 300)) if summary.out else "OUT",
        "cards": [sections.card(score, marks) for score in cards],
        "others": others(summary),
        "marks": marks,
        "plots": sections.distributions(summary, ranked, marks),
        "alignment": sections.alignment(summary, ranked, marks),
        "paired": sections.paired(summary, ranked, marks),
        "sweeps": sections.sweep_plots(summary),
        "table": sections.group_table(ranked),
        "left_out": sections.left_out(not_averaged(groups)),
        "encoders": [tables.encoder_details(kind, spec) for kind, spec in summary.models.items()],
        "run": tables.run_details(summary),
        "stages": tables.stages(summary),
    }


def _pictures(ranked: pa.Table, images: Path) -> dict[str, Any]:
    """Both ends of the ranking, their pictures found in one pass over the images; and models side by side."""
    best, worst = best_and_worst(ranked, N_EXTREME)
    shown = panels(images, [*best, *worst])
    ends = [End("Most consistent", shown[: len(best)]), End("Least consistent", shown[len(best) :])]
    return {
        "ends": [end for end in ends if end.panels],
        "grids": grids(images, widest(ranked, MAX_PROMPTS)),
    }


def _beside(out: Path) -> dict[str, Any]:
    """What other commands have left in the folder."""
    found = read_sensitivity(out)
    return {
        "sensitivity": found,
        "sensitivity_plot": sensitivity_plot(found) if found else None,
        "agreement": read_agreement(out),
        "comparison": read_comparison(out),
    }


def _sections(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The places of the page that are there, with their names."""
    places = [
        ("scores", "Scores", True),
        ("distribution", "Distribution", True),
        ("alignment", "Consistency by alignment", parts["alignment"]),
        ("sweeps", "Sweeps", parts["sweeps"]),
        ("sensitivity", "Images a prompt", parts["sensitivity"]),
        ("differences", "Paired differences", parts["paired"] or parts["comparison"]),
        ("models", "Side by side", parts["grids"]),
        ("extremes", "Best and worst", True),
        ("groups", "All groups", True),
        ("agreement", "Human agreement", parts["agreement"]),
        ("failures", "Failures", True),
        ("provenance", "Provenance", True),
    ]
    return [(place, name) for place, name, there in places if there]


@cache  # compiling them takes half the time of a page
def environment(*folders: Path) -> Environment:
    """What fills in the templates of this package and of `folders`: every text is escaped, a missing one an error."""
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(words=words, max_models=tables.MAX_MODELS)
    made.filters.update(count=format.count, number=format.number, duration=format.duration, clean=format.clean)
    made.filters.update(plural=format.plural, shorten=format.shorten)
    return made


def _printable(value: Any) -> Any:
    """Clean every piece of text that the template prints, so that no name from a file can break the page's encoding."""
    return format.clean(value) if type(value) is str else value


def frame() -> dict[str, Any]:
    """Return the style and the script of the page, and the hash by which the page allows this script and no other."""
    style, script = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("style.html", "script.html"))
    digest = hashlib.sha256(script.encode()).digest()
    return {"style": style, "script": script, "script_hash": base64.b64encode(digest).decode()}
