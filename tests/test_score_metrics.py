"""`score --metrics`: each number equals the function over the stored arrays; what is missing is said first."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fake_model import IMAGE, write_fake_model
from images import write_tree
from PIL import Image

from semscale import metrics, open_store, pixels
from semscale.arrays import encode_texts
from semscale.cli import main
from semscale.decode import decode
from semscale.errors import UsageError
from semscale.measures import of_images
from semscale.measures.asked import asked
from semscale.measures.references import read_statistics
from semscale.metrics.diversity import vendi
from semscale.metrics.pixel import mse, psnr
from semscale.model import Preprocess
from semscale.store import Store

NAMES = [f"{model}/{prompt}/{seed}.png" for model in ("m1", "m2") for prompt in ("a cat", "a fox") for seed in range(6)]
FEW = "ignore::semscale.metrics.FewSamplesWarning"


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second exported folder: another name, another size of pixels."""
    folder = write_fake_model(tmp_path_factory.mktemp("models") / "other")
    spec = replace(
        IMAGE,
        name="fake/other",
        input_shape=(24, 24, 3),
        preprocess=Preprocess(24, 24, "bilinear", (0.5,) * 3, (0.5,) * 3),
    )
    (folder / "image" / "model.json").write_text(spec.to_json())
    for file in (folder / "text").iterdir():
        file.unlink()
    return str(folder)


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "images", NAMES)
    write_tree(tmp_path / "real", [f"{n:02}.png" for n in range(40)])

    def run(*arguments, exit_code=0):
        options = ["--model", model, "--backend", "fake", "--quiet", "--json"]
        result = CliRunner().invoke(main, ["score", "images", *map(str, arguments), *options])
        assert result.exit_code == exit_code, result.output + repr(result.exception)
        return json.loads(result.stdout.splitlines()[-1]) if exit_code == 0 else result.output

    return run


def vectors(path, *, model=None):
    store = open_store(path)
    mine = [row for row, name in enumerate(store.metadata(["model"]).column(0).to_pylist()) if model in (None, name)]
    return store.images.take(np.array(mine))


def write_pairs(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


# -- what is asked for


def test_what_is_not_the_default_is_part_of_the_label():
    found = asked(["scs, fid", "fid:clean-fid,kid:torch-fidelity,vendi:q=2,scs@own/model,fid"])
    assert [one.label for one in found] == ["scs", "fid", "fid:clean-fid", "kid", "vendi:q=2", "scs@own/model"]
    assert [one.encoder for one in found[1:4]] == ["fid-inception", "fid-inception-clean", "fid-inception"]
    assert found[4].column == "vendi_q_2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fdi", "unknown metric 'fdi'; did you mean 'fid'"),
        ("fid:cleanfid", "unknown preset 'cleanfid'; did you mean 'clean-fid'"),
        ("vendi:2", "unknown preset '2'.*q=ORDER"),
        ("mode-count:t=1.5", "unknown preset"),
        ("fid@", "no encoder behind the @"),
        ("psnr@demo", "compares pixels and takes no encoder"),
        ("mean-distance:x", "none: leave out the colon"),
    ],
)
def test_what_cannot_be_asked_for(text, reason):
    with pytest.raises(UsageError, match=reason):
        asked([text])


# -- one pass


