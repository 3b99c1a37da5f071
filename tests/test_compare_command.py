"""`semscale compare` as a person calls it: what it prints, writes and refuses."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from compared_folders import PROMPTS, scores, write_results
from images import write_tree

from semscale import run
from semscale.cli_compare import compare as command
from semscale.errors import UsageError
from semscale.report.svg import Plot

HOSTILE = "[bold]\x1b[31m<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp; {{ 7 * 7 }}"


@pytest.fixture(autouse=True)
def no_png(monkeypatch):
    """What figures look like is for others to test, and drawing them twice takes most of the time."""
    monkeypatch.setattr(Plot, "png", lambda plot: b"")


def call(*arguments, exit_code=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output + repr(result.exception)
    return result


@pytest.fixture
def both(tmp_path):
    a = write_results(tmp_path / "one", {"sdxl": scores()}, note="a demo")
    return a, write_results(tmp_path / "two", {"pixart": scores(4, PROMPTS[1:], noise=1)})


def test_the_first_line_is_the_verdict_and_nothing_is_written(both, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    lines = call(*both).stdout.splitlines()
    assert re.fullmatch(
        r"pixart is more consistent than sdxl: \+\d\.\d\d \[\d\.\d\d, \d\.\d\d\] scs over 11 prompts "
        r"\(Wilcoxon, exact, p = 0\.00098\)",
        lines[0],
    )
    assert lines[1].startswith("sdxl is better than pixart: +1.00 [1.00, 1.00] clip-score")
    assert "! a demo" in lines
    assert any(line.startswith("! 1 prompt without a partner, left out: 'a picture of number 0'") for line in lines)
    table = "\n".join(lines)
    for name in ("SD, ddof 1", "Hodges-Lehmann", "win rate", "rank-biserial", "Kolmogorov-Smirnov", "Paired perm"):
        assert name in table
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What one comparison says and writes, and the results that it is of."""
    root = tmp_path_factory.mktemp("compared")
    runs = (
        write_results(root / "one", {"sdxl": scores()}),
        write_results(root / "two", {"pixart": scores(4, PROMPTS[1:], noise=1)}),
    )
    result = call(*runs, "-o", root / "out", "--json", "--quiet", "--seed", 3)
    return json.loads(result.stdout), root / "out", runs


def test_the_files_hold_the_joined_table_and_every_statistic(written):
    line, out, _ = written
    told = json.loads((out / "comparison.json").read_text())
    assert {key: line[key] for key in told} == told
    assert (told["n_prompts"], told["n_unmatched_prompts"], told["joined_by"]) == (11, 1, "prompt and seed")
    statistics = told["metrics"]["scs"]["pairs"][0]["statistics"]
    assert statistics["mean_difference"]["seed"] == 3
    assert statistics["a"]["ddof"] == 1
    assert [m["pairs"][0]["ahead"] for m in told["metrics"].values()] == ["pixart", "sdxl"]
    rows = pq.read_table(out / "pairs.parquet").to_pylist()
    assert [row["metric"] for row in rows] == ["scs"] * 11 + ["clip-score"] * 11
    assert {row["prompt"]: row["a"] for row in rows[:11]} == {p: v for p, v in scores().items() if p != PROMPTS[0]}
    assert np.mean([row["difference"] for row in rows[:11]]) == pytest.approx(statistics["mean_difference"]["value"])
    assert rows[0]["n_shared_seeds"] == 3
    assert pq.read_table(out / "unmatched.parquet")["prompt"].to_pylist() == [PROMPTS[0]]


def test_the_page_shows_every_part(written):
    page = (written[1] / "compare.html").read_text()
    for part in ("metric1", "metric2", "both", "unmatched", "provenance"):
        assert f'<section id="{part}">' in page
    assert page.count("<svg") == 5  # distribution and differences of both metrics, and both together
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def test_a_comparison_is_the_same_when_it_is_made_again(written, tmp_path):
    _, first, runs = written
    call(*runs, "-o", tmp_path, "--quiet", "--seed", 3)
    for name in ("pairs.parquet", "unmatched.parquet"):
        assert pq.read_table(tmp_path / name) == pq.read_table(first / name)
    one, two = ((folder / "compare.html").read_text().partition('id="provenance"')[0] for folder in (first, tmp_path))
    assert one == two


def test_hostile_prompts_and_names_are_text_in_the_page_and_on_the_terminal(tmp_path):
    prompts = (*PROMPTS[:6], HOSTILE)
    a = write_results(tmp_path / "a", {HOSTILE: scores(prompts=(*prompts, HOSTILE + "!"))})
    b = write_results(tmp_path / "b", {"$\\frac{1}$ 模型\u202e" + "x" * 300: scores(3, prompts, noise=1)})
    printed = call(a, b, "-o", tmp_path / "out", "--metric", "scs").stdout
    assert re.search(r"x…x{30} is more consistent than .*….*: \+\d\.\d\d \[", printed.splitlines()[0])
    assert re.search(r"x…x{30} +\d\d\.\d\d +\d\d\.\d\d +\d\.\d\d +7\n", printed)  # no number is cut
    assert "\x1b" not in printed
    assert "[bold]" in printed  # and not obeyed
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 3
    assert "\u202e" not in page.partition("<main")[0]  # in the verdict no name turns the numbers round
    assert "{{ 7 * 7 }}" in page


