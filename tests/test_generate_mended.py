"""Outputs of `generate` that were changed by hand, or that a disk had no room for."""

import json
import resource
from dataclasses import replace

import pytest
from images import png
from producers import Inverting, Plain

from semscale.errors import StoreError, UsageError
from semscale.producers.generation import forecast, generate
from semscale.producers.prompts import Prompt
from semscale.producers.tar_output import TarOutput


@pytest.fixture
def out(tmp_path):
    generate(Plain(), ["a", Prompt("A, b", negative="c")], seeds=[0, 1], out=tmp_path / "out")
    return tmp_path / "out"


def again(out):
    return generate(Plain(), ["a", Prompt("A, b", negative="c")], seeds=[0, 1], out=out)


def edited(out, number, **change):
    path = out / "metadata.jsonl"
    lines = path.read_text().splitlines()
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | change)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "change",
    [
        {"text": "b"},
        {"text": 5},
        {"text": None},
        {"seed": 1},
        {"seed": None},
        {"model": "other"},
        {"model": "(source)"},
        {"negative_prompt": "b"},
        {"file_name": "plain/a/1.png"},
        {"file_name": "../out/plain/a/0.png"},
    ],
)
def test_a_line_that_does_not_fit_its_file_name_is_named(out, change):
    edited(out, 3, **change)
    before = (out / "metadata.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"line 3: .* is not the name of an image of the model, text"):
        again(out)
    assert (out / "metadata.jsonl").read_bytes() == before


def test_lines_of_edits_fit_by_model_and_seed(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    prompt, out = Prompt("invert", source=tmp_path / "a.png", source_text="x", edited_text="y"), tmp_path / "out"
    for kept in (0, 1):
        assert generate(Inverting("inv"), [prompt], seeds=[0], out=out).n_kept == kept
    edited(out, 2, seed=1)
    with pytest.raises(UsageError, match="line 2: 'inv/"):
        generate(Inverting("inv"), [prompt], seeds=[0], out=out)


def test_edits_that_would_be_one_group_are_told(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    first = Prompt("invert", source=tmp_path / "a.png", source_text="x", edited_text="y")
    for other, n_notes in ((replace(first, negative="z"), 1), (replace(first, text="turn", edited_text="z"), 0)):
        notes = forecast(Inverting("inv"), [first, other], seeds=[0], out=tmp_path / "out").notes
        assert ["--group-by parent" in note for note in notes] == [True] * n_notes


def test_blank_lines_are_no_lines(out):
    path = out / "metadata.jsonl"
    whole = path.read_text()
    path.write_text("\n" + whole.replace("\n", "\n \n"))
    assert again(out).n_kept == 4
    assert path.read_text() == whole


def test_an_empty_image_is_made_again(out):
    image = out / "plain" / "a" / "1.png"
    whole = image.read_bytes()
    image.write_bytes(b"")
    done = again(out)
    assert (done.n_made, done.n_kept, done.notes) == (1, 3, [])
    assert image.read_bytes() == whole


def test_images_that_lost_their_lines_are_counted_before_they_are_overwritten(out):
    (out / "metadata.jsonl").unlink()
    (out / "plain" / "a" / "1.png").unlink()
    done = again(out)
    assert (done.n_made, done.n_kept) == (4, 0)
    assert done.notes == ["images that metadata.jsonl does not describe, which are made again and overwritten: 3"]


def test_shards_on_a_full_disk_say_which_and_what_to_do(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"plain-00000\.tar: cannot be written .*run the same command again"):
            generate(Plain(), ["a"], seeds=range(9), out=TarOutput(tmp_path, 9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob(".unfinished*"))
