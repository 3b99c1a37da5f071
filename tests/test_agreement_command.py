"""`semscale agreement`: raters, a metric against their majority, what is joined, warned of, written and shown."""

import html
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from agreement_folders import MODELS, events, rated, scores, study, task, undone
from click.testing import CliRunner
from matplotlib.figure import Figure
from report_fixture import HOSTILE
from report_page import Page, check_outline, undrawn

from semscale.cli_agreement import agreement
from semscale.errors import StoreError, UsageError
from semscale.report.html import compose
from semscale.stats.agreement import cohen_kappa, krippendorff_alpha
from semscale.study.agreement.agreeing import agree

A, B = MODELS
ANSWERS = {"Ann": "aaaabbbbbb", "Bob": "aaabbbbbbb", "Cem": "aabbbbbbba"}
PROMPTS = [f"prompt {n}" for n in range(10)]


def values(of_a, *, prompts=PROMPTS):
    """Scores of ten prompts: higher for the first model where the letter is "a", equal where it is "="."""
    return {p: {A: 90.0 + {"a": 1, "b": -1, "=": 0}[letter], B: 90.0} for p, letter in zip(prompts, of_a, strict=True)}


def run(*arguments, code=0):
    done = CliRunner().invoke(agreement, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_raters_agree_as_computed_from_their_answers(tmp_path):
    found = agree(study(tmp_path, ANSWERS))
    rows = [list(letters) for letters in ANSWERS.values()]
    assert found.alpha.value == pytest.approx(krippendorff_alpha(rows).value)
    assert 1 - found.fleiss.value == pytest.approx((1 - found.alpha.value) * 30 / 29)
    pairs = {(two.a, two.b): two.kappa.value for two in found.cohen}
    assert pairs["Ann", "Cem"] == cohen_kappa(ANSWERS["Ann"], ANSWERS["Cem"]).value
    assert found.mean_cohen == pytest.approx(np.mean(list(pairs.values())))
    assert found.counts.tolist() == [[3, 0], [3, 0], [2, 1], [1, 2], *[[0, 3]] * 5, [1, 2]]
    assert (found.n_ties, found.n_unanimous, found.n_unrated) == (0, 7, 0)
    assert (found.constant, found.baseline.hits, found.baseline.n) == (B, 7, 10)


def test_individual_agreement_by_hand(tmp_path):
    found = agree(study(tmp_path, ANSWERS))  # the majority is aaabbbbbbb
    assert [rater.plain.hits for rater in found.raters] == [9, 10, 8]
    assert found.plain.mean == pytest.approx(0.9) and (found.plain.low, found.plain.high) == (0.8, 1.0)
    assert [(rater.others.hits, rater.others.n) for rater in found.raters] == [(7, 8), (7, 7), (7, 9)]
    assert found.others.pooled == pytest.approx(21 / 24) and found.others.mean < found.plain.mean


def test_a_metric_is_held_against_majority_and_constant_answer(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    run_of_both = scores(tmp_path / "run", values("aaabbbbbaa"))
    metric = agree(tmp_path / "ratings", scores=[run_of_both]).metric
    assert (metric.agree.hits, metric.agree.n, metric.says) == (8, 10, (5, 5))
    assert metric.kappa.value == pytest.approx(cohen_kappa("aaabbbbbaa", "aaabbbbbbb").value)
    assert (metric.constant, metric.baseline.hits) == (B, 7)
    assert (metric.mcnemar.statistic, metric.mcnemar.n) == (3, 5)  # right alone: the metric on three, "pixart" on two


def test_ties_of_raters_and_of_the_metric_are_counted_apart(tmp_path):
    study(tmp_path / "ratings", {"Ann": "aabb-b", "Bob": "abbb-b"})
    run_of_both = scores(tmp_path / "run", values("aaa=ab", prompts=PROMPTS[:6]))
    found = agree(tmp_path / "ratings", scores=[run_of_both])
    assert (found.n_ties, found.n_unrated) == (1, 1)
    assert (found.metric.n_metric_ties, found.metric.n_no_majority) == (1, 2)
    assert (found.metric.agree.hits, found.metric.agree.n) == (2, 3)
    assert found.disagreements == [2]


def test_lower_is_better_where_the_metric_says_so(tmp_path):
    from semscale.study.agreement.of_metric import choices

    table = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [np.nan, 1.0]])
    assert choices(table, higher=True).tolist() == [1, 0, -1, -1]
    assert choices(table, higher=False).tolist() == [0, 1, -1, -1]
    study(tmp_path / "ratings", {"Ann": "ab"})
    run_of_both = scores(tmp_path / "run", values("ab", prompts=PROMPTS[:2]))
    table = pq.read_table(run_of_both / "groups.parquet")
    clamped = [1 if model == A else 2 for model in table["model"].to_pylist()]
    at = table.schema.get_field_index("n_clamped")
    pq.write_table(table.set_column(at, "n_clamped", [clamped]), run_of_both / "groups.parquet")
    metric = agree(tmp_path / "ratings", scores=[run_of_both], metric="n_clamped").metric
    assert metric.metric.better == "lower" and metric.choice.tolist() == [0, 0]
    with pytest.raises(UsageError, match="neither end is better"):
        agree(tmp_path / "ratings", scores=[run_of_both], metric="scs_se")


