import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from images import png, write_tree
from test_consistency import double_loop

from semscale import outputs, run
from semscale.encoders.fake import FakeEncoder
from semscale.metrics.alignment import PRESETS, clip_scores, preset
from semscale.settings import Settings
from semscale.store import Store

NAMES = [f"{m}/{p}/{s}.png" for m in ("m1", "m2") for p in ("a red fox", "cat", "blue") for s in range(5)]


@pytest.mark.parametrize(("count", "many"), [(1500, 16_384), (1500, 1000)])
def test_one_large_group_is_scored(tmp_path, monkeypatch, count, many):
    from semscale.scoring import score_store
    from semscale_bench import scores as bench

    monkeypatch.setattr(bench, "GROUP", count)
    monkeypatch.setattr(sys.modules["semscale.metrics.consistency"], "MANY", many)
    found = score_store(bench.write_store(tmp_path, count), PRESETS["raw"])
    vectors = pq_rows(tmp_path)
    gram = 100 * vectors @ vectors.T
    expected = (np.maximum(gram, 0).sum() - np.trace(gram)) / (count * (count - 1))
    assert found.scs == pytest.approx([expected], abs=1e-9)
    assert np.isnan(found.minimum[0]) == (many < count)


def pq_rows(folder):
    vectors = np.load(next((folder / "img_emb").iterdir())).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_texts_without_direction_are_counted(tmp_path, model, monkeypatch):
    encode = FakeEncoder.encode
    spoil = lambda self, x: encode(self, x) * (np.nan if self.spec.kind == "text" else 1)  # noqa: E731
    monkeypatch.setattr(FakeEncoder, "encode", spoil)
    images = write_tree(tmp_path / "images", ["m/cat/1.png", "m/cat/2.png", "m/fox/3.png"])
    found = run.score(images, out=tmp_path / "out", model=model, backend="fake")
    entry = found.summary["scores"]["clip-score"]
    assert (entry["value"], entry["n"], entry["n_invalid"]) == (None, 0, 3)
    assert found.summary["scores"]["scs"]["n"] == 1


@pytest.fixture(scope="module")
def scored(tmp_path_factory, model):
    """A run with a failed image, a group of one valid image, and one embedding of zeros."""
    folder = tmp_path_factory.mktemp("scored")
    images = write_tree(folder / "images", NAMES)
    (images / "m1" / "cat" / "2.png").write_bytes(png(3)[:40])
    for seed in range(1, 5):
        (images / "m2" / "blue" / f"{seed}.png").write_bytes(b"")
    encode = FakeEncoder.encode

    def with_a_zero(self, inputs):
        found = encode(self, inputs)
        if self.spec.kind == "image":
            found[np.all(found == zero, axis=1)] = 0.0
        return found

    from fake_model import IMAGE

    from semscale.decode import decode
    from semscale.preprocess import preprocess

    zeroed = decode((images / "m1" / "blue" / "0.png").read_bytes())
    zero = encode(FakeEncoder(IMAGE), preprocess(zeroed, IMAGE.preprocess)[None])[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeEncoder, "encode", with_a_zero)
        return run.score(images, out=folder / "out", model=model, backend="fake", settings=Settings(shard_size=7))


def table(scored, name):
    return pq.read_table(scored.out / f"{name}.parquet").to_pylist()


def store_of(scored):
    return Store(next((scored.out / "stores").iterdir()))


def vectors_of(scored, model, group):
    store = store_of(scored)
    rows = [i for i, r in enumerate(store.metadata().to_pylist()) if (r["model"], r["group"]) == (model, group)]
    vectors = store.images.take(np.array(rows))
    return vectors[np.abs(vectors).sum(axis=1) > 0]


def test_groups_are_recomputed_from_the_store_by_the_definition(scored):
    groups = table(scored, "groups")
    assert [(g["model"], g["group"]) for g in groups] == [
        (m, p) for m in ("m1", "m2") for p in ("a red fox", "blue", "cat")
    ]
    for group in groups:
        vectors = vectors_of(scored, group["model"], group["group"])
        assert group["n"] == len(vectors)
        if len(vectors) > 1:
            assert group["scs"] == pytest.approx(double_loop(vectors), abs=1e-9)
            gram = 100 * vectors.astype(float) @ vectors.T.astype(float)
            pairs = gram[np.triu_indices(len(vectors), 1)]
            assert group["min_similarity"] == pytest.approx(pairs.min(), abs=1e-4)
            assert group["max_similarity"] == pytest.approx(pairs.max(), abs=1e-4)
            assert group["n_clamped"] == (pairs < 0).sum()
            assert group["scs_low"] <= group["scs"] <= group["scs_high"]


