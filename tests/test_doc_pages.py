"""The pages of docs/: generated ones are fresh, links lead somewhere, commands exist, and what is shown is true."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import click
import generated_docs
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from images import write_tree

from semscale import joins, tables
from semscale.cli import main
from semscale.dedup import TABLE as COPIES
from semscale.novelty import TABLE as NOVELTY
from semscale.study.agreement.files import ITEMS
from semscale.study.comparison.comparison_files import PAIRS
from semscale_bench.run import SEVERAL, bench

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")


@cache
def prose(path):
    """The text of a page without code."""
    return re.sub(r"`[^`\n]*`", "code", FENCE.sub("", path.read_text(encoding="utf-8")))


@cache
def anchors(path):
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path):
    """(file, anchor) of every link of a page that leads into the repository."""
    for target in LINK.findall(prose(path)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file).resolve() if file else path, anchor


@pytest.mark.parametrize("path", generated_docs.pages(), ids=lambda path: path.name)
def test_a_generated_page_is_what_the_program_says_now(path):
    fresh = generated_docs.pages()[path]
    assert path.read_text(encoding="utf-8") == fresh, f"docs/{path.name} is out of date: run `make docs`"


def test_generated_pages_do_not_depend_on_the_terminal_and_name_no_folder_of_this_machine(monkeypatch):
    before = generated_docs.pages()
    monkeypatch.setenv("COLUMNS", "40")
    assert generated_docs.pages() == before
    for text in before.values():
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text
        assert all(len(line) <= generated_docs.LINE_WIDTH for line in text.splitlines())


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for file, anchor in links(path):
        assert file.exists(), f"{path.name}: {file} is not there"
        assert not anchor or anchor in anchors(file), f"{path.name}: {file.name} has no heading #{anchor}"


def test_every_page_can_be_reached_from_the_index():
    reached, ahead = set(), [DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            ahead += [file for file, _ in links(page) if file in PAGES]
    assert reached == set(PAGES)


def shown_commands(path):
    """Every whole command line of semscale in the code of a page."""
    blocks = [block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language in ("", "sh")]
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if found := re.match(r"(?:\$ )?(semscale [a-z].*?)(?: {3,}.*| +#.*)?$", line):
            yield found[1]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_that_a_page_shows_exist_with_their_options(path):
    for line in shown_commands(path):
        name, *arguments = shlex.split(line)[1:]
        command = main.commands.get(name)
        if name == "bench" and arguments:
            command = bench.commands.get(arguments[0], bench.commands[SEVERAL])
        assert command, f"{path.name}: {line}: there is no command {name!r}"
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{path.name}: {line}: {given - known}"


def walked(text):
    """(command, what it is said to print) of the examples in a page."""
    for _, block in FENCE.findall(text):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            yield command, output.splitlines()


def test_getting_started_prints_what_it_says(tmp_path, monkeypatch):
    """All but what is about the demo, which takes longer to draw than all else here."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    for command, said in walked(text):
        name, *arguments = shlex.split(command)
        if name == "printf":
            Path(arguments[-1]).write_text(arguments[0].replace("\\n", "\n"))
        if name == "printf" or arguments[0] == "demo" or "semscale-demo" in arguments:
            continue
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{command}: {done.output}"
        assert_alike(command, [line.rstrip() for line in done.stdout.splitlines()], said)
    for language, block in FENCE.findall(text):
        if language == "python":
            exec(block, {})


def assert_alike(command, printed, said):
    """The same words; numbers to what another processor may round otherwise."""
    assert [NUMBER.sub("N", line) for line in printed] == [NUMBER.sub("N", line) for line in said], command
    for now, then in zip(printed, said, strict=True):
        found, wanted = (list(map(float, NUMBER.findall(line))) for line in (now, then))
        assert found == pytest.approx(wanted, rel=0.02, abs=0.02), f"{command}: {now}"


def test_formats_names_every_column_and_key(model, tmp_path):
    """Of tables by their schemas, of results by a run."""
    source = write_tree(tmp_path / "images", [f"m/{prompt}/{seed}.png" for prompt in ("a", "b") for seed in range(3)])
    call = ["score", str(source), "-o", str(tmp_path / "out"), "--model", model, "--backend", "fake", "--quiet"]
    assert CliRunner().invoke(main, call).exit_code == 0
    schemas = [
        tables.PLAN,
        tables.METADATA,
        tables.ERRORS,
        joins.PAIRS,
        joins.NEIGHBOURS,
        COPIES,
        NOVELTY,
        ITEMS,
        PAIRS,
    ]
    names = {name for schema in schemas for name in schema.names}
    for table in ("groups", "images"):
        names |= set(pq.read_schema(tmp_path / "out" / f"{table}.parquet").names)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    store = json.loads(next((tmp_path / "out" / "stores").glob("*/store.json")).read_text())
    names |= {*summary, *summary["scores"]["scs"], *summary["scores"]["clip-score"], *summary["provenance"]}
    names |= {*store, *store["image"], *store["image"]["preprocess"], *store["text"]["tokens"]}
    documented = set(re.findall(r"`([\w.]+)`", (DOCS / "formats.md").read_text(encoding="utf-8")))
    assert names - documented == set()


def test_every_group_of_commands_is_in_the_page_of_commands():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for group, prefix in ((main, "semscale"), (bench, "semscale bench")):
        assert isinstance(group, click.Group)
        for name in (name for name, command in group.commands.items() if not command.hidden):
            assert f"\n## {prefix} {name}\n" in text
