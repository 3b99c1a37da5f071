"""`semscale index` and `semscale search`, from stores on disk to tables, lines of JSON and contact sheets."""

import html
import json
import re
import shutil

import click
import numpy as np
import pytest
from click.testing import CliRunner
from images import write_tree
from indexed_stores import append, append_failures, clustered, write_store
from test_index import one_thread  # noqa: F401 - a fixture for this file, too

from semscale import cli_search, find, run
from semscale.cli import _Commands
from semscale.errors import UsageError
from semscale.search import faiss_library, reference
from semscale.store import Store

COMMANDS = _Commands("semscale", commands=[cli_search.index, cli_search.search])
HOSTILE = '<img src=x onerror="alert(1)">&"\'\u202e\n[bold]x'


@pytest.fixture
def stored(tmp_path):
    """500 vectors, three of them copies of each other and two without a direction, and one failure."""
    rows = clustered(500)
    rows[[20, 21]] = rows[22]
    rows[5], rows[6] = 0, np.nan
    store = write_store(tmp_path / "store", [rows[:200], rows[200:]])
    append_failures(store.path, ["cut off; write it again"])
    return Store(store.path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Results of `score` on drawn scenes with the bundled encoder."""
    pytest.importorskip("transformers", reason="needs the export extra")
    from semscale.producers.scenes import generate

    root = tmp_path_factory.mktemp("scenes")
    prompts = ("a large red star on a sandy beach", "two small blue cats", "a brown key on a chess board")
    generate(prompts, range(4), root / "images", model="m", fidelity=1.0)
    run.score(root / "images", out=root / "out", model="demo", backend="onnx")
    return root


def call(*arguments):
    return CliRunner().invoke(COMMANDS, [str(a) for a in arguments])


def line_of(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def key_of(row):
    return f"g{row // 10:04d}/{row:06d}.png"


def expected(store, row, k):
    ids, similarity = reference.top_k(store.images.take(np.arange(500)), 500, queries=store.images.take([row]))
    kept = (ids[0] != row) & (ids[0] >= 0)
    return [key_of(i) for i in ids[0][kept][:k]], similarity[0][kept][:k].tolist()


# -- index ------------------------------------------------------------------------------------------------------------


def test_index_says_what_it_expects_and_what_it_found(stored):
    done = call("index", stored.path, "--kind", "hnsw", "--json")
    line = line_of(done)
    assert (line["action"], line["kind"], line["n"], line["n_indexed"]) == ("built", "hnsw", 500, 498)
    assert 0.8 < line["recall_at_10"] <= 1 and line["recall_queries"] > 40 and line["parameters"]["factory"]
    assert "memory" in done.stdout and "recall@10" in done.stdout
    assert line_of(call("index", stored.path, "--kind", "hnsw", "--json"))["action"] == "kept"
    assert "up to date already" in call("index", stored.path, "--kind", "hnsw").stdout


def test_index_chooses_by_itself(stored):
    assert line_of(call("index", stored.path, "--json", "--quiet"))["kind"] == "flat"
    assert call("index", stored.path, "--quiet").output == ""


def test_index_without_faiss_says_that_searches_are_exact(stored, monkeypatch):
    monkeypatch.setattr(faiss_library.importlib.util, "find_spec", lambda name: None)
    done = call("index", stored.path, "--json")
    assert line_of(done) == {"store": str(stored.path), "action": "none", "kind": None}
    assert "FAISS is not installed" in done.stdout
    done = call("index", stored.path, "--kind", "ivf")
    assert done.exit_code == 1 and "pip install 'semscale[" in done.output


def test_a_folder_without_a_store_or_with_two_is_refused(stored, tmp_path):
    (tmp_path / "out" / "stores").mkdir(parents=True)
    assert "not a store" in call("index", tmp_path / "out").output
    shutil.copytree(stored.path, tmp_path / "out" / "stores" / "a")
    assert line_of(call("index", tmp_path / "out", "--json"))["store"].endswith("out/stores/a")
    shutil.copytree(stored.path, tmp_path / "out" / "stores" / "b")
    for command in (["index"], ["search", "--key", "x"]):
        done = call(*command, tmp_path / "out")
        assert done.exit_code == 2 and "holds 2 stores" in done.output


# -- search by key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "flat", "hnsw", "ivf"])
def test_an_image_finds_its_neighbours_and_never_itself(stored, kind):
    if kind:
        call("index", stored.path, "--kind", kind)
    line = line_of(call("search", stored.path, "--key", key_of(21), "-k", "7", "--json"))
    keys, similarity = expected(stored, 21, 7)
    assert [hit["key"] for hit in line["hits"]][:2] == [key_of(20), key_of(22)] == keys[:2]
    assert line["hits"][0]["similarity"] == 1.0
    assert line["index"] == kind and (line["recall"] is None) == (kind is None)
    if kind in (None, "flat"):
        assert [hit["key"] for hit in line["hits"]] == keys
        assert [hit["similarity"] for hit in line["hits"]] == similarity
    assert [hit["rank"] for hit in line["hits"]] == list(range(1, 8))
    assert line["hits"][0]["group"] == "g0002"


def test_a_stale_index_beside_a_fresh_one_is_no_news(stored):
    call("index", stored.path, "--kind", "flat")
    append(stored.path, clustered(100, seed=1))
    call("index", stored.path, "--kind", "hnsw")
    done = call("search", stored.path, "--key", key_of(0), "--json")
    assert line_of(done)["index"] == "hnsw" and "left aside" not in done.stdout


def test_exact_leaves_the_index_alone(stored):
    call("index", stored.path, "--kind", "hnsw")
    done = call("search", stored.path, "--key", key_of(0), "--exact", "--json")
    assert line_of(done)["index"] is None and "exact: compared with all 500 vectors" in done.stdout


def test_everything_is_found_once_and_rows_without_a_direction_never(stored):
    line = line_of(call("search", stored.path, "--key", key_of(0), "-k", "1000", "--json", "--quiet"))
    found = [hit["key"] for hit in line["hits"]]
    assert len(found) == len(set(found)) == 497 and not {key_of(0), key_of(5), key_of(6)} & set(found)


def test_a_stale_index_is_left_aside_and_named(stored):
    call("index", stored.path, "--kind", "flat")
    append(stored.path, clustered(100, seed=1))
    done = call("search", stored.path, "--key", key_of(0), "-k", "3", "--json")
    assert line_of(done)["index"] is None and line_of(done)["n"] == 600
    assert "flat index left aside" in done.stdout and "1 new shard came" in done.stdout
    call("index", stored.path, "--kind", "flat")
    assert line_of(call("search", stored.path, "--key", key_of(0), "--json"))["index"] == "flat"


def test_the_index_with_the_best_recall_is_used(stored, monkeypatch):
    call("index", stored.path, "--kind", "hnsw")
    call("index", stored.path, "--kind", "ivf")
    recalls = {"ivf": 0.99, "hnsw": 0.98}
    monkeypatch.setattr(find, "_recall", lambda store, kind: recalls[kind])
    assert find.search(stored.path, find.Query("key", key_of(0))).index == "ivf"
    recalls["ivf"] = 0.97
    assert find.search(stored.path, find.Query("key", key_of(0))).index == "hnsw"


def test_an_index_without_faiss_is_left_aside(stored, monkeypatch):
    call("index", stored.path, "--kind", "flat")
    monkeypatch.setattr(faiss_library.importlib.util, "find_spec", lambda name: None)
    done = call("search", stored.path, "--key", key_of(0), "--json")
    assert line_of(done)["index"] is None and "needs faiss" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "exactly one of --text, --image and --key"),
        (["--text", "a", "--key", "b"], 2, "exactly one"),
        (["--key", "gone.png"], 2, "no image of this key"),
        (["--key", "bad/500.png"], 2, "not embedded: cut off; write it again"),
        (["--key", key_of(5)], 2, "zero or not finite"),
        (["--key", key_of(6)], 2, "zero or not finite"),
        (["--key", key_of(1), "-k", "0"], 2, "-k"),
        (["--text", "a fox"], 2, "its model some/model reads no texts"),
        (["--image", "gone.png"], 2, "does not exist"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(stored, arguments, code, message):
    done = call("search", stored.path, *arguments)
    assert done.exit_code == code and message in done.output and "Traceback" not in done.output


def test_the_table_shows_names_and_never_obeys_them(tmp_path):
    store = write_store(tmp_path / "store", [clustered(12)], keys=[f"{HOSTILE}/{i}\x1b[2J.png" for i in range(12)])
    done = call("search", store.path, "--key", f"{HOSTILE}/0\x1b[2J.png", "-k", "2", "--json")
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout.splitlines()[-2]
    assert "[bold]x" in done.stdout and r"\n" in done.stdout
    assert line_of(done)["hits"][0]["key"].startswith(HOSTILE)


# -- search by text and image -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a large red star on a sandy beach", "two small blue cats"])
@pytest.mark.parametrize("indexed", [False, True])
def test_a_text_finds_the_scenes_drawn_of_it(scenes, text, indexed):
    if indexed:
        call("index", scenes / "out")
    done = call("search", scenes / "out", "--text", text, "-k", "4", "--model", "demo", "--json")
    line = line_of(done)
    assert {hit["group"] for hit in line["hits"]} == {text}
    assert line["query"] == {"kind": "text", "value": text}
    assert "demo encoder: drawn scenes only" in done.stdout and (line["index"] == "flat") == indexed


def test_the_store_names_its_model_and_texts_get_its_prefix(scenes):
    text = "two small blue cats"
    found = find.search(scenes / "out", find.Query("text", text))
    store = Store(find.the_store(scenes / "out"))
    assert store.spec.text_prefix == run.alignment.preset("torchmetrics").prefix
    stored = store.texts.take(np.arange(len(store.texts)))[store.text_rows()]
    row = find.find_row(store, found.hits[0].key)
    both = np.stack([store.images.take([row])[0], stored[row]])
    assert found.hits[0].similarity == pytest.approx(reference.similarities(both, both)[0, 1], abs=1e-6)


def test_a_prefix_of_the_store_is_put_before_the_text(model, tmp_path, monkeypatch):
    asked = []
    images = write_tree(tmp_path / "images", [f"a/{i}.png" for i in range(3)])
    run.embed(images, tmp_path / "store", model=model, backend="fake", clip_score="hessel2021")
    prefix = Store(tmp_path / "store").spec.text_prefix
    from semscale import arrays

    encode = arrays.encode_texts
    monkeypatch.setattr(arrays, "encode_texts", lambda texts, **rest: (asked.extend(texts), encode(texts, **rest))[1])
    find.search(tmp_path / "store", find.Query("text", "a cat", model, "fake"))
    assert prefix and asked == [prefix + "a cat"]


def test_a_text_longer_than_the_encoder_reads_is_told_of(scenes):
    done = call("search", scenes / "out", "--text", "two small blue cats " * 60, "-k", "1")
    assert "longer than the encoder reads" in done.stdout
    assert "longer" not in call("search", scenes / "out", "--text", "two small blue cats", "-k", "1").stdout


def test_an_image_file_finds_itself_among_the_stored(scenes):
    picture = sorted((scenes / "out").parent.glob("images/*/*/*.png"))[5]
    line = line_of(call("search", scenes / "out", "--image", picture, "-k", "3", "--json"))
    assert line["hits"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert picture.as_posix().endswith(line["hits"][0]["key"])
    broken = scenes / "broken.png"
    broken.write_bytes(picture.read_bytes()[:200])
    done = call("search", scenes / "out", "--image", broken)
    assert done.exit_code == 2 and "broken.png" in done.output and "Traceback" not in done.output


def test_another_model_than_the_stores_is_refused(scenes, model, tmp_path):
    done = call("search", scenes / "out", "--text", "a", "--model", model, "--backend", "fake")
    assert done.exit_code == 2
    assert "not the model of" in done.output and "which is demo" in done.output and "sha256" in done.output
    images = write_tree(tmp_path / "images", ["a/0.png", "a/1.png"])
    store = run.embed(images, tmp_path / "store", model=model, backend="fake")
    changed = shutil.copytree(model, tmp_path / "changed")
    for tower in ("image", "text"):
        file = tmp_path / "changed" / tower / "model.json"
        file.write_text(file.read_text().replace('"bicubic"', '"bilinear"').replace('"eos": 1', '"eos": 2'))
    done = call("search", store.path, "--text", "a", "--model", changed, "--backend", "fake")
    assert done.exit_code == 2 and "the image towers differ in preprocess" in done.output


def test_a_model_known_by_no_name_has_to_be_given(tmp_path):
    store = write_store(tmp_path / "store", [clustered(5)], name="my-checkpoint")
    (tmp_path / "a.png").write_bytes(b"")
    write_tree(tmp_path, ["b.png"])
    done = call("search", store.path, "--image", tmp_path / "b.png")
    assert (
        done.exit_code == 2 and "made with a model called 'my-checkpoint'; say where it is with --model" in done.output
    )
    assert "the file is empty" in call("search", store.path, "--image", tmp_path / "a.png").output


# -- contact sheets ---------------------------------------------------------------------------------------------------


def sheet_of(*arguments, path):
    done = call("search", *arguments, "--html", path)
    assert done.exit_code == 0, done.output
    assert f"contact sheet: {path}" in done.stdout
    return path.read_text(encoding="utf-8")


def test_a_contact_sheet_shows_every_hit_without_a_network(scenes, tmp_path):
    text = "two small blue cats"
    page = sheet_of(scenes / "out", "--text", text, "-k", "5", path=tmp_path / "deep" / "sheet.html")
    assert page.count("data:image/jpeg;base64,") == 5
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page) and "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    alts = re.findall(r'<img [^>]*alt="([^"]+)"', page)
    assert len(alts) == 5 and all(alt.startswith(f"Result {i}") for i, alt in enumerate(alts, start=1))
    assert text in page and "drawn scenes only" in page
    picture = sheet_of(scenes / "out", "--key", sorted_keys(scenes)[0], "-k", "2", path=tmp_path / "key.html")
    assert picture.count("data:image/jpeg;base64,") == 3 and 'alt="Query image' in picture


def sorted_keys(scenes):
    return sorted(Store(find.the_store(scenes / "out")).metadata(["key"]).column(0).to_pylist())


def test_hostile_names_and_texts_are_shown_as_text(model, tmp_path):
    write_tree(tmp_path / "images", ["a/0.png", "a/1.png"])
    keys = [f"{HOSTILE}/{i}.png" for i in range(2)]
    uris = [str(tmp_path / "images" / "a" / f"{i}.png") for i in range(2)]
    store = write_store(tmp_path / "store", [clustered(2)], keys=keys, uris=uris)
    page = sheet_of(store.path, "--key", keys[0], path=tmp_path / "sheet.html")
    assert page.count("data:image/jpeg;base64,") == 2
    named = run.embed(tmp_path / "images", tmp_path / "named", model=model, backend="fake").path
    extra = ("--model", model, "--backend", "fake")
    pages = [page, sheet_of(named, "--text", HOSTILE, *extra, path=tmp_path / "text.html")]
    for each in pages:
        assert "<img src=x" not in each and "\u202e\n" not in each
        assert html.escape('<img src=x onerror="alert(1)">', quote=False).split('"')[0] in each
        assert "<script" not in each


def test_pictures_that_are_gone_or_changed_leave_a_frame_that_says_so(tmp_path):
    write_tree(tmp_path, ["0.png", "1.png", "2.png"])
    uris = [str(tmp_path / f"{i}.png") for i in range(3)]
    store = write_store(tmp_path / "store", [clustered(3)], uris=uris)
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"other")
    page = sheet_of(store.path, "--key", key_of(0), path=tmp_path / "sheet.html")
    assert "file not found" in page and "file changed since" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert len(re.findall(r'role="img" aria-label="Result', page)) == 2


def test_a_store_in_which_everything_failed_answers_with_nothing(scenes, tmp_path):
    empty = shutil.copytree(find.the_store(scenes / "out"), tmp_path / "empty")
    shutil.rmtree(empty / "index", ignore_errors=True)
    for index in Store(empty).finished():
        Store(empty).discard(index)
    found = find.search(empty, find.Query("text", "two small blue cats"))
    assert (found.hits, found.n) == ([], 0)


def test_nothing_found_is_said(tmp_path):
    rows = np.zeros((3, 16), np.float32)
    rows[0] = 1
    store = write_store(tmp_path / "store", [rows])
    assert "Nothing was found" in sheet_of(store.path, "--key", key_of(0), path=tmp_path / "sheet.html")


# -- as a library -----------------------------------------------------------------------------------------------------


def test_wrong_values_are_refused(stored):
    with pytest.raises(UsageError, match="k of 0"):
        find.search(stored.path, find.Query("key", key_of(0)), k=0)
    with pytest.raises(UsageError, match="unknown kind of query 'sound'"):
        find.Query("sound", "x")


def test_help_names_every_option():
    for command in COMMANDS.commands.values():
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))
