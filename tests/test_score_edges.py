"""`score --metrics` where things meet: stores begun at different times, parts, references, models, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fake_model import IMAGE, write_fake_model
from images import write_tree
from safetensors.numpy import save_file

from semscale import gpu, metrics, open_store, run
from semscale.cli import main
from semscale.console import Console
from semscale.device_resize import DeviceResizer
from semscale.errors import UsageError
from semscale.heads import read_classifier
from semscale.locks import Part
from semscale.measures.asked import asked
from semscale.metrics.alignment import PRESETS
from semscale.model import Preprocess
from semscale.pixels import Device
from semscale.scoring import score_store
from semscale.settings import Settings
from semscale.store import Store

NAMES = [f"{model}/{prompt}/{seed}.png" for model in ("m1", "m2") for prompt in ("a cat", "a fox") for seed in range(4)]
FEW = "ignore::semscale.metrics.FewSamplesWarning"


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second exported folder, of smaller images and another filter."""
    folder = write_fake_model(tmp_path_factory.mktemp("models") / "other")
    prepared = Preprocess(16, 16, "bilinear", (0.5,) * 3, (0.5,) * 3)
    (folder / "image/model.json").write_text(replace(IMAGE, name="fake/other", preprocess=prepared).to_json())
    return str(folder)


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "images", NAMES)

    def run(*arguments, exit_code=0):
        options = ["--model", model, "--backend", "fake", "--quiet", "--json"]
        result = CliRunner().invoke(main, ["score", "images", *map(str, arguments), *options])
        assert result.exit_code == exit_code, result.output + repr(result.exception)
        return json.loads(result.stdout.splitlines()[-1]) if exit_code == 0 else result.output

    return run


# -- several stores


def test_a_store_that_is_filled_alone_is_not_resized_for_the_first_encoder(call, other, tmp_path, monkeypatch):
    call("--metrics", f"scs@{other}", "-o", "alone")
    call("--metrics", "scs", "-o", "out")  # one store is whole, so that the other is filled by itself
    resizer = DeviceResizer(IMAGE.preprocess, "cpu")
    monkeypatch.setattr(gpu, "device_for", lambda *_, **__: Device(resizer))
    call("--metrics", f"scs,scs@{other}", "-o", "out")
    found, right = (open_store(f"{out}/stores/fake--other").images.take(np.arange(16)) for out in ("out", "alone"))
    np.testing.assert_array_equal(found, right)


def test_groups_of_a_later_store_keep_their_names(call, other, tmp_path):
    call("--metrics", "scs", "-o", "out")
    for seed in range(4):
        (tmp_path / f"images/m1/a cat/{seed}.png").unlink()
    write_tree(tmp_path / "images", [f"m3/blue/{seed}.png" for seed in range(3)])
    label = f"vendi@{other}"
    entry = call("--metrics", f"scs,{label}", "-o", "out")["scores"][label]
    table = pq.read_table("out/groups.parquet").to_pylist()
    column = next(name for name in table[0] if name.startswith("vendi"))
    store = open_store("out/stores/fake--other")
    rows = store.metadata(["model", "group"]).to_pylist()
    assert [(row["model"], row["group"]) for row in table][::4] == [("m1", "a cat"), ("m3", "blue")]
    for row in table:
        mine = [i for i, one in enumerate(rows) if (one["model"], one["group"]) == (row["model"], row["group"])]
        expected = metrics.vendi(store.images.take(np.array(mine))).value if mine else np.nan
        assert row[column] == pytest.approx(expected, nan_ok=True)
    assert (entry["n"], entry["value"]) == (4, pytest.approx(np.nanmean([row[column] for row in table])))


