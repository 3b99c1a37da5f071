"""Models compared over the prompts that all of them have: joined by key, everything without a partner said."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compared_folders import PROMPTS, images_of, scores, write_results
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale.errors import StoreError, UsageError
from semscale.stats.comparison import compare
from semscale.study.comparison.comparing import compare_runs
from semscale.study.comparison.joining import (
    Items,
    join_prompts,
    keys_of,
    means_of_prompts,
    shared_seeds,
    sides_of_seeds,
)


def two(tmp_path, a=None, b=None, **changed):
    """Two folders: b is 4 points more consistent, but for noise."""
    first = write_results(tmp_path / "one", {"sdxl": scores()}, **(a or {}))
    second = write_results(tmp_path / "two", {"pixart": scores(4, noise=1)}, **(b or {}), **changed)
    return first, second


def metric(found, name="scs"):
    return next(each for each in found.metrics if each.metric.name == name)


def without_wording(found):
    return [dataclasses.asdict(pair.statistics) for each in found.metrics for pair in each.pairs]


def test_the_sentence_says_who_is_ahead_by_how_much_and_how_sure(tmp_path):
    found = compare_runs(*two(tmp_path))
    assert [each.metric.name for each in found.metrics] == ["scs", "clip-score"]
    pair = metric(found).pairs[0]
    assert (pair.a, pair.b) == ("sdxl", "pixart")
    assert pair.statistics.mean_difference.value == pytest.approx(-4.5, abs=0.5)  # a - b
    assert pair.sentence.startswith("pixart is more consistent than sdxl: +4.")
    assert "scs over 12 prompts (Wilcoxon, exact, p = 0.00049)" in pair.sentence
    assert "no difference shown" in metric(found, "clip-score").pairs[0].sentence
    assert [pair.ahead for each in found.metrics for pair in each.pairs] == ["pixart", None]
    (several,) = found.warnings
    assert several.startswith("2 metrics: their p are not adjusted for one another")


def test_statistics_are_those_of_the_joined_values(tmp_path):
    found = compare_runs(*two(tmp_path), seed=7)
    a, b = scores(), scores(4, noise=1)
    expected = compare(np.array([a[p] for p in sorted(a)]), np.array([b[p] for p in sorted(a)]), seed=7)
    assert dataclasses.asdict(metric(found).pairs[0].statistics) == dataclasses.asdict(expected)


def test_the_order_of_rows_has_no_part_in_it(tmp_path):
    plain = compare_runs(*two(tmp_path / "plain"))
    other = compare_runs(*two(tmp_path / "other", a={"shuffled": True}, b={"shuffled": True}))
    assert repr(without_wording(plain)) == repr(without_wording(other))  # repr: NaN is not NaN


def test_prompts_that_one_model_lacks_are_listed_and_left_out(tmp_path):
    a = write_results(tmp_path / "a", {"a": scores()})
    b = write_results(tmp_path / "b", {"b": scores(4, (*PROMPTS[2:], "only in b"))})
    found = compare_runs(a, b)
    assert metric(found).pairs[0].statistics.n == 10
    lone = found.unmatched.filter(np.array(found.unmatched["what"]) == "prompt").to_pylist()
    assert [(row["prompt"], row["present_in"], row["missing_in"]) for row in lone] == [
        (PROMPTS[0], ["a"], ["b"]),
        (PROMPTS[1], ["a"], ["b"]),
        ("only in b", ["b"], ["a"]),
    ]
    assert any(
        "3 prompts without a partner" in line and "2 in a alone, 1 in b alone" in line for line in found.warnings
    )


def test_scores_of_images_are_joined_by_prompt_and_seed(tmp_path):
    values = scores()
    a = write_results(tmp_path / "a", {"a": values}, {"a": images_of(values, (1, 2, 3))})
    b = write_results(tmp_path / "b", {"b": values}, {"b": images_of(values, (2, 3, 40), shift=1)})
    found = compare_runs(a, b)
    difference = metric(found, "clip-score").pairs[0].statistics.mean_difference
    assert difference.value == pytest.approx(-1.0)  # of all images it would be far off: seed 40 weighs 200
    seeds = [row["seed"] for row in found.unmatched.to_pylist() if row["prompt"] == PROMPTS[0]]
    assert seeds == [1, 40]
    assert any("seeds not shared: 24 seeds in 12 prompts" in line for line in found.warnings)
    assert (found.images.paired, found.images.n_shared.tolist()) == (True, [2] * 12)


@pytest.mark.parametrize("seeds", [(11, 12, 13), ("none", "nor this", "nor that")])
def test_unshared_and_unknown_seeds_are_a_warning(tmp_path, seeds):
    values = scores()
    a = write_results(tmp_path / "a", {"a": values}, {"a": images_of(values)})
    unknown = isinstance(seeds[0], str)
    images = {p: dict.fromkeys(seeds, 30.0) for p in values}
    b = write_results(tmp_path / "b", {"b": values}, {"b": images})
    found = compare_runs(a, b)
    assert not found.images.paired
    assert any(line.startswith("unpaired noise") for line in found.warnings)
    assert any(line == "images without a seed in b (36)" for line in found.warnings) == unknown
    assert found.images.n_without_seed == ((0, 36) if unknown else (0, 0))
    assert len(found.unmatched) == (0 if unknown else 72)
    assert metric(found, "clip-score").pairs[0].statistics.n == 12  # every image counts


def test_one_image_without_a_seed_has_no_partner_and_does_not_undo_the_others(tmp_path):
    values = scores()
    images = images_of(values, shift=1)
    images[PROMPTS[0]]["stray"] = 900.0
    a = write_results(tmp_path / "a", {"a": values}, {"a": images_of(values)})
    found = compare_runs(a, write_results(tmp_path / "b", {"b": values}, {"b": images}))
    assert found.images.paired and found.images.n_without_seed == (0, 1) and len(found.unmatched) == 0
    assert metric(found, "clip-score").pairs[0].statistics.mean_difference.value == pytest.approx(-1.0)
    assert "images without a seed in b (1); scores of images leave them out" in found.warnings


def test_different_numbers_of_images_are_a_warning(tmp_path):
    values = scores()
    images = images_of(values)
    images[PROMPTS[3]] = {1: 20.0}
    a = write_results(tmp_path / "a", {"a": values})
    b = write_results(tmp_path / "b", {"b": values}, {"b": images})
    expected = f"1 prompt with different numbers of images, as {PROMPTS[3]!r}: 3 in a, 1 in b"
    assert expected in compare_runs(a, b).warnings


def test_prompts_without_a_score_are_left_out_and_counted(tmp_path):
    values = scores(4, noise=1) | {PROMPTS[4]: float("nan")}
    b = write_results(tmp_path / "b", {"b": values})
    found = compare_runs(write_results(tmp_path / "a", {"a": scores()}), b)
    assert metric(found).left_out == (PROMPTS[4],)
    assert metric(found).pairs[0].statistics.n == 11
    assert "scs: 1 prompt left out, without a value in every model" in found.warnings


def test_three_models_of_one_run_are_adjusted_by_holm(tmp_path):
    models = {"a": scores(), "b": scores(2, noise=1), "c": scores(0.4, noise=2)}
    found = metric(compare_runs(write_results(tmp_path / "run", models), metrics=["scs"]))
    assert [(pair.a, pair.b) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    p = [pair.statistics.wilcoxon.p for pair in found.pairs]
    adjusted = [pair.p for pair in found.pairs]
    assert min(adjusted) == pytest.approx(3 * min(p))
    assert all(new >= old for new, old in zip(adjusted, p, strict=True))
    assert "Holm-adjusted" in found.pairs[0].sentence


def test_models_are_chosen_by_name(tmp_path):
    run = write_results(tmp_path / "run", {"a": scores(), "b": scores(2), "c": scores(5)})
    pair = metric(compare_runs(run, models=["c", "a"])).pairs[0]
    assert (pair.a, pair.b, round(pair.statistics.difference.mean, 6)) == ("c", "a", 5.0)
    with pytest.raises(UsageError, match="has no model 'cc'; did you mean 'c'"):
        compare_runs(run, models=["a", "cc"])
    with pytest.raises(UsageError, match="holds several models"):
        compare_runs(run, write_results(tmp_path / "other", {"x": scores()}))
    with pytest.raises(UsageError, match="compared with itself"):
        compare_runs(run, run, models=["a", "a"])
    assert len(compare_runs(run, run, models=["a", "b"]).sides) == 2


def test_a_run_without_model_names_is_called_by_its_folder(tmp_path):
    folders = [write_results(tmp_path / name, {None: scores(n)}, texts=False) for n, name in enumerate(("x", "y"))]
    found = compare_runs(*folders)
    assert [side.label for side in found.sides] == ["x", "y"]
    assert metric(found).pairs[0].statistics.n == 12  # by the name of the group, where there is no text
    several = write_results(tmp_path / "several", {"a": scores(2), "b": scores()})
    assert [side.model for side in compare_runs(several, folders[0], models=["a", "x"]).sides] == ["a", None]
    with pytest.raises(UsageError, match="has no model 'xx'; did you mean 'x'"):
        compare_runs(several, folders[0], models=["a", "xx"])
    with pytest.raises(UsageError, match="holds one model"):
        compare_runs(folders[0])


@pytest.mark.parametrize(
    ("changed", "said"), [({"sha256": "cd" * 32}, "encoder sha256"), ({"resize": "lanczos to 8"}, "encoder resize")]
)
def test_scores_of_different_encoders_are_refused_unless_forced(tmp_path, changed, said):
    folders = two(tmp_path, **changed)
    with pytest.raises(UsageError, match=f"scs of sdxl and pixart cannot be compared: {said}"):
        compare_runs(*folders)
    assert said in compare_runs(*folders, force=True).warnings[0]


def test_presets_of_one_score_must_agree_but_others_can_be_compared(tmp_path):
    folders = two(tmp_path, preset="clip-s")
    with pytest.raises(UsageError, match="clip-score of sdxl and pixart cannot be compared: preset"):
        compare_runs(*folders)
    assert compare_runs(*folders, metrics=["scs"]).warnings == ()  # of one metric nothing is to be said


def test_another_precision_is_a_warning(tmp_path):
    found = compare_runs(*two(tmp_path, precision="fp16"))
    assert any("different precision (fp32, fp16)" in line for line in found.warnings)


def test_any_column_can_be_compared(tmp_path):
    found = compare_runs(*two(tmp_path), metrics=["scs_corrected, group_similarity"])
    assert [(each.metric.column, each.metric.per) for each in found.metrics] == [
        ("scs_corrected", "prompt"),
        ("group_similarity", "image"),
    ]
    assert "cannot" not in metric(found, "group_similarity").pairs[0].sentence  # all differences are 0
    with pytest.raises(
        UsageError, match="no 'scs_corected' by prompt or by image in sdxl, pixart; did you mean 'scs_corr"
    ):
        compare_runs(*two(tmp_path / "more"), metrics=["scs_corected"])


def test_a_score_goes_by_its_name_however_it_is_written(tmp_path):
    folders = two(tmp_path)
    assert [each.metric.name for each in compare_runs(*folders, metrics=["SCS,scs", "clip_score"]).metrics] == [
        "scs",
        "clip-score",
    ]


def test_consistency_that_no_summary_tells_of_is_still_refused_for_another_encoder(tmp_path):
    folders = two(tmp_path, sha256="cd" * 32)
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        del summary["scores"]["scs"]
        (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UsageError, match="cannot be compared: encoder sha256"):
        compare_runs(*folders, metrics=["scs"])


def test_groups_of_one_text_are_joined_by_name():
    assert keys_of([["t", "t", "u"], ["t", "u", None]], [["g1", "g2", "g3"], ["g1", "h", "g2"]]) == [
        ["g1", "g2", "u"],
        ["g1", "u", "g2"],
    ]
    with pytest.raises(UsageError, match="two groups of one model are called 'u'"):
        keys_of([["u", None]], [["g", "u"]])


def test_all_go_by_the_names_of_groups_where_one_run_has_no_texts(tmp_path):
    a = write_results(tmp_path / "a", {"a": scores()})
    texts = pa.array([f"the text of {name}" for name in PROMPTS])
    groups = pq.read_table(a / "groups.parquet")
    pq.write_table(groups.set_column(groups.schema.get_field_index("text"), "text", texts), a / "groups.parquet")
    b = write_results(tmp_path / "b", {"b": scores(4, noise=1)}, texts=False)
    assert metric(compare_runs(a, b)).pairs[0].statistics.n == 12


def test_a_broken_or_missing_file_is_named(tmp_path):
    a, b = two(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        compare_runs(a, tmp_path / "nowhere")
    (b / "groups.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(StoreError, match=r"two/groups\.parquet: not a table of groups"):
        compare_runs(a, b)
    (b / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"two/summary\.json: no such file"):
        compare_runs(a, b)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(0, 2)), max_size=30))
def test_shared_seeds_equal_the_sets(rows):
    columns = np.array(rows, np.int64).reshape(-1, 3)
    items = Items(*columns.T)
    having = {(p, s): {side for q, t, side in rows if (q, t) == (p, s)} for p, s, _ in rows}
    assert shared_seeds(items, 3).tolist() == [len(having[p, s]) == 3 for p, s, _ in rows]
    each, who = sides_of_seeds(items, 3)
    found = {(p, s): set(np.flatnonzero(has)) for p, s, has in zip(each.prompt, each.seed, who, strict=True)}
    assert found == having
    means = means_of_prompts(items, columns[:, 1].astype(float), (4, 3))
    chosen = [s for p, s, side in rows if (p, side) == (1, 2)]
    assert means[1, 2] == pytest.approx(np.mean(chosen)) if chosen else np.isnan(means[1, 2])


def test_joining_keeps_to_the_keys():
    joined = join_prompts([["b", "a", "x"], ["a", "y", "b"]])
    assert (joined.keys, joined.rows.tolist()) == (("a", "b"), [[1, 0], [0, 2]])
    assert joined.unmatched == (("x", (0,)), ("y", (1,)))