def test_an_image_is_decoded_once_for_all_encoders_and_each_store_is_as_if_alone(call, other, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(pixels, "decode", lambda data, **how: (decoded.append(len(data)), decode(data, **how))[1])
    both = call("--metrics", f"scs,scs@{other}", "-o", "both", "--shard-size", 5)
    assert len(decoded) == both["n_ok"] == len(NAMES)
    call("--metrics", "scs", "-o", "one", "--shard-size", 5)
    call("--metrics", f"scs@{other}", "-o", "two", "--shard-size", 5)
    assert len(decoded) == 3 * len(NAMES)
    for alone, store in (("one", "fake--model"), ("two", "fake--other")):
        assert files(tmp_path / "both/stores" / store) == files(tmp_path / alone / "stores" / store)
    assert both["scores"]["scs"]["value"] != both["scores"][f"scs@{other}"]["value"]


def test_a_run_that_stopped_between_two_stores_ends_as_if_it_had_not(call, other, tmp_path, monkeypatch):
    asked_for = ("--metrics", f"scs,scs@{other}", "--shard-size", 5, "-o")
    call(*asked_for, "whole")
    written, write = [], Store.write

    def some(self, data):
        if len(written) == 3:
            raise OSError("the disk is gone")
        written.append(data)
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", some)
        call(*asked_for, "cut", exit_code=1)
    stores = [open_store(tmp_path / "cut/stores" / name) for name in ("fake--model", "fake--other")]
    assert [len(store.finished()) for store in stores] == [2, 1]
    decoded = []
    monkeypatch.setattr(pixels, "decode", lambda data, **how: (decoded.append(len(data)), decode(data, **how))[1])
    call(*asked_for, "cut")
    assert len(decoded) == len(NAMES) - 5  # the shard that one of them lacks is decoded for it alone
    assert files(tmp_path / "cut/stores") == files(tmp_path / "whole/stores")


def files(root):
    found = (path for path in sorted(root.rglob("*")) if path.suffix in {".npy", ".parquet", ".json"})
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


# -- against a reference


@pytest.mark.filterwarnings(FEW)
def test_sets_are_compared_as_by_the_functions_over_all_and_by_model(call, model, tmp_path):
    line = call(
        "--metrics",
        f"fid-clip,cmmd,cmmd:biased,kid:full@{model},density@{model},coverage@{model}",
        "--reference",
        "real",
        "-o",
        "out",
    )
    real, made = vectors("out/reference/stores/fake--model"), vectors("out/stores/fake--model")
    one = vectors("out/stores/fake--model", model="m2")
    scores = line["scores"]
    assert scores["fid-clip"]["value"] == pytest.approx(metrics.frechet(real, made).value, rel=1e-9)
    assert scores["fid-clip"]["by_model"]["m2"]["value"] == pytest.approx(metrics.frechet(real, one).value, rel=1e-9)
    assert scores["cmmd"]["value"] == pytest.approx(metrics.cmmd(real, made).value, rel=1e-9)
    assert scores["cmmd:biased"]["value"] == pytest.approx(metrics.cmmd(real, made, biased=True).value, rel=1e-9)
    full = metrics.kid(real, made, subsets=None)
    assert scores[f"kid:full@{model}"]["value"] == pytest.approx(full.value, rel=1e-9)
    assert scores[f"kid:full@{model}"]["low"] == pytest.approx(full.interval.low, rel=1e-9)
    four = metrics.prdc(real, made)
    assert metrics.prdc(made, real).density.value != four.density.value == scores[f"density@{model}"]["value"]
    assert scores[f"coverage@{model}"]["value"] == four.coverage.value
    assert "it says little" in scores[f"kid:full@{model}"]["warnings"][0]


def test_too_few_images_for_a_draw_are_no_value_and_a_reason(call, model):
    entry = call("--metrics", f"kid@{model}", "--reference", "real", "-o", "out")["scores"][f"kid@{model}"]
    assert entry["value"] is None
    assert "subset_size" in entry["warnings"][0]


def test_a_store_results_and_saved_statistics_are_the_same_reference(call, tmp_path):
    by_folder = call("--metrics", "fid-clip", "--reference", "real", "-o", "a")["scores"]["fid-clip"]["value"]
    made = CliRunner().invoke(main, ["reference", "a/reference", "-o", "ref.npz", "--json", "--quiet"])
    assert json.loads(made.stdout)["n"] == 40
    for reference in ("a/reference", "a/reference/stores/fake--model", "ref.npz"):
        found = call("--metrics", "fid-clip", "--reference", reference, "-o", "b")["scores"]["fid-clip"]["value"]
        assert found == pytest.approx(by_folder, rel=1e-9)
    with np.load("ref.npz", allow_pickle=False) as loaded:  # as other programs read it
        np.testing.assert_allclose(loaded["mu"], np.float64(vectors("a/reference/stores/fake--model")).mean(axis=0))
        assert loaded["sigma"].shape == (12, 12)


def test_a_reference_of_another_encoder_or_kind_is_refused_before_any_work(call, other, tmp_path):
    call("--metrics", "fid-clip", "--reference", "real", "-o", "a")
    CliRunner().invoke(main, ["reference", "a/reference", "-o", "ref.npz"])
    np.savez("foreign.npz", mu=np.zeros(12), sigma=np.eye(12))
    (tmp_path / "text.npz").write_text("no archive")
    for metric, reference, reason in (
        (f"fid-clip@{other}", "a/reference", "no reference made by fake/other"),
        ("cmmd", "ref.npz", "a mean and a covariance alone"),
        ("fid-clip", "foreign.npz", "does not say which encoder"),
        ("fid-clip", "text.npz", "not a file of reference statistics"),
        ("fid-clip", "nowhere.npz", "no such file"),
    ):
        assert reason in call("--metrics", metric, "--reference", reference, "-o", "new", exit_code=2)
        assert not (tmp_path / "new").exists()
    assert read_statistics(Path("ref.npz")).moments.n == 40


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("fid-clip",), "fid-clip needs a reference set; give --reference"),
        (("psnr",), "psnr needs pairs of images; give --pairs"),
        (("aesthetic",), "aesthetic needs a linear head"),
        (("scs", "--reference", "real"), "--reference: no metric that was asked for uses it"),
        (("clip-score:hessel2021",), "add --clip-score hessel2021"),
        (("fid@demo", "--reference", "real"), "fid is of fid-inception alone"),
        (("inception-score@demo",), "inception-score is of fid-inception alone"),
        (("classifier-score@demo",), "has no classifier"),
    ],
)
def test_what_is_missing_is_said_before_any_work(call, tmp_path, arguments, reason):
    assert reason in call("--metrics", *arguments, "-o", "new", exit_code=2)
    assert not (tmp_path / "new").exists()


