"""Joins numbers, plots and pictures into one page that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semscale.files import replacing
from semscale.report import format, palette, sections, tables, words
from semscale.report.gallery import panels
from semscale.report.groups import averaged, best_and_worst, not_averaged, read_groups
from semscale.report.images import failures_in
from semscale.report.others import CARDS, others
from semscale.report.sections import End
from semscale.report.summary import Summary, read_summary

N_EXTREME = 6  # groups shown with pictures, from each end
N_FAILURE_EXAMPLES = 5
TEMPLATES = Path(__file__).parent


def write_report(out: Path) -> Path:
    """Write `out/report.html` from `summary.json`, `groups.parquet` and `images.parquet` in `out`; return its path.

    The page replaces an older one in one step and is the same, byte for byte, for the same files. Raises UsageError
    when one of the three is missing, StoreError when one cannot be read.
    """
    page = _render(read_summary(out / "summary.json"), read_groups(out / "groups.parquet"), out / "images.parquet")
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _render(summary: Summary, groups: pa.Table, images: Path) -> str:
    ranked, cards = averaged(groups), [score for score in summary.scores if score.metric in CARDS]
    named = [model for score in summary.scores for model in score.by_model]
    marks = palette.marks([*named, *groups["model"].unique().to_pylist()])
    return (
        environment()
        .get_template("page.html")
        .render(
            **frame(),
            summary=summary,
            title=tables.source_name(summary),
            cards=[sections.card(score, marks, index=index) for index, score in enumerate(cards)],
            others=others(summary),
            marks=marks,
            plots=sections.group_plots(summary, ranked, marks),
            ends=_ends(ranked, images),
            table=sections.group_table(ranked),
            left_out=sections.left_out(not_averaged(groups)),
            failures=tables.failure_rows(summary, failures_in(images, n_examples=N_FAILURE_EXAMPLES)),
            encoders=[tables.encoder_details(kind, spec) for kind, spec in summary.models.items()],
            run=tables.run_details(summary),
            stages=tables.stages(summary),
        )
    )


def _ends(ranked: pa.Table, images: Path) -> list[End]:
    """Return both ends of the ranking, their pictures found in one pass over the images."""
    best, worst = best_and_worst(ranked, N_EXTREME)
    shown = panels(images, [*best, *worst])
    ends = [End("Most consistent", shown[: len(best)]), End("Least consistent", shown[len(best) :])]
    return [end for end in ends if end.panels]


def environment() -> Environment:
    """What fills in the templates: every text is escaped, and one that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
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
    style, script = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("style.html", "sort.html"))
    digest = hashlib.sha256(script.encode()).digest()
    return {"style": style, "script": script, "script_hash": base64.b64encode(digest).decode()}
