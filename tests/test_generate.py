"""Generating: names, metadata, resuming, extending, failing."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from producers import Plain

from semscale.errors import StoreLockedError, UsageError
from semscale.locks import exclusive
from semscale.model import Sample
from semscale.producers.drawing import SceneProducer
from semscale.producers.folder_output import FolderOutput
from semscale.producers.generation import forecast, generate
from semscale.producers.prompts import Prompt
from semscale.producers.request import Setting
from semscale.producers.scenes import draw
from semscale.producers.slugs import MAX_BYTES, model_folder, prompt_folder
from semscale.producers.tar_output import TarOutput
from semscale.sources import open_source

ALIKE = ["a cat", "A cat", "a cat!", "a  cat", "a/cat", "a-cat", "á cat", "🐈 a cat", "a cat\0", "long " * 70 + "cat"]


def rows(out):
    return [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]


def images(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}


def test_plain_prompts_keep_their_words_and_all_others_get_a_hash():
    assert prompt_folder("a red fox") == "a-red-fox"
    assert prompt_folder("A red fox!") == "a-red-fox--f49eb182b1"
    assert prompt_folder("🦊") == "untitled--a6610584fb"
    assert prompt_folder("con").startswith("con--")
    assert prompt_folder("..").startswith("untitled--")
    assert prompt_folder("word " * 80).startswith("word-word") and "wor--" not in prompt_folder("word " * 80)
    assert model_folder("sdxl steps=10 guidance=7.5") == "sdxl_steps=10_guidance=7.5"
    assert re.fullmatch("sdxl--turbo__[0-9a-f]{10}", model_folder("SDXL--Turbo"))
    assert model_folder("stores") != "stores" and model_folder("con.v1").startswith("con.v1__")


@given(st.lists(st.text(max_size=120) | st.sampled_from(ALIKE), unique=True, min_size=2, max_size=6))
def test_names_are_safe_on_every_system_and_differ_where_texts_do(texts):
    for namer in (prompt_folder, model_folder):
        found = [namer(text) for text in texts if not re.search("[\ud800-\udfff]", text)]
        assert len({name.casefold() for name in found}) == len(found)
        for name in found:
            assert re.fullmatch(r"[a-z0-9][a-z0-9.=+_-]*[a-z0-9]|[a-z0-9]", name) and len(name) <= MAX_BYTES


def test_the_scorer_reads_every_prompt_whole_and_keeps_those_apart_that_slug_alike(tmp_path):
    done = generate(Plain(), ALIKE, seeds=[3, 5], out=tmp_path)
    assert (done.n_asked, done.n_made, done.n_failed) == (2 * len(ALIKE), 2 * len(ALIKE), 0)
    source = open_source(tmp_path)
    samples = list(source.read(range(len(source))))
    assert all(isinstance(sample, Sample) for sample in samples)
    assert sorted((s.model, s.text, s.group, s.seed) for s in samples) == sorted(
        ("plain", text, text, seed) for text in ALIKE for seed in (3, 5)
    )


def test_metadata_say_what_was_asked_and_what_made_it(tmp_path):
    prompt = Prompt(
        "a cat", negative="dog", more={"Category": "Animals", "seed": 9, "Text": "x", "tags": ["é", 1], "ok": True}
    )
    generate(Plain(revision="abc"), [prompt], seeds=[7], out=tmp_path, settings=[Setting(guidance=7.5)])
    [row] = rows(tmp_path)
    assert row["file_name"] == f"plain/{prompt_folder('a cat', 'negative:dog')}/7.png"
    assert {"text": "a cat", "model": "plain", "seed": 7, "negative_prompt": "dog"}.items() <= row.items()
    assert {"steps": 20, "guidance": 7.5, "size": "16", "width": 16, "height": 16}.items() <= row.items()
    assert {"Category": "Animals", "table_seed": "9", "table_Text": "x"}.items() <= row.items()
    assert (row["tags"], row["ok"]) == ('["é", 1]', "true")  # text, or `score --group-by` would refuse them
    assert row["generator"] == {"model": "tests/plain", "revision": "abc", "format": "PNG, lossless"}


def test_scenes_are_a_producer_like_any_other(tmp_path):
    generate(SceneProducer(), ["a red circle"], seeds=[4], out=tmp_path, settings=[Setting(width=64)])
    with Image.open(tmp_path / "scenes" / "a-red-circle" / "4.png") as image:
        assert image.tobytes() == draw("a red circle", 4, size=64).tobytes()
    for setting, said in (
        (Setting(steps=3), "without steps"),
        (Setting(width=64, height=32), "64x32"),
        (Setting(width=100_000), "use 4096 pixels or fewer"),
        (Setting(width=8), "use 32 pixels or more"),
    ):
        with pytest.raises(UsageError, match=said):
            generate(SceneProducer(), ["a red circle"], seeds=[4], out=tmp_path, settings=[setting])


def test_batches_hold_one_setting_and_do_not_change_images(tmp_path):
    settings = [Setting(steps=1), Setting(steps=2)]
    big = Plain(batch_size=4)
    generate(big, ["a", "b", "c"], seeds=[0, 1], out=tmp_path / "big", settings=settings)
    generate(Plain(), ["a", "b", "c"], seeds=[0, 1], out=tmp_path / "one", settings=settings)
    assert [len(batch) for batch in big.batches] == [4, 2, 4, 2]
    assert images(tmp_path / "big") == images(tmp_path / "one")
    assert rows(tmp_path / "big") == rows(tmp_path / "one")
    assert {row["model"] for row in rows(tmp_path / "one")} == {"plain steps=1", "plain steps=2"}


def test_more_prompts_seeds_and_models_add_theirs_and_rename_nothing(tmp_path):
    generate(Plain(), ["a"], seeds=[0], out=tmp_path)
    first = (tmp_path / "plain" / "a" / "0.png").stat()
    more = Plain()
    done = generate(more, ["b", "a"], seeds=[1, 0], out=tmp_path)
    assert (done.n_made, done.n_kept, done.n_asked) == (3, 1, 4)
    assert ("a", 0) not in [each for batch in more.batches for each in batch]
    generate(Plain("other"), ["a"], seeds=[0], out=tmp_path)
    names = [row["file_name"] for row in rows(tmp_path)]
    assert names == [f"{name}.png" for name in ("plain/a/0", "plain/b/1", "plain/b/0", "plain/a/1", "other/a/0")]
    assert (tmp_path / "plain" / "a" / "0.png").stat().st_mtime_ns == first.st_mtime_ns


def test_images_made_otherwise_do_not_go_under_one_label(tmp_path):
    generate(Plain(dtype="fp16", scheduler="PNDM"), ["a"], seeds=[0], out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    said = "'plain' made otherwise: dtype was fp16 and is fp32"
    with pytest.raises(UsageError, match=said):
        generate(Plain(dtype="fp32", scheduler="PNDM"), ["a"], seeds=[1], out=tmp_path)
    with pytest.raises(UsageError, match="lora was not there and is monet"):
        generate(Plain(dtype="fp16", scheduler="PNDM", lora="monet"), ["a"], seeds=[1], out=tmp_path)
    with pytest.raises(UsageError, match="steps was 20 and is 21"):
        forecast(Plain(dtype="fp16", scheduler="PNDM"), ["a"], seeds=[1], out=tmp_path, settings=[Setting(steps=21)])
    with pytest.raises(
        UsageError, match="scheduler was not there and is DDIM"
    ):  # also where the facts have a scheduler
        generate(
            Plain(dtype="fp16", scheduler="PNDM"), ["a"], seeds=[1], out=tmp_path, settings=[Setting(scheduler="DDIM")]
        )
    with pytest.raises(UsageError, match="format was PNG, lossless and is JPEG"):
        generate(Plain(dtype="fp16", scheduler="PNDM"), ["a"], seeds=[1], out=FolderOutput(tmp_path, "jpeg"))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}


def test_a_run_that_goes_on_elsewhere_says_so_and_records_where_each_image_was_made(tmp_path):
    generate(Plain(device="cuda:0", versions="torch 2.6"), ["a"], seeds=[0], out=tmp_path)
    settings = [Setting()]
    elsewhere = Plain(device="cpu", versions="torch 2.7")
    said = "device was cuda:0 and is cpu; versions was torch 2.6 and is torch 2.7"
    assert said in forecast(elsewhere, ["a"], seeds=[0, 1], out=tmp_path, settings=settings).notes[0]
    done = generate(elsewhere, ["a"], seeds=[0, 1], out=tmp_path)
    assert (done.n_kept, done.n_made, len(done.notes)) == (1, 1, 1) and said in done.notes[0]
    assert [row["generator"]["device"] for row in rows(tmp_path)] == ["cuda:0", "cpu"]


def test_prompts_longer_than_the_model_reads_are_told_and_counted(tmp_path):
    long = " ".join(["word"] * 61)
    prompts = ["a", f"{long} one", f"{long} two", Prompt("b", negative=long)]
    done = generate(Plain(), prompts, seeds=[0], out=tmp_path)
    cut = f"{long[:100]}..."
    assert done.notes == [
        f"{what} longer than plain reads, whose ends are cut off: {n}; the first loses {k} of its tokens: {cut!r}"
        for what, n, k in (("prompts", 2, 2), ("negative prompts", 1, 1))
    ]
    assert [row["prompt_cut"] for row in rows(tmp_path)] == [0, 2, 2, 0]
    assert rows(tmp_path)[1]["text"] == f"{long} one"


def test_a_prompt_that_fails_is_recorded_and_the_others_of_its_batch_are_made(tmp_path):
    class Learning(Plain):
        able = False

        def generate(self, requests, setting):
            if self.able:
                requests = [type(each)(each.prompt.replace("bad", "good"), each.seed) for each in requests]
            return super().generate(requests, setting)

    producer = Learning(batch_size=3)
    done = generate(producer, ["a", "bad", "c"], seeds=[0, 1], out=tmp_path)
    assert (done.n_made, done.n_failed, done.n_kept) == (4, 2, 0)
    failed = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["seed"], row["error"], row["reason"]) for row in failed] == [
        ("bad", seed, "ValueError", "bad words") for seed in (0, 1)
    ]
    assert (tmp_path / "_SUCCESS").exists() and done.reasons == {"ValueError: bad words": 2}
    (tmp_path / "failures.jsonl").write_text((tmp_path / "failures.jsonl").read_text() + "\n")
    assert generate(producer, ["c"], seeds=[0], out=tmp_path).n_failed == 0
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 2  # not asked for, so still known
    producer.able = True
    assert generate(producer, ["bad"], seeds=[0, 1], out=tmp_path).n_made == 2
    assert not (tmp_path / "failures.jsonl").exists()


def test_repeated_prompts_are_made_once_and_told(tmp_path):
    prompts = [Prompt("a", where="line 1"), Prompt("a", where="line 5")]
    done = generate(Plain(), prompts, seeds=[0], out=tmp_path)
    assert (done.n_made, done.notes) == (1, ["line 5 repeats line 1; left out"])


@pytest.mark.parametrize("output", [lambda out: out, lambda out: TarOutput(out, 5)])
def test_a_text_has_one_negative_prompt_under_a_label_for_scores_group_by_both(tmp_path, output):
    with_b, without = Prompt("a", negative="b", where="line 2"), Prompt("a", negative="", where="line 9")
    said = "'a' with no negative prompt, and under the label 'plain' also with the negative prompt 'b'"
    with pytest.raises(UsageError, match=f"line 9: {said}"):
        generate(Plain(), [with_b, without], seeds=[0], out=output(tmp_path))
    generate(Plain(), [with_b], seeds=[0], out=output(tmp_path))
    with pytest.raises(UsageError, match=f"line 9: {said}"):
        generate(Plain(), [without], seeds=[0], out=output(tmp_path))
    generate(Plain("plain without"), [without], seeds=[0], out=output(tmp_path))
    assert generate(Plain(), [with_b], seeds=[0], out=output(tmp_path)).n_kept == 1


def test_a_forecast_writes_nothing(tmp_path):
    out = tmp_path / "new"
    told = forecast(Plain(), ["a", "b"], seeds=[0, 1], out=out, settings=[Setting(steps=1), Setting(steps=2)])
    assert (told.n_asked, told.n_kept, told.labels) == (8, 0, ["plain steps=1", "plain steps=2"])
    assert told.first == [f"plain_steps=1/{name}.png" for name in ("a/0", "a/1", "b/0")]
    assert not out.exists()


def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path):
    def refused(said, prompts=("a",), seeds=(0,), out=tmp_path / "o", **more):
        producer = Plain()
        with pytest.raises(UsageError, match=said):
            generate(producer, prompts, seeds=seeds, out=out, **more)
        assert producer.batches == []

    refused("no strength", settings=[Setting(), Setting(strength=0.5)])
    refused("no prompts", prompts=[])
    for name in ("", "(source)", "\udcff", "a,b"):
        with pytest.raises(UsageError, match="label"):
            generate(Plain(name), ["a"], seeds=[0], out=tmp_path / "o")
    refused("prompt 2 is empty", prompts=["a", " "])
    refused("prompt 1 is not valid Unicode", prompts=["\ud83d"])
    refused("seed 0 is given twice", seeds=[0, 0])
    refused("cannot edit", prompts=[Prompt("a", source=Path(__file__))])
    refused("others have none", prompts=[Prompt("b"), Prompt("a", source=Path(__file__))])
    for name, text in (("metadata.csv", "file_name\n"), ("metadata.jsonl", '{"file_name": "x.png"}\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(text)
        refused("generate`", out=tmp_path / name)
        assert (tmp_path / name / name).read_text() == text


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    with exclusive(tmp_path), pytest.raises(StoreLockedError):
        generate(Plain(), ["a"], seeds=[0], out=tmp_path)