# -- groups and images


def test_groups_have_a_column_and_their_mean(call):
    line = call("--metrics", "vendi:q=2,mean-distance,mode-count:t=0.99", "-o", "out")
    table, store = pq.read_table("out/groups.parquet"), open_store("out/stores/fake--model")
    rows = store.metadata(["model", "group"]).to_pylist()
    for row in table.to_pylist():
        mine = np.array(
            [i for i, one in enumerate(rows) if (one["model"], one["group"]) == (row["model"], row["group"])]
        )
        assert row["vendi_q_2"] == pytest.approx(vendi(store.images.take(mine), q=2).value, rel=1e-12)
    entry = line["scores"]["vendi:q=2"]
    assert entry["value"] == pytest.approx(np.mean(table["vendi_q_2"]), rel=1e-12)
    assert (entry["n"], entry["per"], entry["preset"]) == (4, "group", "q=2")
    assert entry["by_model"]["m1"]["n"] == 2
    assert entry["low"] < entry["value"] < entry["high"]
    assert list(line["scores"]) == ["vendi:q=2", "mean-distance", "mode-count:t=0.99"]


def test_images_are_rated_by_antonyms_and_by_a_head(call, model, tmp_path, monkeypatch):
    words = {"quality": ("a red fox", "a cat"), "sharpness": ("a", "b")}  # of which the model knows each
    monkeypatch.setattr(of_images, "ANTONYMS", words)
    weight = np.random.default_rng(0).standard_normal((1, 12)).astype(np.float32)
    np.savez(tmp_path / "head.npz", weight=weight, bias=np.float32([2.0]))
    (tmp_path / "images/m1/a cat/9.png").write_bytes(b"broken")
    line = call(
        "--metrics", "clip-iqa,clip-iqa:sharpness,aesthetic", "--head", "head.npz", "-o", "out", "--max-error-rate", 1
    )
    table = pq.read_table("out/images.parquet").to_pylist()
    made = np.float64(vectors("out/stores/fake--model"))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    ratings = [row["aesthetic"] for row in table if row["status"] == "ok"]
    np.testing.assert_allclose(ratings, made @ weight[0] + 2, rtol=1e-6)
    assert line["scores"]["aesthetic"]["value"] == pytest.approx(np.mean(ratings))
    assert [row["aesthetic"] for row in table if row["status"] == "failed"] == [pytest.approx(np.nan, nan_ok=True)]
    for label, prompts in (("clip-iqa", words["quality"]), ("clip-iqa:sharpness", words["sharpness"])):
        texts = encode_texts(prompts, model=model, backend="fake")[0]
        assert line["scores"][label]["value"] == pytest.approx(metrics.clip_iqa(made, *texts).value, rel=1e-6)
        assert line["scores"][label]["params"]["prompts"] == list(prompts)
    assert line["scores"]["clip-iqa"]["value"] != line["scores"]["clip-iqa:sharpness"]["value"]


# -- pairs