def test_groups_with_fewer_than_two_valid_images_are_listed_and_not_averaged(scored):
    groups = {(g["model"], g["group"]): g for g in table(scored, "groups")}
    single = groups["m2", "blue"]
    assert (single["n"], single["n_invalid"], single["medoid_key"]) == (1, 4, None)
    assert np.isnan(single["scs"])
    assert (groups["m1", "cat"]["n"], groups["m1", "cat"]["n_invalid"]) == (4, 1)
    assert (groups["m1", "blue"]["n"], groups["m1", "blue"]["n_invalid"]) == (4, 1)
    averaged = [g["scs"] for g in groups.values() if g["n"] > 1]
    entry = scored.summary["scores"]["scs"]
    assert entry["value"] == pytest.approx(np.mean(averaged), abs=1e-12)
    assert (entry["n"], entry["n_excluded"]) == (5, 1)
    assert entry["sd"] == pytest.approx(np.std(averaged, ddof=1))
    assert entry["median"] == pytest.approx(np.median(averaged))


def test_medoid_and_outlier_are_the_most_and_least_similar_to_the_rest(scored):
    images = table(scored, "images")
    for group in table(scored, "groups"):
        mine = {
            i["key"]: i["group_similarity"]
            for i in images
            if (i["model"], i["group"], i["status"]) == (group["model"], group["group"], "ok")
        }
        if group["n"] > 1:
            assert mine[group["medoid_key"]] == max(mine.values())
            assert mine[group["outlier_key"]] == min(mine.values())
            assert np.mean(list(mine.values())) == pytest.approx(group["scs"], abs=1e-9)


def test_models_are_scored_apart_and_corrected_by_their_own_baseline(scored):
    groups = table(scored, "groups")
    for name, entry in scored.summary["scores"]["scs"]["by_model"].items():
        mine = [g for g in groups if g["model"] == name]
        assert entry["value"] == pytest.approx(np.mean([g["scs"] for g in mine if g["n"] > 1]), abs=1e-12)
        sets = [vectors_of(scored, name, g["group"]).astype(float) for g in mine]
        cross = [100 * (a @ b.T).mean() for i, a in enumerate(sets) for b in sets[i + 1 :]]
        assert entry["between"] == pytest.approx(np.mean(cross), abs=1e-4)
        for group in mine:
            if group["n"] > 1:
                expected = 100 * (group["scs"] - entry["between"]) / (100 - entry["between"])
                assert group["scs_corrected"] == pytest.approx(expected)


def test_clip_scores_are_cosines_of_each_image_with_its_own_text(scored):
    store = store_of(scored)
    texts = store.texts.take(store.text_rows())
    images = store.images.take(np.arange(len(store.images)))
    keys = store.metadata(["key"]).column("key").to_pylist()
    found = {i["key"]: i["clip_score"] for i in table(scored, "images")}
    scores = []
    for key, image, text in zip(keys, images.astype(float), texts.astype(float), strict=True):
        if np.any(image):
            scores.append(100 * image @ text / np.linalg.norm(image) / np.linalg.norm(text))
            assert found[key] == pytest.approx(scores[-1], abs=1e-9)
        else:
            assert np.isnan(found[key])
    entry = scored.summary["scores"]["clip-score"]
    assert entry["value"] == pytest.approx(max(np.mean(scores), 0), abs=1e-9)
    assert (entry["n"], entry["n_invalid"]) == (len(scores), 1)


