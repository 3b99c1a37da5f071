"""Images in the layout of the published study, with all that is odd about them, become a list that `score` reads."""

import json
import os
import re

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from study_tree import BIRD, CAT, EYE, MONET, SEEDS, TOK, put, write_lists, write_study_tree

import semscale
from semscale.cli_import_study import import_study as command
from semscale.errors import SourceError, UsageError
from semscale.study.importing.folder_prompts import guess, read_folders
from semscale.study.importing.importers import Wanted, read_study


@pytest.fixture
def tree(tmp_path):
    return write_study_tree(tmp_path / "data")


@pytest.fixture
def lists(tmp_path):
    return write_lists(tmp_path / "lists")


def run(*arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)


def told(study, kind):
    return [(oddity.where, oddity.message) for oddity in study.oddities if oddity.kind == kind]


def kinds(study):
    return [oddity.kind for oddity in study.oddities]


def everything(root):
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [root, *root.rglob("*")]}


def test_the_published_tree_becomes_a_list_that_score_reads(tree, lists, tmp_path, model):
    before, out = everything(tree), tmp_path / "metadata.jsonl"
    given = [part for name in ("prompts", "monet", "tok") for part in ("--prompts", lists / f"{name}.txt")]
    done = run(tree, "-o", out, *given, "--seeds", lists / "seeds.txt", "--n-seeds", 3, "--json")
    line = json.loads(done.output.splitlines()[-1])
    assert {name: (m["n_prompts"], m["n_images"]) for name, m in line["models"].items()} == {
        "pixart": (2, 5), "sdxl": (2, 7), "sdxl-lora": (1, 3), "sdxl-monet": (1, 3)
    }  # fmt: skip
    scored = semscale.score(out, out=tmp_path / "run", model=model, backend="fake")
    assert everything(tree) == before
    images = pq.read_table(tmp_path / "run" / "images.parquet").to_pylist()
    assert scored.summary["n_ok"] == 18 and scored.summary["n_failed"] == 0
    found = {(row["model"], row["text"]): set() for row in images}
    for row in images:
        found[row["model"], row["text"]].add(row["seed"])
    assert found == {
        ("sdxl", CAT): set(SEEDS), ("sdxl", EYE): set(SEEDS[:3]), ("sdxl-monet", MONET[0]): set(SEEDS[:3]),
        ("sdxl-lora", TOK[0]): set(SEEDS[:3]), ("pixart", CAT): set(SEEDS[:3]), ("pixart", EYE): set(SEEDS[:2]),
    }  # fmt: skip


def test_every_oddity_is_told_and_written_beside_the_list(tree, lists, tmp_path):
    out = tmp_path / "new" / "metadata.jsonl"
    given = [part for name in ("prompts", "monet", "tok") for part in ("--prompts", lists / f"{name}.txt")]
    done = run(tree, "-o", out, *given, "--seeds", lists / "seeds.txt", "--n-seeds", 3, "--json")
    line = json.loads(done.output.splitlines()[-1])
    assert line["n_oddities"] == {
        "model-name": 1, "model-split": 2, "prompt-characters": 2, "prompt-closest": 1, "seeds-extra": 1,
        "seeds-missing": 1, "not-an-image": 1,
    }  # fmt: skip
    written = [json.loads(row) for row in (tmp_path / "new" / "metadata.oddities.jsonl").read_text().splitlines()]
    assert written == line["oddities"]
    for oddity in written:
        assert f"{oddity['where']}: {oddity['message']}" in done.output
    closest = next(oddity for oddity in written if oddity["kind"] == "prompt-closest")
    assert "close-up drawing" in closest["where"] and TOK[0] in closest["message"]
    assert next(o for o in written if o["kind"] == "seeds-extra")["message"] == "1 seed: 272217"
    assert next(o for o in written if o["kind"] == "seeds-missing")["message"] == "1 seed: 724172"


def test_without_lists_an_apostrophe_is_a_guess_and_seeds_are_those_that_most_prompts_have(tree):
    study = read_study(tree)
    assert {image.prompt for image in study.images if "eye" in image.prompt} == {EYE}
    assert len(told(study, "prompt-guess")) == 2
    assert set(study.seeds) == set(SEEDS[:3])
    assert told(study, "seeds-extra") == [(f"sdxl/{CAT}", "1 seed: 272217")]
    assert not told(study, "prompt-closest")  # the drawing stays a drawing
    assert any("drawing of a hummingbird" in image.prompt for image in study.images)