def test_pairs_are_compared_by_pixels_embeddings_and_texts(call, tmp_path):
    rows = [
        {"source": NAMES[0], "edited": NAMES[1], "source_text": "a fox", "edited_text": "a red fox"},
        {"source": NAMES[2], "edited": NAMES[2], "source_text": "a cat", "edited_text": "a blue cat"},
        {"source": NAMES[3], "edited": "m2/a fox/large.png", "source_text": "a", "edited_text": "b"},
        {"source": "m1/a cat/broken.png", "edited": NAMES[4], "source_text": "a", "edited_text": "b"},
    ]
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "images/m2/a fox/large.png")
    (tmp_path / "images/m1/a cat/broken.png").write_bytes(b"broken")
    pairs = write_pairs(tmp_path / "pairs.csv", rows)
    line = call(
        "--metrics",
        "mse,psnr,ssim,image-similarity,clip-directional",
        "--pairs",
        pairs,
        "-o",
        "out",
        "--max-error-rate",
        1,
    )
    table, scores = pq.read_table("out/pairs.parquet").to_pylist(), line["scores"]
    a, b = (decode((tmp_path / "images" / NAMES[n]).read_bytes()) for n in (0, 1))
    assert table[0]["mse"] == mse(a, b)
    assert scores["mse"]["value"] == pytest.approx(mse(a, b) / 2)  # with the identical pair; the other two have none
    assert scores["psnr"]["value"] == pytest.approx(psnr(a, b))
    assert scores["psnr"]["params"]["n_identical"] == 1
    assert table[1]["image_similarity"] == pytest.approx(100, abs=1e-4)
    assert "24" in table[2]["reason"] and "40" in table[2]["reason"]  # sizes differ
    assert table[3]["reason"].startswith("source: ")
    assert [np.isnan(row["mse"]) for row in table] == [False, False, True, True]
    assert [np.isnan(row["image_similarity"]) for row in table] == [False, False, False, True]
    assert (scores["mse"]["n"], scores["mse"]["n_invalid"]) == (2, 2)
    assert scores["clip-directional"]["params"]["n_undefined"] == 1  # the image was not edited
    assert (scores["clip-directional"]["n"], scores["clip-directional"]["n_invalid"]) == (2, 1)


def test_texts_of_pairs_come_from_the_images_where_the_table_has_none(call, tmp_path):
    rows = [{"source": f"m1/a cat/{n}.png", "edited": f"m1/a fox/{n}.png"} for n in range(3)]
    texts = [{**row, "source_text": "a cat", "edited_text": "a fox"} for row in rows]
    bare = call("--metrics", "clip-directional", "--pairs", write_pairs(tmp_path / "a.csv", rows), "-o", "a")
    full = call("--metrics", "clip-directional", "--pairs", write_pairs(tmp_path / "b.csv", texts), "-o", "b")
    assert bare["scores"]["clip-directional"]["value"] == full["scores"]["clip-directional"]["value"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"source": "nowhere.png", "edited": NAMES[0]}], "'nowhere.png': no such image"),
        ([{"source": NAMES[0], "target": NAMES[1]}], "no column 'edited'"),
        ([{"source": NAMES[0], "edited": NAMES[1], "source_text": "a"}], "has 'source_text' alone"),
    ],
)
def test_a_table_of_pairs_that_cannot_be_used_is_refused_before_any_work(call, tmp_path, rows, reason):
    pairs = write_pairs(tmp_path / "pairs.csv", rows)
    assert reason in call("--metrics", "image-similarity", "--pairs", pairs, "-o", "new", exit_code=2)
    assert not (tmp_path / "new").exists()


# -- what every number says


def test_every_number_says_its_convention_its_counts_and_its_encoder(call, model):
    line = call("--metrics", f"scs,clip-score,vendi,fid-clip,kid:full@{model}", "--reference", "real", "-o", "out")
    wanted = {
        "name",
        "preset",
        "value",
        "low",
        "high",
        "n",
        "per",
        "n_invalid",
        "n_truncated",
        "n_clamped",
        "seed",
        "encoder",
    }
    for label, entry in line["scores"].items():
        for part in (entry, *entry["by_model"].values()):
            assert wanted <= set(part), label
            assert part["encoder"] == {
                "name": "fake/model", "sha256": "0" * 64, "precision": "fp32", "backend": "fake",
                "resize": "bicubic to 16, cropped to 16",
            }  # fmt: skip
        assert set(entry["by_model"]) == {"m1", "m2"}
    assert line["scores"]["clip-score"]["n_truncated"] == 0
    assert line["parameters"]["reference"] == ["real"]