def test_a_part_that_leaves_another_store_unfinished_says_so(call, model, other, tmp_path, monkeypatch):
    done = run.score("images", out="out", model=model, backend="fake", settings=Settings(shard_size=4, part=Part(1, 2)))
    write, told = Store.write, []

    def some(self, data):
        if self.path.name == "fake--other" and data.shard.index == 3:
            raise OSError("killed")
        write(self, data)

    chosen = {"model": model, "backend": "fake", "metrics": ["scs", f"scs@{other}"], "out": "both"}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", some)
        with pytest.raises(OSError, match="killed"):
            run.score("images", settings=Settings(shard_size=4, part=Part(2, 2)), **chosen)
    done = run.score("images", settings=Settings(shard_size=4, part=Part(1, 2)), **chosen)
    assert (done.summary["n_left"], done.summary["scores"]) == (0, {})  # of the first store nothing is left
    monkeypatch.setattr(Console, "say", lambda _, text: told.append(text))
    Console(quiet=False).scores(done)
    assert told == ["16 of 16 inputs done in both; the part that ends last scores them"]


# -- what a run holds


def test_a_large_group_is_not_compared_pair_by_pair_where_nobody_asked(call, monkeypatch):
    monkeypatch.setattr("semscale.scoring.MANY", 3)
    monkeypatch.setattr("semscale.scoring.BLOCK", 3)
    call("--metrics", "clip-score,vendi", "-o", "out")
    table = pq.read_table("out/groups.parquet").to_pylist()
    assert [(row["n"], row["n_invalid"], row["scs"]) for row in table] == [
        (4, 0, pytest.approx(np.nan, nan_ok=True))
    ] * 4
    scores = score_store(open_store("out/stores/fake--model"), PRESETS["torchmetrics"])
    each = pq.read_table("out/images.parquet")["clip_score"].to_pylist()
    assert each == pytest.approx(scores.clip.tolist())
    assert "fewer than two valid images, so" not in Path("out/report.html").read_text()
    assert call("--metrics", "scs", "-o", "out")["scores"]["scs"]["value"] == pytest.approx(scores.scs.mean())


def test_paths_may_be_paths(model, tmp_path):
    write_tree(tmp_path / "images", NAMES)
    (tmp_path / "pairs.csv").write_text(f"source,edited\n{NAMES[0]},{NAMES[1]}\n")
    chosen = {"metrics": ["image-similarity"], "pairs": tmp_path / "pairs.csv", "model": model, "backend": "fake"}
    done = run.score(tmp_path / "images", out=tmp_path / "out", **chosen)
    assert done.summary["parameters"]["pairs"] == str(tmp_path / "pairs.csv")


def test_logits_are_not_held_at_once_and_no_image_is_no_value(call, model, tmp_path, monkeypatch):
    folder = write_fake_model(tmp_path / "classifier")
    weight = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    save_file({"weight": weight, "bias": np.zeros(5, np.float32)}, folder / "image/head.safetensors")
    label = f"classifier-score@{folder}"
    entry = call("--metrics", label, "-o", "out")["scores"][label]
    store = open_store("out/stores/fake--model")
    logits = read_classifier(folder / "image").logits(store.images.take(np.arange(16)))
    with pytest.warns(metrics.FewSamplesWarning):
        assert entry["value"] == pytest.approx(metrics.inception_score(logits).value, rel=1e-12)
    for path in tmp_path.glob("images/*/*/*.png"):
        path.write_bytes(b"broken")
    empty = call("--metrics", f"{label},vendi,scs", "-o", "new", "--max-error-rate", 1)["scores"]
    assert (empty[label]["value"], empty[label]["n"]) == (None, 0)
    assert "splits of 0" in empty[label]["warnings"][0]


def test_a_dry_run_measures_the_encoders_that_the_metrics_need(call, other):
    one = call("--dry-run")
    both = call("--metrics", f"scs,scs@{other}", "--dry-run")
    assert both["disk_bytes"] - one["disk_bytes"] == 16 * (12 * 4 + 600)
    assert "needs a reference" in call("--metrics", "fid-clip", "--dry-run", exit_code=2)


# -- what an entry says


def test_a_rank_is_better_when_lower_and_the_shares_beside_it_when_higher(call):
    scores = call("--metrics", "retrieval-image-to-text", "-o", "out")["scores"]
    better = {
        label.removeprefix("retrieval-image-to-text-"): entry["higher_is_better"] for label, entry in scores.items()
    }
    assert (better["median-rank"], better["recall@1"], better["map"]) == (False, True, True)


