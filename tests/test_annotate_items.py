"""What raters are shown: joined by prompt and seed, and every image that is not shown is counted."""

import json
import os

import pytest
from annotating import SEEDS, asked, write_generators
from images import png, write_tree
from PIL import Image

from semscale.errors import InputError, SourceError, StoreError, UsageError
from semscale.study.annotate.folders import choose, list_folder
from semscale.study.annotate.items import join, told
from semscale.study.annotate.pictures import read_picture
from semscale.study.annotate.task import begin, question, read_task


def pair(*folders, models=()):
    return choose([list_folder(folder) for folder in folders], models)


def test_items_are_joined_by_prompt_and_seed_and_all_else_is_counted(tmp_path):
    a = write_tree(tmp_path / "a", ["x/9.png", "x/10.png", "x/2.png", "only a/1.png", "y/1.png", "z/5.png"])
    b = write_tree(tmp_path / "b", ["x/10.jpg", "x/2.png", "x/77.png", "x/9.png", "y/2.png", "z/5.png", "only b/1.png"])
    items, counts = join(pair(a, b), 2)
    assert [(item.prompt, item.seeds) for item in items] == [("x", (2, 9)), ("z", (5,))]  # numeric, not lexical
    assert (counts.n_only_a, counts.n_only_b, counts.n_without_seeds) == (1, 1, 1)
    assert (counts.n_unmatched, counts.n_beyond, counts.n_fewer) == (3, 1, 1)
    lines = list(told(counts, ("a", "b"), 2))
    assert "not shown: 1 prompt that only a has" in lines
    assert "not shown: 3 images whose seed the other generator lacks" in lines
    assert "not shown: 1 common seed after the first 2 of a prompt" in lines
    assert "1 prompt has fewer than 2 images a side" in lines
    assert len(lines) == 6


def test_a_seed_counts_only_where_both_files_are_whole_images(tmp_path):
    a, b = write_generators(tmp_path, ["p"], [1, 2, 3, 4])
    (a / "p/1.png").write_bytes(b"<html>not found</html>")
    (b / "p/2.png").write_bytes(png()[:-40])
    (b / "p/3.png").write_bytes(b"")
    items, counts = join(pair(a, b), 20)
    assert items[0].seeds == (4,)
    assert counts.n_not_images == 3


def test_names_without_a_seed_and_repeated_seeds_are_counted(tmp_path):
    a = write_tree(tmp_path / "a", ["p/1.png", "p/01.png", "p/cat.png", "7.png"])
    b = write_tree(tmp_path / "b", ["p/1.png"])
    _, counts = join(pair(a, b), 20)
    assert (counts.n_repeated, counts.n_unplaced) == (1, 2)


def test_links_that_lead_outside_are_left_out_and_those_inside_are_not(tmp_path):
    outside = write_tree(tmp_path / "outside", ["secret/1.png"])
    a, b = write_generators(tmp_path, ["p"], [1])
    (a / "p/2.png").symlink_to(outside / "secret/1.png")
    (a / "p/3.png").symlink_to("1.png")
    (a / "q").symlink_to(outside / "secret")
    (a / "loop").symlink_to(a)
    (a / "p/4.png").symlink_to("nowhere.png")
    listing = list_folder(a)
    assert sorted(listing.models[None]["p"]) == [1, 3]
    assert list(listing.models[None]) == ["p"]
    assert listing.n_outside == 3
    write_tree(b, ["p/2.png", "p/3.png"])
    assert join(pair(a, b), 20)[0][0].seeds == (1, 3)