def test_three_models_of_one_run(tmp_path):
    models = {"a": scores(), "b": scores(2, noise=1), "c": scores(0.4, noise=2)}
    run_folder = write_results(tmp_path / "run", models)
    lines = call(run_folder, "--models", "c,a", "--models", "b", "--metric", "scs", "-o", tmp_path / "out").stdout
    assert "\nc - a" in lines  # no difference is shown: in the order that was asked for
    assert "\nb - a" in lines and "\nb - c" in lines  # the one that is ahead first, as in the sentence
    assert lines.count("Holm-adjusted") == 3
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("<svg") == 4
    assert 'id="both"' not in page  # of scs alone there is nothing to see


def test_what_cannot_be_compared_is_refused(both, tmp_path):
    assert "Missing argument" in call(exit_code=2).output
    assert "',,' names nothing" in call(*both, "--models", ",,", exit_code=2).output
    three = write_results(tmp_path / "three", {"dalle 3": scores(), "a": scores(), "b": scores()})
    for arguments, said in (
        ((both[0],), "holds one model"),
        ((three, "--models", "dalle 3"), "'dalle 3' alone was named and two models are needed; it has a, b, dalle 3"),
        ((*both, "--metric", "scz"), "did you mean 'scs'"),
        ((*both, "--metric", ","), "names nothing"),
        ((*both, "--models", "sdxl"), "1 model for 2 folders"),
        ((both[0], tmp_path), "summary.json: no such file"),
        ((*both, "--prompt-map", "x=>y"), "fits none"),
    ):
        result = call(*arguments, exit_code=1)
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)
    other = write_results(tmp_path / "other", {"pixart": scores()}, sha256="ef" * 32)
    assert "--force" in str(call(both[0], other, exit_code=1).exception)
    assert "cannot be compared" in call(both[0], other, "--force").stdout


def test_no_prompt_with_a_value_is_said_and_no_crash(tmp_path):
    nothing = dict.fromkeys(PROMPTS, float("nan"))
    a = write_results(tmp_path / "a", {"a": nothing}, {"a": {}})
    b = write_results(tmp_path / "b", {"b": nothing}, {"b": {}})
    assert "cannot be compared by scs: no prompt" in call(a, b, "-o", tmp_path / "out").stdout
    assert (tmp_path / "out" / "compare.html").is_file()


def test_lists_of_prompts(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a red fox\na cat\na dog\nan owl\n")
    second.write_text("a blue fox\na dog\na cat\nan owl\n")
    result = call("--prompts", first, second, "-o", tmp_path / "out", "--json", exit_code=1)
    lines = result.stdout.splitlines()
    assert lines[0] == "3 rows are not the same prompt: 1-3 (a.txt: 4 rows, b.txt: 4 rows)"
    assert lines[2] == "  row 2: a cat | a dog; the first is row 3 of the other list"
    assert json.loads(lines[-1])["n_flagged"] == 3
    assert (tmp_path / "out" / "prompt_map.csv").read_text() == "a,b\na cat,a cat\na dog,a dog\nan owl,an owl\n"
    assert "every row is the same prompt" in call("--prompts", first, first).stdout
    assert "leave results" in call("--prompts", first, first, tmp_path, exit_code=2).output


def test_real_runs_are_compared_and_consistency_of_shared_seeds_equals_a_run_of_these(model, tmp_path):
    prompts = ("a cat", "a fox", "red fox")
    names = [f"{m}/{p}/{seed}.png" for m in ("m1", "m2") for p in prompts for seed in range(5)]
    fewer = {"m2/a cat/1.png", "m1/a cat/3.png", "m2/red fox/0.png"}
    write_tree(tmp_path / "all", [name for name in names if name not in fewer])
    write_tree(tmp_path / "shared", [name for name in names if name.split("/", 1)[1] not in _ends(fewer)])
    for name in names:  # the same bytes under the same name
        if (tmp_path / "all" / name).exists() and (tmp_path / "shared" / name).exists():
            (tmp_path / "shared" / name).write_bytes((tmp_path / "all" / name).read_bytes())
    for part in ("all", "shared"):
        run.score(tmp_path / part, out=tmp_path / f"{part}-run", model=model, backend="fake")
    line = json.loads(call(tmp_path / "all-run", "--json", "--quiet").stdout)
    assert (line["n_prompts"], line["n_images"], line["n_unmatched_seeds"]) == (3, [14, 13], 3)
    assert list(line["metrics"]) == ["scs", "clip-score"]
    call(tmp_path / "all-run", "--common-seeds", "-o", tmp_path / "out", "--metric", "scs")
    groups = pq.read_table(tmp_path / "shared-run" / "groups.parquet").to_pylist()
    expected = {(row["model"], row["group"]): row["scs"] for row in groups}
    for row in pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist():
        assert row["a"] == pytest.approx(expected["m1", row["prompt"]], abs=1e-9)
        assert row["b"] == pytest.approx(expected["m2", row["prompt"]], abs=1e-9)
    seeds = (("m1", 1), ("m1", 2), ("m2", 2), ("m2", 3))
    write_tree(tmp_path / "few", [f"{m}/{p}/{seed}.png" for p in prompts for m, seed in seeds])
    run.score(tmp_path / "few", out=tmp_path / "few-run", model=model, backend="fake", metrics=["scs"])
    one = call(tmp_path / "few-run", "--common-seeds", exit_code=1)
    assert "one seed of a prompt at most is in all models, and scs needs two" in str(one.exception)
    without = write_results(tmp_path / "bare", {"a": scores(), "b": scores(1)})
    assert "no embeddings" in str(call(without, "--common-seeds", exit_code=1).exception)


def _ends(names):
    return {name.split("/", 1)[1] for name in names}