def test_each_preset_of_the_clip_score_has_its_own_scale_and_clamps(call, other):
    scores = call("--metrics", f"clip-score,clip-score:raw,clip-score:raw@{other},clip-score@{other}", "-o", "out")[
        "scores"
    ]
    for at in ("", f"@{other}"):
        plain, raw = scores[f"clip-score{at}"], scores[f"clip-score:raw{at}"]
        assert raw["median"] == pytest.approx(plain["median"] / 100)
        assert plain["value"] == pytest.approx(max(100 * raw["value"], 0))
    clamped = call("--metrics", "clip-score,scs", "--clip-score", "hessel2021", "-o", "new")["scores"]["clip-score"]
    zeros = pq.read_table("new/images.parquet")["clip_score"].to_pylist().count(0.0)
    assert (clamped["n_clamped"], scores["clip-score:raw"]["n_clamped"]) == (zeros, 0)
    assert zeros > 0


def test_counts_of_all_models_are_not_those_of_one(call, tmp_path):
    rows = [(NAMES[0], NAMES[0]), (NAMES[1], NAMES[2]), (NAMES[8], NAMES[9])]
    (tmp_path / "pairs.csv").write_text("source,edited\n" + "".join(f"{a},{b}\n" for a, b in rows))
    entry = call("--metrics", "psnr", "--pairs", "pairs.csv", "-o", "out")["scores"]["psnr"]
    assert entry["params"]["n_identical"] == 1
    assert all("n_identical" not in part["params"] for part in entry["by_model"].values())


def test_texts_that_were_cut_are_those_that_were_read(call, tmp_path):
    long = "a red fox of a blue cat of a red fox of a blue cat"
    header = "source,edited,source_text,edited_text\n"
    (tmp_path / "pairs.csv").write_text(f"{header}{NAMES[0]},{NAMES[1]},{long},a cat\n{NAMES[2]},{NAMES[3]},a,b\n")
    scores = call("--metrics", "clip-directional,clip-score", "--pairs", "pairs.csv", "-o", "out")["scores"]
    assert (scores["clip-directional"]["n_truncated"], scores["clip-score"]["n_truncated"]) == (1, 0)
    assert scores["clip-score"]["by_model"]["m1"]["n_truncated"] is None
    assert "n_truncated" not in scores["clip-directional"]["params"]


def test_the_only_model_is_all_images_and_computed_once(call, tmp_path, monkeypatch):
    for path in tmp_path.glob("images/m2/*/*.png"):
        path.unlink()
    (tmp_path / "labels.txt").write_text("a cat\na fox\n")
    calls = []
    plain = metrics.zero_shot
    monkeypatch.setattr("semscale.measures.of_tasks.zero_shot", lambda *a: (calls.append(1), plain(*a))[1])
    entry = call("--metrics", "zero-shot", "--labels", "labels.txt", "-o", "out")["scores"]["zero-shot-top1"]
    assert (len(calls), entry["by_model"]["m1"]["value"]) == (1, entry["value"])


# -- what is refused


@pytest.mark.filterwarnings(FEW)
def test_references_that_are_two_or_unfinished_are_refused(call, model, tmp_path):
    write_tree(tmp_path / "real", [f"{n:02}.png" for n in range(6)])
    call("--metrics", "fid-clip", "--reference", "real", "-o", "a", "--shard-size", 2)
    store = Path("a/reference/stores/fake--model")
    for second, reason in (("a", "two references"), ("real", "another reference")):
        told = call("--metrics", "fid-clip", "--reference", store, "--reference", second, "-o", "b", exit_code=2)
        assert reason in told
    open_store(store).discard(2)
    assert "2 of its images" in call("--metrics", "fid-clip", "--reference", store, "-o", "b", exit_code=2)
    assert CliRunner().invoke(main, ["reference", str(store), "-o", "r.npz"]).exit_code == 2
    assert "nowhere" in call("--metrics", "fid-clip", "--reference", "nowhere", "-o", "b", exit_code=1)
    assert not (tmp_path / "b").exists()


