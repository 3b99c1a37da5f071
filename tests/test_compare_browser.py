"""Pages of long names on a phone: names break where people break them, and nothing but a table goes sideways."""

from contextlib import closing

import pytest

pytest.importorskip("websockets")
from agreement_folders import MODELS, study
from agreement_folders import scores as scored
from browser import Browser, binary
from compared_folders import scores, write_results
from matplotlib.figure import Figure
from report_page import undrawn

from semscale.study.agreement.agreeing import agree
from semscale.study.agreement.files import write_agreement
from semscale.study.comparison.comparing import compare_runs
from semscale.study.comparison.comparison_files import write_comparison

pytestmark = pytest.mark.skipif(binary() is None, reason="needs Chromium (Debian's package chromium)")
LONG = ("stable-diffusion-xl-base-1.0_refined_lightning", "PixArt-Sigma/PixArt_XL-2-1024-MS_finetuned")
BROKEN = """[...document.querySelectorAll("table.sortable th")].flatMap((head) => {
  const walk = document.createTreeWalker(head, NodeFilter.SHOW_TEXT), range = document.createRange();
  let before = null, found = [];
  while (walk.nextNode()) {
    for (let at = 0; at < walk.currentNode.length; at++) {
      range.setStart(walk.currentNode, at);
      range.setEnd(walk.currentNode, at + 1);
      const box = range.getBoundingClientRect(), letter = walk.currentNode.data[at];
      if (/\\s/.test(letter)) { before = null; continue; }
      if (!box.width) { continue; }
      if (before && box.top > before.top + 4 && /[a-z0-9]/i.test(letter) && /[a-z0-9.]/i.test(before.letter)) {
        found.push(head.textContent + ": " + before.letter + "|" + letter);
      }
      before = {top: box.top, letter};
    }
  }
  return found;
})"""  # where a head goes on in a new line between two letters


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    root = tmp_path_factory.mktemp("long")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", undrawn)
        models = {name: scores(shift, noise=shift + 1) for shift, name in enumerate(LONG)}
        write_comparison(root, compare_runs(write_results(root / "run", models), metrics=["scs"]), {})
    prompts = [f"prompt {n}" for n in range(4)]
    study(root / "ratings", {"Ann": "abab", "Bob_the_second-Subramanyan": "aabb"}, prompts)
    for file in root.glob("ratings/**/*.json*"):
        text = file.read_text(encoding="utf-8")
        for short, name in zip(MODELS, LONG, strict=True):
            text = text.replace(f'"{short}"', f'"{name}"')
        file.write_text(text, encoding="utf-8")
    both = scored(root / "both", {prompt: {LONG[0]: 90.0, LONG[1]: 91.0} for prompt in prompts})
    write_agreement(root, agree(root / "ratings", scores=[both]), {})
    return {name: (root / f"{name}.html").as_uri() for name in ("compare", "agreement")}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with closing(Browser(tmp_path_factory.mktemp("profile"))) as browser, closing(browser.page()) as opened:
        yield opened


@pytest.mark.parametrize("name", ["compare", "agreement"])
@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_break_where_people_break_them(page, addresses, name, width):
    page.resize(width, 844, phone=width < 500)
    page.open(addresses[name])
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("[...document.querySelectorAll('table.sortable th')].some((th) => th.textContent.includes('…'))")
    assert page.js(BROKEN) == []