def test_common_seeds_are_kept_and_what_is_left_out_is_told(tree):
    study = read_study(tree, Wanted(common_seeds=True))
    assert {image.seed for image in study.images} == set(SEEDS[:2])
    assert len(study.images) == 12
    assert sum(int(message.split()[0]) for _, message in told(study, "seeds-not-common")) == 6
    put(tree, "pixart/alone/7.jpg")
    with pytest.raises(UsageError, match="no seed is in every prompt of every model"):
        read_study(tree, Wanted(common_seeds=True))


@pytest.mark.parametrize(
    ("folder", "prompt"),
    [
        ("a person_s eye", "a person's eye"),
        ("children_s book, the horses_", "children's book, the horses_"),
        ("snake_case names", "snake_case names"),
        ("a_small thing", "a_small thing"),
    ],
)
def test_only_the_apostrophe_of_a_possessive_is_guessed(folder, prompt):
    assert guess(folder).prompt == prompt
    assert (guess(folder).how == "guess") == (folder != prompt)


def test_a_listed_prompt_is_found_by_case_and_characters_and_only_then_by_likeness():
    prompts = ["A Red fox", "what's this? a red/blue cat", EYE, f"{EYE}d", BIRD]
    folders = [
        "a red FOX",
        "what_s this_ a red_blue cat",
        EYE.replace("'", "_").replace("eye", "eyes"),
        "nothing alike",
    ]
    found = read_folders(folders, prompts)
    assert [found[folder].how for folder in folders] == ["case", "characters", "unknown", "unknown"]
    assert [found[folder].prompt for folder in folders[:2]] == prompts[:2]
    assert "may be" in found[folders[2]].note  # the eyes may be the eye, or eyed
    assert found[folders[3]].prompt == "nothing alike"


def test_a_prompt_of_another_style_is_never_the_closest_and_one_claimed_twice_is_nobodys():
    one, two = (BIRD.replace("bright", word) for word in ("brightly", "brighter"))
    assert (
        read_folders([f"{BIRD} in the style of TOK"], [MONET[0], BIRD])[f"{BIRD} in the style of TOK"].how == "unknown"
    )
    assert read_folders([one], [BIRD])[one].how == "closest"
    assert {reading.how for reading in read_folders([one, two], [BIRD]).values()} == {"unknown"}


def test_listed_prompts_without_a_folder_are_missing_of_the_models_of_their_list(tree, lists):
    (lists / "prompts.txt").write_text(f"{CAT}\n{EYE}\nan owl\n")
    study = read_study(tree, Wanted((lists / "prompts.txt", lists / "tok.txt")))
    assert told(study, "prompt-missing") == [("pixart", "'an owl'"), ("sdxl", "'an owl'")]
    assert [where for where, _ in told(study, "prompt-unknown")] == [f"SDXL/{MONET[0]}"]


# -- hostile folders --------------------------------------------------------------------------------------------------


def test_folders_of_one_prompt_are_merged_and_a_seed_that_is_there_twice_is_listed_once(tmp_path):
    for name in (
        "SDXL/a cat_s eye/1.jpg",
        "SDXL/a cat's eye/1.jpg",
        "sdxl/a cat's eye/2.png",
        "sdxl/a cat's eye/02.jpg",
    ):
        put(tmp_path, name)
    study = read_study(tmp_path)
    assert [(i.model, i.prompt, i.seed, i.folder) for i in study.images] == [
        ("sdxl", "a cat's eye", 1, "SDXL/a cat's eye"),
        ("sdxl", "a cat's eye", 2, "sdxl/a cat's eye"),
    ]
    assert len(told(study, "folders-merged")) == 1
    assert [where for where, _ in told(study, "seed-twice")] == ["SDXL/a cat_s eye/1.jpg", "sdxl/a cat's eye/2.png"]


