"""Matplotlib figures as SVG inside a page, and as files: same bytes every time, readable on light, dark and paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font

from semscale.report.format import REPLACEMENT, shorten

INK = "#0a0b0c"  # stands for the colour of the text around the plot: written as currentColor
GRID = "#80889340"
WIDTH = 3.9  # inches: a phone's width, so that text keeps its size there
STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "semscale",
    "font.size": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.formatter.useoffset": False,
}
OWN_FONT = "DejaVu Sans"
FALLBACKS = (  # what systems commonly have for scripts that it lacks
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "PingFang SC"),
    *("Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Apple SD Gothic Neo", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS"),
)
PNG_DPI = 200
LETTER = 0.58  # em, of most letters: room is counted in them, and some are wider
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_NO_SOFTWARE: Mapping[str, Any] = {"Software": None}
_NOISE = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_ROOT = re.compile(r"(<svg\b[^>]*>)(.*)</svg>", re.DOTALL)
_WHITE = '<rect width="100%" height="100%" fill="#ffffff"/>'
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_LINES = re.compile(r"\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Data:
    """What a figure draws, as a table for those who cannot see it or want the numbers."""

    heads: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()  # of a name and numbers, as text


NO_DATA = Data()


@dataclass(frozen=True, slots=True)
class Plot:
    """A title, the inside of an <svg> element, its size in points, and the words for those who cannot see it."""

    title: str
    body: Markup
    width: float
    height: float
    alt: str
    caption: str
    data: Data
    name: str  # of its files, unique on a page
    svg: str  # of a file by itself, on white
    figure: Figure

    def png(self) -> bytes:
        """Return the figure as a PNG on white; the same figure gives the same bytes."""
        buffer = io.BytesIO()
        with house_style():
            self.figure.savefig(buffer, format="png", metadata=_NO_SOFTWARE, facecolor="white", dpi=PNG_DPI)
        return buffer.getvalue()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with this page's style, whatever the user's own matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"font.family": _families()})
        yield


def to_plot(figure: Figure, *, name: str, title: str, alt: str, caption: str = "", data: Data = NO_DATA) -> Plot:
    """Return `figure` as SVG. `name` keeps the ids of several plots on one page apart. Call inside `house_style`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_METADATA)
    whole = _NOISE.sub("", buffer.getvalue())
    match = _ROOT.search(whole)
    assert match, "matplotlib writes one <svg> element"
    body = _LINES.sub("\n", _ID.sub(rf"\g<1>{name}-", match[2]).replace(INK, "currentColor"))
    width, height = (round(side * 72, 1) for side in figure.get_size_inches())
    svg = whole.replace(match[1], match[1] + _WHITE, 1)
    return Plot(title, Markup(body), width, height, alt, caption, data, name, svg, figure)


def label(text: str | None, limit: int = 34, *, number: int = 0) -> str:
    """Return `text` fit to be drawn: short, and with a mark for each sign that the fonts lack.

    A name with letters that they lack is drawn as "model 3" where it has a `number`; `unwritten` says what it is.
    """
    if text is None:
        return "no model named"
    if number and not is_written(text):
        return f"model {number}"
    drawn = "".join(c if _has(c) else REPLACEMENT for c in shorten(text, limit))
    while _width(drawn) > limit * LETTER:
        drawn = drawn[:-2].rstrip() + "…"
    return drawn


def is_written(text: str) -> bool:
    """Return whether the fonts of figures have every letter and digit of `text`."""
    return all(_has(c) for c in text if c.isalnum())


def unwritten(names: Mapping[int, str | None]) -> str:
    """Return, for a caption, the names that a figure has as numbers; "" where it has none. Numbers are of palette."""
    told = (f"model {number}: {shorten(text, 60)}" for number, text in names.items() if text and not is_written(text))
    return "; ".join(told)


@cache
def _families() -> list[str]:
    """The fonts of figures: matplotlib's own, and for what it lacks those that this machine has."""
    there = {font.name for font in fontManager.ttflist}
    return [OWN_FONT, *(name for name in FALLBACKS if name in there)]


@cache
def _faces() -> list[Any]:
    return [get_font(findfont(name)) for name in _families()]


def _has(character: str) -> bool:
    return any(face.get_char_index(ord(character)) for face in _faces())


def _width(text: str) -> float:
    """In em."""
    font = get_font([findfont(name) for name in _families()])
    font.set_size(100, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64 / 100
