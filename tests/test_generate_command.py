"""`semscale generate` and what becomes of its output: scored, followed, paired, sharded."""

import csv
import json
import subprocess
import sys

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from images import png
from PIL import Image
from producers import Inverting, Plain

from semscale import run
from semscale.cli_generate import generate as command
from semscale.decode import decode
from semscale.errors import UsageError
from semscale.producers.folder_output import FolderOutput
from semscale.producers.generation import generate
from semscale.producers.prompts import read_prompts
from semscale.producers.request import Setting
from semscale.producers.tar_output import TarOutput
from semscale.sources import open_source


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text(
        "Prompts,Category\na red circle,plain\nA red circle,plain\ntwo blue unicorns,odd\n,odd\na red circle,x\n"
    )
    return path


def called(*arguments):
    return CliRunner().invoke(command, ["--model", "scenes", "--size", "64", "--n", "2", *map(str, arguments)])


def test_the_command_makes_what_it_can_tells_the_rest_and_ends_with_3(tmp_path, prompts):
    done = called(prompts, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 3
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["n_asked"], told["n_made"], told["n_failed"], told["labels"]) == (6, 4, 2, ["scenes"])
    assert "most frequent reason, of 2: UsageError: prompt 'two blue unicorns'" in done.output
    assert told["notes"] == [f"{prompts}: no prompt on line 5; left out", "line 6 repeats line 2; left out"]
    assert "33.3% of the images failed" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [(row["text"], row["Category"]) for row in rows[::2]] == [
        ("a red circle", "plain"),
        ("A red circle", "plain"),
    ]
    assert called(prompts, "-o", tmp_path / "out", "--max-error-rate", "0.5").exit_code == 0