def test_names_that_are_no_seeds_other_depths_and_unknown_suffixes_are_told(tmp_path, model):
    root = tmp_path / "data"
    for name in ("m/p/1.jpg", "m/p/2.jpg", "m/p/best.jpg", "m/p/-3.jpg", "m/p/¹.jpg", "m/loose.jpg", "m/p/q/4.jpg"):
        put(root, name)
    (root / "m/p/5.txt").write_text("")
    (root / "m/p/Thumbs").write_text("")
    study = read_study(root)
    assert [image.seed for image in study.images] == [1, 2, None, None, None]
    assert [where for where, _ in told(study, "seed-not-a-number")] == ["m/p/-3.jpg", "m/p/best.jpg", "m/p/¹.jpg"]
    assert [where for where, _ in told(study, "other-depth")] == ["m/loose.jpg", "m/p/q/4.jpg"]
    assert {where for where, _ in told(study, "not-an-image")} == {".txt", "Thumbs"}
    run(root, "-o", tmp_path / "list.jsonl", "--quiet")
    assert semscale.score(tmp_path / "list.jsonl", out=tmp_path / "r", model=model, backend="fake").summary["n_ok"] == 5


def test_links_to_files_are_told_and_links_to_folders_end(tmp_path, model):
    root, away = tmp_path / "data", tmp_path / "away"
    put(root, "m/p/1.jpg")
    put(away, "2.jpg")
    (root / "m/p/2.jpg").symlink_to(away / "2.jpg")
    (root / "m/p/3.jpg").symlink_to("nowhere.jpg")
    (root / "m/q").symlink_to(root / "m")  # a loop
    study = read_study(root)
    assert [image.seed for image in study.images] == [1, 2]
    assert kinds(study) == ["link", "broken-link"]
    run(root, "-o", tmp_path / "list.jsonl")
    assert semscale.score(tmp_path / "list.jsonl", out=tmp_path / "r", model=model, backend="fake").summary["n_ok"] == 2


def test_names_that_are_not_utf_8_and_odd_prompts_resolve(tmp_path, model):
    root = tmp_path / "data"
    for folder in (b"m/caf\xe9", 'm/a "b"\tc ü €'.encode(), b"m/100% file#1"):
        for seed in (1, 2):
            put(root, os.fsdecode(folder) + f"/{seed}.png")
    run(root, "-o", tmp_path / "list.jsonl")
    done = semscale.score(tmp_path / "list.jsonl", out=tmp_path / "r", model=model, backend="fake")
    assert done.summary["n_ok"] == 6 and done.summary["n_groups"] == 3


def test_layouts_that_lost_models_and_seeds_say_which_download_keeps_them(tmp_path):
    for folder in ("empty", "tables", "flat", "deep"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tables" / "train-00000.parquet").write_bytes(b"PAR1")
    put(tmp_path / "flat", f"{CAT}/0001.jpg")
    put(tmp_path / "deep", f"snapshot/SDXL/{CAT}/1.jpg")
    wanted = {
        "empty": "is empty; give the folder",
        "tables": "an image and a label.*the model and the seed are lost.*hf download runsdata/semantic-consistency",
        "tables/train-00000.parquet": "the model and the seed are lost.*hf download",
        "flat": "the model or the seed is lost.*hf download",
        "deep": "give .*deep/snapshot",
    }
    for place, said in wanted.items():
        with pytest.raises(SourceError, match=said):
            read_study(tmp_path / place)


def test_lists_go_outside_the_folder_and_are_json_lines(tree, tmp_path, monkeypatch, lists):
    for out, said in ((tree / "x.jsonl", "lies inside"), (tmp_path / "x.csv", "ends in .jsonl")):
        with pytest.raises(UsageError, match=re.escape(said)):
            run(tree, "-o", out)
    with pytest.raises(UsageError, match="of which list"):
        run(tree, "--n-seeds", 3, "-o", tmp_path / "x.jsonl")
    (lists / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        run(tree, "--prompts", lists / "bad.txt", "-o", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()
    monkeypatch.chdir(tree)
    with pytest.raises(UsageError, match="lies inside"):
        run(".")
    monkeypatch.chdir(tmp_path)
    run("data")
    assert len((tmp_path / "data-metadata.jsonl").read_text().splitlines()) == 19 - 1


def test_one_of_a_kind_is_told_in_the_singular(tmp_path):
    put(tmp_path / "data", f"SDXL/{MONET[0]}/1.jpg")
    said = run(tmp_path / "data", "-o", tmp_path / "out.jsonl").output
    assert "1 image of the model 'sdxl-monet', by the prompts" in said and "1 image, 2 oddities; score with:" in said
    put(tmp_path / "other", "SDXL/a cat/1.jpg")
    assert "1 image, 1 oddity; score with:" in run(tmp_path / "other", "-o", tmp_path / "out.jsonl").output