def test_a_head_of_another_width_and_templates_of_nothing_are_refused_first(call, tmp_path):
    np.savez(tmp_path / "head.npz", weight=np.ones((1, 7), np.float32), bias=np.zeros(1, np.float32))
    (tmp_path / "templates.txt").write_text("{}\n")
    told = call("--metrics", "aesthetic", "--head", "head.npz", "-o", "new", exit_code=2)
    assert "for embeddings of 7 numbers, and fake/model gives 12" in told
    assert "--templates: no metric" in call(
        "--metrics", "scs", "--templates", "templates.txt", "-o", "new", exit_code=2
    )
    assert not (tmp_path / "new").exists()


def test_a_preset_with_the_resize_of_another_is_refused(call, tmp_path):
    folder = write_fake_model(tmp_path / "clean")
    (folder / "image/model.json").write_text(replace(IMAGE, name="fid-inception-clean").to_json())
    write_tree(tmp_path / "real", ["0.png"])
    told = call("--metrics", f"fid@{folder}", "--reference", "real", "-o", "new", exit_code=2)
    assert "fid:torch-fidelity resizes as fid-inception does, not fid-inception-clean" in told


def test_two_that_would_have_one_name_are_refused():
    with pytest.raises(UsageError, match="lpips: asked for by one and by two"):
        asked(["lpips@one,lpips@two"])
    assert len(asked(["lpips@one,lpips:alex@one"])) == 1


def test_texts_are_looked_for_all_over_a_source(call, tmp_path):
    rows = [{"file_name": name, "text": "" if name == NAMES[0] else "a cat"} for name in NAMES]
    (tmp_path / "images/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("--metrics", "clip-score", "-o", "out")["scores"]["clip-score"]["n"] == 15
    (tmp_path / "images/metadata.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in NAMES))
    told = call("--metrics", "clip-score", "-o", "new", exit_code=2)
    assert "clip-score needs a text for each image; give a source with texts; these images have none" in told
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("where", ["out/reference", "out/reference/photos"])
def test_reference_images_may_not_lie_where_their_embeddings_are_kept(call, tmp_path, where):
    write_tree(tmp_path / where, ["1.png", "2.png"])
    assert "embeddings of the reference are kept there" in call(
        "--metrics", "fid-clip", "--reference", where, "-o", "out", exit_code=2
    )
    assert not list((tmp_path / "out").rglob("stores"))


def test_rows_of_zeros_count_nowhere_when_embeddings_have_length_1(call, tmp_path):
    write_tree(tmp_path / "real", [f"{n:02}.png" for n in range(20)])
    call("--metrics", "fid-clip", "--reference", "real", "-o", "a")
    [file] = (tmp_path / "a/reference/stores/fake--model/img_emb").iterdir()
    rows = np.load(file)
    rows[3] = 0
    np.save(file, rows)
    entry = call("--metrics", "fid-clip", "--reference", "a/reference", "-o", "b")["scores"]["fid-clip"]
    assert (entry["params"]["n_a"], entry["n_invalid"]) == (len(rows) - 1, 1)


def test_a_pair_that_is_there_twice_and_no_metric_at_all_are_refused(call, tmp_path):
    there, back = f"{NAMES[0]},{NAMES[1]}\n", f"{NAMES[1]},{NAMES[0]}\n"
    (tmp_path / "pairs.csv").write_text(f"source,edited\n{there}{back}{there}")
    assert "row 3 is row 1 again" in call("--metrics", "psnr", "--pairs", "pairs.csv", "-o", "new", exit_code=2)
    assert "no metric is named" in call("--metrics", ",", "-o", "new", exit_code=2)
    assert not (tmp_path / "new").exists()


def test_a_number_of_too_few_items_and_no_number_at_all_say_why(call, tmp_path):
    (tmp_path / "pairs.csv").write_text(f"source,edited\n{NAMES[0]},{NAMES[0]}\n")
    scores = call("--metrics", "mse,psnr,scs,vendi", "--pairs", "pairs.csv", "--limit", 1, "-o", "out")["scores"]
    assert scores["mse"]["warnings"] == ["mse of 1 pairs: below 2 it says little"]
    assert scores["psnr"]["warnings"] == ["no pair counts, so there is no value"]
    assert scores["scs"]["warnings"] == ["no group has two valid images, so there is no value"]
    assert scores["vendi"]["warnings"] == ["no group counts, so there is no value"]
