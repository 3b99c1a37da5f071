"""A page of the report as tests read it: its elements, its visible text, and whether its tags nest."""

from html.parser import HTMLParser
from itertools import pairwise

from semscale.report.html import compose

VOID = {"meta", "img", "br", "rect", "wbr"}


class Page(HTMLParser):
    """The elements of a page, its visible text, and whether its tags nest."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.elements, self.text, self.scripts, self.open = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.text.append("" if tag == "wbr" else " ")  # a name goes on behind a place where it may break
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text.append(" ")

    def handle_data(self, data):
        place = self.open[-1] if self.open else ""
        if place == "script":
            self.scripts.append(data)
        elif place != "style":
            self.text.append(data)

    def words(self):
        return " ".join("".join(self.text).split())

    def all(self, tag, css=""):
        return [attrs for name, attrs in self.elements if name == tag and css in (attrs.get("class") or "")]

    def section(self, name):
        return self.source.split(f'<section id="{name}">')[1].split("</section>")[0]


def report_of(tables):
    """The page of tables, with nothing drawn or written but they."""
    return Page(compose(tables.write())[0])


def undrawn(figure, file, *, format, **_):
    """In the place of Figure.savefig, where a test is about words: drawing takes most of a report's time."""
    file.write("<svg></svg>" if format == "svg" else b"")


def set_at(values, place, value):
    """Set a value inside nested mappings."""
    for name in place[:-1]:
        values = values[name]
    values[place[-1]] = value


def check_outline(source):
    """One first heading, none below that skips a rank, and a first link that leads to the content."""
    page = Page(source)
    ranks = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4", "h5", "h6"}]
    assert ranks[0] == 1 and ranks.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(ranks))
    (skip,) = page.all("a", "skip")
    assert page.all("a")[0] == skip and [main["id"] for main in page.all("main")] == [skip["href"].removeprefix("#")]
