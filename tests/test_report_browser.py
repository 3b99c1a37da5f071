"""The report in a real browser: no request, no overflow on a phone, enough contrast, sorted and filtered by hand."""

from contextlib import closing

import pytest

pytest.importorskip("websockets")
from browser import Browser, binary
from report_fixture import make_tables

from semscale.report.html import compose

pytestmark = pytest.mark.skipif(binary() is None, reason="needs Chromium (Debian's package chromium)")
CONTRASTS = """(() => {
  const part = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => part(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return /, 0\\)$/.test(colour) ? behind(element.parentElement) : colour;
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    own(element) && element.checkVisibility() && !element.closest("svg, script, [aria-hidden]"));
  return texts.map((element) => {
    const both = [light(getComputedStyle(element).color), light(behind(element))];
    return (Math.max(...both) + .05) / (Math.min(...both) + .05);
  });
})()"""  # of texts with what is behind them, by the formula of WCAG
VISIBLE = "document.querySelectorAll('table.sortable tbody tr:not([hidden])').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    out = make_tables(tmp_path_factory.mktemp("seen"), n_images=3).write()
    (out / "report.html").write_text(compose(out)[0], encoding="utf-8")  # the files beside it are not looked at
    return (out / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with closing(Browser(tmp_path_factory.mktemp("profile"))) as opened:
        yield opened


@pytest.fixture
def page(browser, address):
    with closing(browser.page(width=1200, height=900)) as opened:
        opened.open(address)
        yield opened


def test_nothing_is_asked_for_and_nothing_complains(page, address):
    assert [url for url in page.requested() if not url.startswith("data:")] == [address] and page.complaints() == []


def test_a_phone_shows_all_of_it(page):
    page.resize(390, 844, phone=True)
    assert page.js("document.documentElement.scrollWidth") == 390
    assert page.js("[...document.images].every((image) => image.complete && image.naturalWidth)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(page, scheme):
    page.scheme(scheme)
    found = page.js(CONTRASTS)
    assert len(found) > 200 and min(found) >= 4.5


def test_the_table_is_filtered_by_words(page):
    every = page.js(VISIBLE)
    page.click(".filter input")
    page.type("SDXL  fuchs")
    assert every == 12 and page.js(VISIBLE) == 1
    assert page.text(".filter output") == "1 of 12 lines"
    page.js("document.querySelector('.filter input').select()")
    page.type("no such words")
    assert page.js(VISIBLE) == 0


def test_the_table_is_sorted_by_keyboard(page):
    first = "document.querySelector('table.sortable tbody tr').innerText"
    before = page.js(first)
    page.js("document.querySelectorAll('table.sortable th button')[3].focus()")
    page.press("Enter")
    page.press("Enter")
    assert page.js("document.querySelectorAll('table.sortable th')[3].ariaSort") == "descending"
    assert page.js(first) != before


def test_the_first_tab_leads_past_the_header(page):
    page.press("Tab")
    assert page.js("document.activeElement.className") == "skip"
    assert page.js("document.activeElement.getBoundingClientRect().top") == 0  # it is seen when it has the focus
    page.press("Enter")
    assert page.js("document.activeElement.id") == "content"


def test_numbers_behind_a_figure_open_by_keyboard(page):
    page.js("document.querySelector('details.data summary').focus()")
    page.press("Enter")
    assert page.js("document.querySelector('details.data').open")