def test_a_file_that_becomes_a_link_to_the_outside_is_not_read(tmp_path):
    a, _ = write_generators(tmp_path, ["p"], [1])
    (tmp_path / "secret.png").write_bytes(png(9))
    (a / "p/1.png").unlink()
    (a / "p/1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="leads out"):
        read_picture(a, b"p/1.png")


def test_models_of_one_folder_are_chosen_by_name(tmp_path):
    root = tmp_path / "root"
    write_generators(root)
    a, b = pair(root)
    assert (a.label, b.label) == ("first", "second")
    assert [each.label for each in pair(root, models=("second", "first"))] == ["second", "first"]
    with pytest.raises(UsageError, match=r"no model 'third'; it has first, second"):
        pair(root, models=("first", "third"))
    with pytest.raises(UsageError, match="compared with itself"):
        pair(root, models=("first", "first"))
    with pytest.raises(UsageError, match="holds several models"):
        pair(root, root / "first")


def test_folders_of_one_name_are_told_apart(tmp_path):
    one = write_generators(tmp_path / "one")[0]
    two = write_generators(tmp_path / "two")[0]
    assert [each.label for each in pair(one, two)] == ["one/first", "two/first"]


def test_metadata_says_prompt_and_seed(tmp_path):
    for name in ("a", "b"):
        root = write_tree(tmp_path / name, ["one.png", "two.png"])
        rows = [{"file_name": "one.png", "text": "a red fox", "seed": 4}, {"file_name": "two.png", "text": "an owl"}]
        (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items, counts = join(pair(tmp_path / "a", tmp_path / "b"), 20)
    assert [(item.prompt, item.seeds) for item in items] == [("a red fox", (4,))]
    assert counts.n_unplaced == 2  # both owls are without a seed


@pytest.mark.parametrize(
    ("names", "message"),
    [(["q/1.png"], r"a \(1 prompt\) .*no prompt in common"), (["p/2.png"], "of 1 common prompt, none")],
)
def test_nothing_in_common_is_an_error(tmp_path, names, message):
    a, b = write_tree(tmp_path / "a", ["p/1.png"]), write_tree(tmp_path / "b", names)
    with pytest.raises(SourceError, match=message):
        join(pair(a, b), 20)


def test_a_folder_without_prompts_says_how_it_should_be(tmp_path):
    with pytest.raises(SourceError, match=r"<prompt>/<seed>\.png"):
        list_folder(write_tree(tmp_path / "flat", ["1.png", "2.png"]))


def test_results_of_score_are_not_images(tmp_path):
    folder = write_tree(tmp_path / "results", ["p/1.png"])
    for name in ("summary.json", "images.parquet"):
        (folder / name).touch()
    with pytest.raises(SourceError, match="results of `score`"):
        list_folder(folder)


def test_odd_names_are_kept(tmp_path):
    prompts = ["<script>alert(1)</script>".replace("/", "∕"), "\"quoted\" & 'single'", "🦊 émile", "x" * 240]
    a, b = write_generators(tmp_path, prompts, [3])
    strange = os.fsencode(a) + b"/\xff\xfe"
    os.mkdir(strange)
    with open(strange + b"/3.png", "wb") as file:
        file.write(png())
    items, counts = join(pair(a, b), 20)
    assert sorted(item.prompt for item in items) == sorted(prompts)
    assert len({item.item for item in items}) == len(prompts)
    assert counts.n_only_a == 1


def test_what_browsers_do_not_decode_becomes_png(tmp_path):
    folder = write_tree(tmp_path / "a", ["p/1.png"])
    original = Image.open(folder / "p/1.png").convert("RGB")
    original.save(folder / "p/2.tiff")
    original.save(folder / "p/3.webp", lossless=True)
    assert read_picture(folder, b"p/1.png").data == (folder / "p/1.png").read_bytes()
    assert read_picture(folder, b"p/3.webp").content_type == "image/webp"
    converted = read_picture(folder, b"p/2.tiff")
    (tmp_path / "out.png").write_bytes(converted.data)
    assert converted.content_type == "image/png"
    assert Image.open(tmp_path / "out.png").tobytes() == original.tobytes()
    assert read_picture(folder, b"p/3.webp", as_png=True).data == converted.data


def test_a_task_goes_on_as_it_was_begun(tmp_path):
    folders, out = write_generators(tmp_path), tmp_path / "ratings"
    task = begin(out, asked(), pair(*folders))
    write_tree(folders[0], ["new/1.png", "a cat/0.png"])
    write_tree(folders[1], ["new/1.png", "a cat/0.png"])
    assert begin(out, asked(), pair(*folders)) == task == read_task(out / "task.json")
    assert [item.seeds for item in task.items] == [SEEDS] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "Other?"}, "its question is 'Which.', not 'Other.'"),
        ({"n_shown": 2}, "its n_shown is 20, not 2"),
        ({"seed": 1}, "its seed is 0"),
    ],
)
def test_another_task_in_the_same_folder_is_refused(tmp_path, change, message):
    folders = write_generators(tmp_path)
    begin(tmp_path / "ratings", asked(), pair(*folders))
    with pytest.raises(UsageError, match=message):
        begin(tmp_path / "ratings", asked(**change), pair(*folders))
    with pytest.raises(UsageError, match="its models is 'first and second'"):
        begin(tmp_path / "ratings", asked(), pair(*folders[::-1]))


def test_an_image_that_is_gone_is_named(tmp_path):
    folders = write_generators(tmp_path)
    begin(tmp_path / "ratings", asked(), pair(*folders))
    (folders[1] / "a key/10.png").unlink()
    with pytest.raises(SourceError, match=r"second: has no image any more for seed 10 of 'a key'"):
        begin(tmp_path / "ratings", asked(), pair(*folders))


def test_a_damaged_task_is_an_error(tmp_path):
    (tmp_path / "task.json").write_text('{"format": 1}')
    with pytest.raises(StoreError, match="not a task of ratings"):
        read_task(tmp_path / "task.json")


def test_questions():
    assert question("attribute", attribute="colour") == "Which set of images is more consistent in colour?"
    assert question("match", own=" Which\none? ") == "Which one?"
    for template, attribute, own in (("match", "colour", ""), ("attribute", " ", ""), ("match", "colour", "Which?")):
        with pytest.raises(UsageError):
            question(template, attribute=attribute, own=own)