def test_every_input_has_one_row_and_the_summary_counts_them(scored):
    rows = table(scored, "images")
    assert sorted(r["key"] for r in rows) == sorted(NAMES)
    assert {s: sum(r["status"] == s for r in rows) for s in ("ok", "invalid", "failed")} == {
        "ok": 24,
        "invalid": 1,
        "failed": 5,
    }
    summary = json.loads((scored.out / "summary.json").read_text())
    assert summary == scored.summary
    counts = {k: summary[k] for k in ("n_found", "n_ok", "n_failed", "n_invalid", "n_groups", "n_ignored")}
    assert counts == {"n_found": 30, "n_ok": 25, "n_failed": 5, "n_invalid": 1, "n_groups": 6, "n_ignored": 0}
    assert summary["failures"] == {"empty-file": 4, "truncated": 1}
    assert summary["layout"] == "model/prompt/seed"


def test_scoring_again_changes_no_number(scored, model):
    again = run.score(
        scored.summary["source"], out=scored.out, model=model, backend="fake", settings=Settings(shard_size=7)
    )
    assert again.summary["scores"] == scored.summary["scores"]
    assert again.summary["images_per_second"] is None


def test_other_batches_workers_and_shards_give_the_same_scores(tmp_path, model):
    images = write_tree(tmp_path / "images", NAMES)
    settings = [Settings(1, 1, 4), Settings(64, 4, 4096), Settings(7, 2, 11)]
    runs = [
        run.score(images, out=tmp_path / str(i), model=model, backend="fake", settings=s)
        for i, s in enumerate(settings)
    ]
    for other in runs[1:]:
        for one, two in zip(table(runs[0], "groups"), table(other, "groups"), strict=True):
            assert one == pytest.approx(two, abs=1e-9)


def test_a_folder_without_texts_has_no_clip_score(tmp_path, model):
    images = write_tree(tmp_path / "images", ["dog/a.png", "dog/b.png", "cat/a.png", "cat/b.png", "cat/c.png"])
    found = run.score(images, out=tmp_path / "out", model=model, backend="fake")
    assert list(found.summary["scores"]) == ["scs"]
    assert "clip_score" not in pq.read_schema(found.out / "groups.parquet").names
    assert found.summary["scores"]["scs"]["by_model"] == {}


def test_presets_differ_as_their_programs_do():
    images, texts = np.eye(4)[:3], np.array([[-0.2, 1, 0, 0], [0, 0.1, 1, 0], [0, 0, 0.3, 1]])
    cosines = np.array([-0.2, 0.1, 0.3]) / np.sqrt(1 + np.square([-0.2, 0.1, 0.3]))
    np.testing.assert_allclose(clip_scores(images, texts, preset("raw")), cosines)
    np.testing.assert_allclose(clip_scores(images, texts, preset("torchmetrics")), 100 * cosines)
    np.testing.assert_allclose(clip_scores(images, texts, preset("hessel2021")), 2.5 * np.maximum(cosines, 0))
    assert preset("hessel2021").prefix == "A photo depicts "
    with pytest.raises(ValueError, match="choose from torchmetrics, hessel2021, raw"):
        preset("clip")
    with pytest.raises(ValueError, match="need one text an image"):
        clip_scores(images, texts[:2], PRESETS["raw"])


@pytest.mark.parametrize("name", PRESETS)
def test_the_prefix_is_part_of_the_preset(tmp_path, model, name, monkeypatch):
    from semscale.tokens import Tokenizer

    asked, encode = [], Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, texts: asked.extend(texts) or encode(self, texts))
    images = write_tree(tmp_path / "images", ["m/cat/1.png", "m/cat/2.png"])
    run.score(images, out=tmp_path / "out", model=model, backend="fake", clip_score=name)
    assert asked == [PRESETS[name].prefix + "cat"]


def test_numbers_json_cannot_say_become_null():
    assert outputs.finite({"a": [float("nan"), 1.0, float("inf")], "b": ({"c": 2},)}) == {
        "a": [None, 1.0, None],
        "b": [{"c": 2}],
    }


def test_the_raw_interval_stays_within_the_range_of_a_cosine(tmp_path, model):
    images = write_tree(tmp_path / "images", [f"m/{p}/{s}.png" for p in ("cat", "blue") for s in range(2)])
    entry = run.score(images, out=tmp_path / "out", model=model, backend="fake", clip_score="raw").summary["scores"]
    assert -1 <= entry["clip-score"]["low"] <= entry["clip-score"]["value"] <= entry["clip-score"]["high"] <= 1