def test_a_dry_run_tells_and_writes_nothing(tmp_path, prompts):
    done = called(prompts, "-o", tmp_path / "out", "--dry-run", "--size", "64,96")
    assert done.exit_code == 0 and not (tmp_path / "out").exists()
    assert "12 images, of which 0 are there" in done.stdout
    assert "label scenes size=96" in done.stdout and "scenes_size=64/a-red-circle/0.png" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--label", "a,b"], "'a,b' has a comma"),
        (["--lora", "x"], "--lora is of diffusion models"),
        (["--batch-size", "2"], "--batch-size is of diffusion models"),
        (["--steps", "10"], "without steps"),
        (["--size", "huge"], "--size huge"),
        (["--n", "3", "--seeds", "prompts.csv"], "line 1: 'Prompts,Category' is no whole number"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(tmp_path, prompts, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    done = called(prompts, "-o", "out", *options)
    assert isinstance(done.exception, UsageError) and said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_every_option_is_explained():
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def test_what_is_generated_is_scored_by_model_and_prompt(tmp_path, model):
    for name in ("one", "other"):
        generate(Plain(name), ["a/b", "a b", "🦊"], seeds=range(3), out=tmp_path / "out")
    scored = run.score(tmp_path / "out", out=tmp_path / "scores", model=model, backend="fake")
    assert (scored.summary["n_ok"], scored.summary["n_failed"], scored.summary["n_groups"]) == (18, 0, 6)
    assert set(scored.summary["scores"]["scs"]["by_model"]) == {"one", "other"}


PRODUCER = """
import sys, time
from semscale.producers.drawing import SceneProducer
from semscale.producers.generation import generate
from semscale.producers.request import Setting

class Slow(SceneProducer):
    def generate(self, requests, setting):
        time.sleep(0.1)
        return super().generate(requests, setting)

prompts = ["a red circle", "A red circle", "two blue stars", "a cat"]
settings = [Setting(width=32, height=32), Setting(width=64, height=64)]
generate(Slow(), prompts, seeds=range(8), out=sys.argv[1], settings=settings)
"""


def test_score_follows_a_process_that_generates_to_its_end(tmp_path, model):
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen([sys.executable, "-c", PRODUCER, out])
    looks = []
    scored = run.score(
        out,
        out=tmp_path / "scores",
        model=model,
        backend="fake",
        follow=60.0,
        on_progress=lambda now: looks.append(now),
    )
    assert process.wait() == 0 and (out / "_SUCCESS").exists()
    assert (scored.summary["n_ok"], scored.summary["n_failed"], scored.summary["n_groups"]) == (64, 0, 8)
    assert min(look.total for look in looks) < 64  # it began before the end
    table = pq.read_table(scored.out / "groups.parquet", columns=["model", "group", "text", "n"]).to_pylist()
    assert all(row["n"] == 8 and row["group"] == row["text"] for row in table)
    assert {row["model"] for row in table} == {"scenes size=32", "scenes size=64"}


@pytest.fixture
def edits(tmp_path):
    """Three instructions on two images, one with EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.png").write_bytes(png(1))
    Image.new("RGB", (24, 12), (200, 10, 10)).save(tmp_path / "b é.jpg", exif=exif)
    path = tmp_path / "edits.csv"
    rows = ["invert,a.png,a red fox,a blue fox", "invert,b é.jpg,red,cat", "turn,a.png,a cat,a fox"]
    path.write_text("instruction,image,source_text,edited_text\n" + "\n".join(rows) + "\n")
    return path


def test_edits_are_pairs_that_the_scorer_compares(tmp_path, edits, model):
    out = tmp_path / "out"
    done = generate(Inverting("inv", batch_size=4), read_prompts(edits).prompts, seeds=[0, 1], out=out)
    assert (done.n_made, done.notes) == (6, [])
    pairs = list(csv.DictReader((out / "pairs.csv").read_text().splitlines()))
    assert len(pairs) == 6 and len({pair["source"] for pair in pairs}) == 2
    assert (pairs[2]["source_text"], pairs[2]["edited_text"]) == ("red", "cat")
    for pair in pairs:
        source, edited = (decode((out / pair[side]).read_bytes()) for side in ("source", "edited"))
        assert (source == 255 - edited).all()
    assert decode((out / pairs[2]["source"]).read_bytes()).shape == (24, 12, 3)  # upright
    scored = run.score(
        out, out=tmp_path / "scores", model=model, backend="fake", pairs=str(out / "pairs.csv"),
        metrics=("scs", "clip-directional", "image-similarity", "mse"),
    )  # fmt: skip
    assert [scored.summary["scores"][name]["n"] for name in ("clip-directional", "mse")] == [6, 6]
    assert scored.summary["scores"]["scs"]["by_model"]["inv"]["n"] == 3
    assert scored.summary["scores"]["scs"]["by_model"]["(source)"]["n"] == 0


def test_instructions_without_captions_are_no_texts_of_images(tmp_path, edits):
    edits.write_text("instruction,image\ninvert,a.png\ninvert,b é.jpg\n")
    generate(Inverting("inv"), read_prompts(edits).prompts, seeds=[0], out=tmp_path / "out")
    assert (tmp_path / "out" / "pairs.csv").read_text().splitlines()[0] == "source,edited"
    source = open_source(tmp_path / "out")
    groups = {sample.group for sample in source.read(range(len(source)))}
    assert len(groups) == 4 and all(group.startswith("./") for group in groups)  # not one group of two sources
    with pytest.raises(UsageError, match="without --shards"):
        generate(Inverting("inv"), read_prompts(edits).prompts, seeds=[0], out=TarOutput(tmp_path / "tars", 5))


def test_a_source_that_holds_no_image_fails_its_edits_alone(tmp_path, edits):
    (tmp_path / "a.png").write_bytes(b"<html>")
    done = generate(Inverting("inv", batch_size=9), read_prompts(edits).prompts, seeds=[0], out=tmp_path / "out")
    assert (done.n_made, done.n_failed) == (1, 2)
    assert "InputError" in (tmp_path / "out" / "failures.jsonl").read_text()


def test_shards_are_a_source_and_go_on_where_they_ended(tmp_path):
    out, settings = tmp_path / "tars", [Setting(steps=1), Setting(steps=2)]
    generate(Plain(), ["a", "B"], seeds=range(3), out=TarOutput(out, 4), settings=settings)
    assert [path.name for path in sorted(out.glob("*.tar"))] == [
        f"plain_steps={s}-0000{n}.tar" for s in "12" for n in "01"
    ]
    before = {path: path.read_bytes() for path in out.glob("*.tar")}
    done = generate(Plain(), ["a", "B"], seeds=range(4), out=TarOutput(out, 4), settings=settings)
    assert (done.n_kept, done.n_made) == (12, 4)
    assert all(path.read_bytes() == data for path, data in before.items())
    source = open_source(out)
    found = {(s.model, s.text, s.seed) for s in source.read(range(len(source)))}
    assert found == {(f"plain steps={s}", text, seed) for s in "12" for text in "aB" for seed in range(4)}
    with pytest.raises(UsageError, match="dtype was not there and is fp32"):
        generate(Plain(dtype="fp32"), ["a"], seeds=[9], out=TarOutput(out, 4), settings=settings)
    for output in (out, FolderOutput(out)):
        with pytest.raises(UsageError, match="choose another -o"):
            generate(Plain(), ["a"], seeds=[0], out=output)


def test_formats_are_png_or_jpeg(tmp_path):
    generate(Plain(), ["a"], seeds=[0], out=FolderOutput(tmp_path, "jpeg"))
    with Image.open(tmp_path / "plain" / "a" / "0.jpg") as image:
        assert image.format == "JPEG" and image.mode == "RGB"
    for make in (
        lambda: FolderOutput(tmp_path, "webp"),
        lambda: TarOutput(tmp_path, 3, "gif"),
        lambda: TarOutput(tmp_path, 0),
    ):
        with pytest.raises(UsageError):
            make()