def test_two_folders_are_joined_by_model_and_prompt_never_by_place(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    table = values("aaabbbbbaa")
    one = scores(tmp_path / "one", {p: {A: table[p][A]} for p in PROMPTS[::-1]})
    two = scores(tmp_path / B, {p: {None: table[p][B]} for p in PROMPTS})  # no model named: the folder's name is it
    other = scores(tmp_path / "two", {p: {None: table[p][B]} for p in PROMPTS})
    together = agree(tmp_path / "ratings", scores=[scores(tmp_path / "run", table)]).metric
    for folders in ([two, one], [f"{B}={other}", one]):
        metric = agree(tmp_path / "ratings", scores=folders).metric
        assert metric.choice.tolist() == together.choice.tolist()
    with pytest.raises(UsageError, match=f"'{B}', which the scores do not have .*--scores '{B}=RUN'"):
        agree(tmp_path / "ratings", scores=[one, other])
    with pytest.raises(UsageError, match=f"'{A}' is in .* say which with --scores"):
        agree(tmp_path / "ratings", scores=[one, tmp_path / "run"])


def test_what_has_no_partner_is_listed(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    table = {p: v for p, v in values("aaabbbbbaa").items() if p not in ("prompt 0", "prompt 1")}
    table["prompt 1"] = {A: 1.0}
    table["not rated"] = {A: 1.0, B: 2.0}
    found = agree(tmp_path / "ratings", scores=[scores(tmp_path / "run", table)])
    assert [(each.prompt, each.missing_in) for each in found.metric.unmatched] == [
        ("prompt 0", (A, B)),
        ("prompt 1", (B,)),
        ("not rated", ("ratings",)),
    ]
    assert found.metric.agree.n == 8
    assert any("2 rated prompts without scores of both models" in line for line in found.warnings)


def test_other_images_than_raters_saw_are_warned_of(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    same = agree(tmp_path / "ratings", scores=[scores(tmp_path / "same", values("aaabbbbbaa"))])
    more = agree(tmp_path / "ratings", scores=[scores(tmp_path / "more", values("aaabbbbbaa"), seeds=(3, 7, 9))])
    assert not same.metric.other_images and not same.warnings
    assert len(more.metric.other_images) == 10
    assert "saw different images (other seeds, or more) of 10 items" in more.warnings[-1]


def test_a_constant_metric_is_no_better_than_a_constant_answer(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    found = agree(tmp_path / "ratings", scores=[scores(tmp_path / "run", values("b" * 10))])
    assert found.metric.agree.value == found.metric.baseline.value == 0.7
    assert found.metric.kappa.value == 0
    assert "always answering 'pixart' agrees with the majority as often as scs does" in found.warnings[-1]


def test_bias_haste_and_one_sided_raters_are_named(tmp_path):
    task(tmp_path, PROMPTS)
    events(tmp_path, "Ann", [rated("Ann", n, A, left=A, seconds=0.2) for n in range(10)])
    events(tmp_path, "Bob", [rated("Bob", n, MODELS[n % 2], left=MODELS[n // 5]) for n in range(10)])
    events(tmp_path, "Cem", [rated("Cem", 0, A), undone("Cem", 0)])
    found = agree(tmp_path)
    said = "\n".join(found.warnings)
    assert "rater 'Ann' pressed left on all of 10 items" in said
    assert "rater 'Ann' answered in less than 0.5 s on 10 of 10 items" in said
    assert "1 rater without a rating that counts: 'Cem'" in said
    assert "'Bob'" not in said
    assert "position bias: raters chose the left side more often than chance, left in 80% [58%, 92%]" in said
    assert found.seconds == pytest.approx(1.1)


def test_fair_sides_are_no_bias(tmp_path):
    assert not agree(study(tmp_path, ANSWERS)).warnings


def test_one_rater_and_one_item_are_said_to_be_so(tmp_path):
    found = agree(study(tmp_path, {"Ann": "a-"}))
    assert [line.split(":")[0] for line in found.warnings] == ["one rater", "one item", "1 of 2 items without a rating"]
    assert np.isnan(found.alpha.value) and found.alpha.reason == "no item has two ratings"
    assert np.isnan(found.fleiss.value) and not found.cohen and not found.others.n_raters
    assert "no agreement between raters to tell" in run(tmp_path)


def test_unequal_numbers_of_ratings_leave_fleiss_to_alpha(tmp_path):
    found = agree(study(tmp_path, {"Ann": "aabb", "Bob": "aab-", "Cem": "abb-"}))
    assert np.isnan(found.fleiss.value) and "from 1 to 3 ratings" in found.fleiss.reason
    assert np.isfinite(found.alpha.value)


def test_raters_without_an_item_in_common(tmp_path):
    found = agree(study(tmp_path, {"Ann": "ab--", "Bob": "--ab"}))
    assert found.cohen[0].kappa.reason == "rated no item in common" and np.isnan(found.mean_cohen)


def test_without_ratings_there_is_nothing_to_say(tmp_path):
    task(tmp_path, PROMPTS)
    with pytest.raises(UsageError, match="has no ratings yet; open"):
        agree(tmp_path)
    events(tmp_path, "Ann", [rated("Ann", 0, A), undone("Ann", 0)])
    with pytest.raises(UsageError, match="no ratings yet \\(1 were taken back\\)"):
        agree(tmp_path)


def test_ratings_of_other_models_than_the_task_are_refused(tmp_path):
    study(tmp_path, ANSWERS)
    task(tmp_path, PROMPTS, models=("SDXL", "dalle"))
    with pytest.raises(StoreError, match=r"'SDXL' against 'pixart', but task\.json is of SDXL and dalle"):
        agree(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a study with a hostile prompt, a rater with a hostile name, and pictures."""
    root = tmp_path_factory.mktemp("agreement")
    prompts = [HOSTILE, "line\nbreak \x1b[31m", *PROMPTS[2:9], "not \udce4 UTF-8"]
    study(root / "ratings", {**ANSWERS, HOSTILE[:40].replace("/", ""): "ab"}, prompts)
    scores(root / "run", values("bbabbbbbaa", prompts=[*prompts[:9], "scored"]), pictures=True)
    text = run(root / "ratings", "--scores", root / "run", "-o", root / "out", "--json")
    return root / "out", text


def test_the_command_writes_what_it_found(written):
    out, text = written
    assert json.loads(text.splitlines()[-1]) == {**json.loads((out / "agreement.json").read_text()), "out": str(out)}
    told = json.loads((out / "agreement.json").read_text())
    assert (told["n_raters"], told["n_items"], told["n_ratings"]) == (4, 10, 32)
    assert told["metric"]["n_disagreements"] == len(told["metric"]["disagreements"]) == 3
    rows = pq.read_table(out / "items.parquet").to_pylist()
    assert rows[0]["prompt"] == HOSTILE and (rows[0]["votes_a"], rows[0]["votes_b"]) == (4, 0)
    assert (rows[0]["majority"], rows[0]["choice"], rows[0]["agree"]) == (A, B, False)
    assert (rows[0]["value_a"], rows[0]["value_b"]) == (89, 90)
    assert sum(row["agree"] is True for row in rows) == told["metric"]["agreement"]["hits"]
    assert rows[9]["prompt"] == "not ? UTF-8" and rows[9]["choice"] is rows[9]["agree"] is None
    assert "\x1b" not in text and "\\x1b[31m" in text


def test_the_page_needs_nothing_and_escapes_everything(written):
    page = (written[0] / "agreement.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1 and html.escape(HOSTILE).replace("&#x27;", "&#39;") in page.replace(
        "&#34;", "&quot;"
    )
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page) and "url(" not in page
    assert len(re.findall(r'<img src="data:image/jpeg', page)) == 3 * 2 * 2  # items apart x models x seeds
    check_outline(page)
    assert page.index("4 votes, the majority") < page.index("3 votes, the majority")
    assert "default-src 'none'" in page


def test_the_report_of_the_run_shows_the_items_on_which_raters_and_metric_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", undrawn)
    study(tmp_path / "ratings", ANSWERS, [HOSTILE, *PROMPTS[1:]])
    folder = scores(tmp_path / "run", values("bbabbbbbaa", prompts=[HOSTILE, *PROMPTS[1:]]), pictures=True)
    run(tmp_path / "ratings", "--scores", folder, "-o", folder)
    page = Page(compose(folder)[0])
    section = page.section("agreement")
    assert "Where raters and scs differ" in section and 'href="agreement.html"' in section
    told = json.loads((folder / "agreement.json").read_text())["metric"]["disagreements"]
    assert section.count('<div class="panel">') == len(told) and section.count("data:image/jpeg") == len(told) * 2 * 2
    assert section.count(", the majority;") == section.count(", which it prefers") == len(told)
    assert HOSTILE not in section and HOSTILE in page.words()
    check_outline(page.source)


def test_results_may_follow_the_option_one_after_the_other(tmp_path):
    study(tmp_path / "ratings", ANSWERS)
    table = values("aaabbbbbaa")
    for name in MODELS:
        scores(tmp_path / name, {p: {name: table[p][name]} for p in PROMPTS})
    together = run(tmp_path / "ratings", "--scores", tmp_path / A, tmp_path / B)
    assert "scs agrees with the majority on 8 of 10 items" in together
    assert together == run(tmp_path / "ratings", "--scores", tmp_path / A, "--scores", tmp_path / B)
    assert "name results with --scores" in run(tmp_path / "ratings", tmp_path / A, code=2)


def test_quiet_prints_one_line_of_json(tmp_path):
    text = run(study(tmp_path, ANSWERS), "--quiet", "--json")
    assert len(text.splitlines()) == 1 and json.loads(text)["metric"] is None
