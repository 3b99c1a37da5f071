"""The rating page in a real browser: clicked, typed, closed, resumed."""

import json
from contextlib import ExitStack, closing

import pytest

pytest.importorskip("websockets")
from annotating import Site, open_session, write_generators
from browser import Browser, binary

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
  const texts = [...document.querySelectorAll("h1, h2, p, bdi, q, label, button, .prompt span")];
  return texts.filter((element) => element.innerText && element.checkVisibility()).map((element) => {
    const both = [light(getComputedStyle(element).color), light(behind(element))];
    return (Math.max(...both) + .05) / (Math.min(...both) + .05);
  });
})()"""  # of texts with what is behind them, by the formula of WCAG
READY = "document.getElementById('left') && !document.getElementById('left').disabled"
HOSTILE = "<img src=x onerror=alert(1)> \"q\" 'a' 🦊 " + "long " * 40


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def open_page(browser):
    """Opens empty pages, which are closed when the test ends."""
    with ExitStack() as pages:
        yield lambda **size: pages.enter_context(closing(browser.page(**size)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_generators(tmp_path_factory.mktemp("generators"), ["a dog", "a cat", "a key", HOSTILE.strip()])


@pytest.fixture(scope="module")
def site(folders, tmp_path_factory):
    running = Site(folders, tmp_path_factory.mktemp("ratings") / "out")
    yield running
    running.end()


def begin(page, url, name):
    page.open(url)
    page.click("#rater")
    page.type(name)
    page.press("Enter")
    page.wait(READY)


def go(page, act, position):
    """Do something and wait for the place where it leads."""
    act()
    page.wait(f"state.position === {position} && (ready || state.shown === null)")


def events(out, rater):
    files = [file.read_text().splitlines() for file in (out / "ratings").glob("*.jsonl")]
    return [event for lines in files for event in map(json.loads, lines) if event["rater"] == rater]


def test_a_session_is_clicked_typed_closed_and_resumed(open_page, site):
    page = open_page()
    begin(page, site.url, "Ann Example")
    assert page.text("#progress-text") == "0 of 4 rated"
    assert page.js("document.getElementById('undo').disabled")
    go(page, lambda: page.click("#left"), 1)
    assert page.js("document.activeElement.id") == "question"  # Enter pressed again chooses nothing
    go(page, lambda: page.press("ArrowRight"), 2)
    go(page, lambda: page.press("u"), 1)
    go(page, lambda: page.press("2"), 2)
    shown = page.js("state.shown.item")
    page.close()

    page = open_page()
    begin(page, site.url, "ann example")
    assert page.js("state.shown.item") == shown
    assert page.text("#progress-text") == "2 of 4 rated"
    go(page, lambda: page.press("1"), 3)
    page.reload()
    page.wait("state && state.position === 3 && ready")
    go(page, lambda: page.press("ArrowLeft"), 4)
    assert page.text("#thanks") == "Thank you, Ann Example. All 4 items are rated."
    go(page, lambda: page.click("#undo-done"), 3)
    go(page, lambda: page.press("1"), 4)

    told = events(site.out, "Ann Example")
    assert [event["event"] for event in told] == [
        "rated",
        "rated",
        "undone",
        "rated",
        "rated",
        "rated",
        "undone",
        "rated",
    ]
    given = [event for event in told if event["event"] == "rated"]
    assert [event["choice"] for event in given] == ["left", "right", "right", "left", "left", "left"]
    assert [event["position"] for event in given] == [0, 1, 1, 2, 3, 3]
    assert sorted(event["left"] for event in {e["item"]: e for e in given}.values()) == ["first"] * 2 + ["second"] * 2
    assert all(0 < event["seconds"] < 30 and len(event["files"]["left"]) == 3 for event in given)
    assert page.complaints() == []
    assert {url.split("/")[2] for url in page.requested()} == {site.url.split("/")[2]}


def test_two_raters_at_once_have_orders_of_their_own(open_page, site):
    pages = {name: open_page() for name in ("Una", "Bob")}
    for name, page in pages.items():
        begin(page, site.url, name)
    for position in range(1, 5):
        for page in pages.values():
            go(page, lambda page=page: page.press("1"), position)
    orders = [[event["item"] for event in events(site.out, name)] for name in pages]
    assert sorted(orders[0]) == sorted(orders[1])
    sides = [{event["item"]: event["left"] for event in events(site.out, name)} for name in pages]
    assert orders[0] != orders[1] or sides[0] != sides[1]
    page = pages["Bob"]
    page.click("#leave")
    page.type("Cid")
    page.press("Enter")
    page.wait(f"state && state.rater === 'Cid' && {READY}")


def test_a_double_click_and_a_key_held_down_rate_once(open_page, site):
    page = open_page()
    begin(page, site.url, "Bea")
    page.click("#left", count=2)
    page.wait("state.position >= 1 && ready")
    key = {"key": "ArrowRight", "windowsVirtualKeyCode": 39}
    for repeated in (False, True, True, True):
        page.call("Input.dispatchKeyEvent", type="keyDown", autoRepeat=repeated, **key)
        page.wait("ready")
    page.js(
        "fetch('rate', {method: 'POST', body: '{}'}).then((answer) => answer.status)"
    )  # all that was sent is answered
    assert page.js("state.position") == 2
    assert len(events(site.out, "Bea")) == 2


def test_an_image_is_enlarged_and_no_key_rates_meanwhile(open_page, site):
    page = open_page()
    begin(page, site.url, "Cleo")
    page.click("#right-images .tile:nth-child(2)")
    page.wait("document.getElementById('zoom').open && document.getElementById('large').naturalWidth")
    assert page.text("#zoom-title") == "Right image 2 of 3"
    for key in ("1", "2", "ArrowRight"):
        page.press(key)
    assert page.text("#zoom-title") == "Right image 3 of 3"
    page.press("Escape")
    page.wait("document.activeElement.dataset.name === 'right image 3 of 3'")
    assert not page.js("document.getElementById('zoom').open")
    page.press("Enter")
    page.wait("document.getElementById('zoom').open")
    page.press("Escape")
    page.wait("!document.getElementById('zoom').open")
    assert page.js("state.position") == 0
    assert events(site.out, "Cleo") == []


def test_a_hostile_prompt_and_name_are_text(open_page, site):
    page = open_page()
    page.call("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.harmed = true; };")
    begin(page, site.url, "<b onclick=alert(1)>Eve</b>")
    for position in range(1, 5):
        if page.js("state.shown.prompt").startswith("<img"):
            break
        go(page, lambda: page.press("1"), position)
    assert page.text("#prompt").strip("“”") == HOSTILE.strip()
    assert page.text("#name") == "<b onclick=alert(1)>Eve</b>"
    assert page.js("document.querySelectorAll('main img:not([src^=\"image/\"]):not(#large), #name b').length") == 0
    assert page.js("window.harmed") is None
    assert page.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_has_contrast(open_page, site, scheme):
    page = open_page(width=360, height=740)
    page.scheme(scheme)
    begin(page, site.url, "A rather long name of a rater, longer than a phone is wide " + scheme)
    assert page.js("document.documentElement.scrollWidth") == 360
    assert page.js("document.getElementById('left').getBoundingClientRect().bottom") <= 740  # at hand without scrolling
    ratios = page.js(CONTRASTS)
    assert len(ratios) >= 8
    assert min(ratios) >= 4.5


def test_everything_has_a_name_for_screen_readers(open_page, site):
    page = open_page()
    begin(page, site.url, "Fay")
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    found = [
        (n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"] and "role" in n
    ]
    named = [name for role, name in found if role in ("button", "textbox", "progressbar", "group", "heading")]
    assert all(named)
    assert {"← Left 1", "Left", "Enlarge left image 1 of 3", "0 of 4 rated"} & set(named)
    assert page.js("document.getElementById('progress-text').ariaLive") == "polite"


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(open_page, folders, tmp_path):
    site = Site(folders, tmp_path / "out")
    page = open_page()
    begin(page, site.url, "Gus")
    go(page, lambda: page.press("1"), 1)
    site.end()
    page.press("1")
    page.wait("!document.getElementById('problem').hidden")
    assert "saved" in page.text("#problem")
    assert page.js("state.position") == 1
    again = Site(folders, tmp_path / "out")
    begin(page, again.url, "Gus")
    assert page.js("state.position") == 1
    again.end()


def test_a_picture_that_cannot_be_shown_lets_nothing_be_chosen(open_page, tmp_path):
    folders = write_generators(tmp_path, ["a dog"], [1, 2])
    site = Site(folders, tmp_path / "out")
    mended = (folders[0] / "a dog/2.png").read_bytes()
    (folders[0] / "a dog/2.png").write_bytes(b"gone")
    page = open_page()
    page.open(site.url)
    page.click("#rater")
    page.type("Hal")
    page.press("Enter")
    page.wait("document.querySelector('.broken') && !document.getElementById('problem').hidden")
    page.press("1")
    assert page.js("document.getElementById('left').disabled")
    (folders[0] / "a dog/2.png").write_bytes(mended)
    page.js("location.reload()")
    page.wait(READY)
    assert events(site.out, "Hal") == []
    site.end()


def test_an_item_that_cannot_be_shown_is_put_off_until_it_alone_is_left(open_page, tmp_path):
    folders = write_generators(tmp_path, ["a dog", "a cat"], [1])
    first = open_session(folders, tmp_path / "out").state("Ida").shown
    (folders[0] / first.prompt / "1.png").write_bytes(b"gone")
    site = Site(folders, tmp_path / "out")
    page = open_page()
    page.open(site.url)
    page.click("#rater")
    page.type("Ida")
    page.press("Enter")
    page.wait("document.querySelector('.broken') && !document.getElementById('put-off').hidden")
    page.click("#later")
    page.wait(f"state.shown.item !== '{first.item}' && ready")
    assert page.js("document.getElementById('put-off').hidden")
    assert page.text("#progress-text") == "0 of 2 rated"
    page.press("1")
    page.wait("state.position === 1 && document.querySelector('.broken') && !document.getElementById('problem').hidden")
    assert page.js("state.shown.item") == first.item
    assert page.js("document.getElementById('put-off').hidden")  # nothing comes before it
    assert [event["event"] for event in events(site.out, "Ida")] == ["rated"]
    site.end()


def test_a_name_that_is_too_long_is_refused_with_what_was_typed(open_page, site):
    page = open_page()
    page.open(site.url)
    page.click("#rater")
    page.type("x" * 81)
    page.press("Enter")
    page.wait("!document.getElementById('problem').hidden")
    assert "81 characters" in page.text("#problem")
    assert page.js("document.getElementById('rater').value.length") == 81


def test_a_prompt_turns_nothing_outside_of_it_around(open_page, site):
    page = open_page()
    begin(page, site.url, "Jo")
    assert page.js("getComputedStyle(document.querySelector('q > bdi#prompt')).unicodeBidi") == "isolate"
