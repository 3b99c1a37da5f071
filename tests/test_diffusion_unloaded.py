"""What a model cannot do is refused from its configurations, before any weights are read or fetched."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_diffusion_settings import DEFAULTS, EDITORS, REFUSED
from tiny_pipelines import KINDS, write_lora
from tiny_producers import folder_of

from semscale.errors import ModelError, UsageError
from semscale.producers.diffusion import DiffusionOptions, checkpoint, loading, open_producer
from semscale.producers.diffusion.quiet import quiet
from semscale.producers.request import Setting


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    """Fail where a pipeline or a model of one is loaded."""

    def refuse(cls, *args, **options):
        raise AssertionError(f"weights of {cls.__name__} were loaded")

    with quiet():
        loaders = diffusers.DiffusionPipeline, diffusers.ModelMixin
    for loader in loaders:
        monkeypatch.setattr(loader, "from_pretrained", classmethod(refuse))


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """A LoRA of the attention of the UNet of "sd"."""
    return write_lora(folder_of("sd"), tmp_path_factory.mktemp("lora") / "style.safetensors", seed=5)


def ask(folder, *, edits=False, **options):
    open_producer(str(folder), DiffusionOptions(edits=edits, **options))


@pytest.mark.parametrize(("kind", "given", "said"), REFUSED)
def test_a_setting_that_a_model_cannot_do_is_refused_without_its_weights(kind, given, said):
    with pytest.raises(UsageError, match=said):
        ask(folder_of(kind), edits=kind in EDITORS, settings=(Setting(), Setting(**given)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_model_can_do_is_the_same_as_of_the_loaded_one(kind, monkeypatch):
    """The outline of every kind fills in what the loaded pipeline would, and only then are the weights read."""
    edits, found = "pix2pix" in kind or kind == "img2img", []
    check = loading.DiffusionProducer.check
    monkeypatch.setattr(loading.DiffusionProducer, "check", lambda *a, **k: found.append(check(*a, **k)) or found[-1])
    with pytest.raises(AssertionError, match="were loaded"):
        ask(folder_of(kind), edits=edits, settings=(Setting(),))
    assert found == [dict(DEFAULTS).get(kind, found[0])] and found[0].steps


def test_edits_of_a_model_that_makes_none_and_the_reverse():
    with pytest.raises(UsageError, match="pixart-alpha cannot edit images"):
        ask(folder_of("pixart-alpha"), edits=True, settings=(Setting(),))
    with pytest.raises(UsageError, match="pix2pix edits images and makes none without a source"):
        ask(folder_of("pix2pix"), settings=(Setting(),))
    with pytest.raises(UsageError, match="leaves none of 10 steps"):  # by a model that is led by text, too
        ask(folder_of("sd"), edits=True, settings=(Setting(strength=0.05, steps=10),))


def test_loras_that_do_not_fit(lora, tmp_path):
    weights = load_file(lora)
    wide = {name: torch.zeros(3 * tensor.shape[0], tensor.shape[1]) for name, tensor in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    elsewhere = {name.replace("unet.", "transformer."): tensor for name, tensor in weights.items()}
    save_file(elsewhere, tmp_path / "elsewhere.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing of the kind")
    for name, said in (("wide", "cannot be loaded"), ("elsewhere", "none of its weights"), ("damaged", "damaged")):
        with pytest.raises(ModelError, match=f"LoRA .*{name}.safetensors: {said}"):
            ask(folder_of("sd"), lora=str(tmp_path / f"{name}.safetensors"))
    with pytest.raises(UsageError, match="a DiTPipeline takes none"):
        ask(folder_of("dit"), lora=str(lora))
    with pytest.raises(AssertionError, match="were loaded"):  # fits
        ask(folder_of("sd"), lora=str(lora))


def test_variants_that_are_not_there():
    with pytest.raises(UsageError, match="has no weights of a variant 'fp16'; leave the variant out"):
        ask(folder_of("sd"), variant="fp16")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.unlink(), "has no vae/config.json"),
        (lambda file: file.write_text("{"), "its vae/config.json is damaged"),
        (lambda file: file.write_text("[]"), "its vae/config.json is damaged"),
        (lambda file: file.write_text(json.dumps({"block_out_channels": 3})), "cannot be loaded as StableDiffusion"),
    ],
)
def test_configurations_that_are_damaged(tmp_path, harm, said):
    copy = Path(shutil.copytree(folder_of("sd"), tmp_path / "copy"))
    harm(copy / "vae" / "config.json")
    with pytest.raises(ModelError, match=said):
        ask(copy, settings=(Setting(),))


def test_of_a_hub_model_only_configurations_are_fetched(tmp_path, monkeypatch):
    snapshot = Path(shutil.copytree(folder_of("sd"), tmp_path / "snapshots" / ("a" * 40)))
    fetched, schedulers = [], []

    def download(repository, file, **options):
        fetched.append(file)
        return str(snapshot / file)

    read = diffusers.PNDMScheduler.from_pretrained
    monkeypatch.setattr(checkpoint, "hub_answers", lambda repository, revision: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(
        diffusers.PNDMScheduler, "from_pretrained",
        classmethod(lambda cls, where, **options: schedulers.append((where, options)) or read(snapshot / "scheduler")),
    )  # fmt: skip
    with pytest.raises(UsageError, match="a width of 65 pixels"):
        ask("owner/tiny", settings=(Setting(width=65),))
    assert fetched == ["model_index.json", "vae/config.json", "unet/config.json"]
    assert schedulers == [("owner/tiny", {"revision": "a" * 40, "subfolder": "scheduler"})]


def test_the_command_refuses_before_the_weights_and_makes_no_folder(tmp_path):
    from click.testing import CliRunner

    from semscale.cli_generate import generate

    (tmp_path / "prompts.txt").write_text("a cat\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "edits.csv").write_text("instruction,image\nmake it red,a.png\n")
    for prompts, kind, option, said in (
        ("prompts.txt", "sd", ["--size", "65"], "a width of 65 pixels"),
        ("prompts.txt", "sd", ["--steps", "10,2000"], "2000 steps"),
        ("prompts.txt", "flux-schnell", ["--guidance", "3.5"], "takes no guidance"),
        ("edits.csv", "pix2pix", ["--image-guidance", "0.5"], "an image guidance of 0.5"),
        ("edits.csv", "dit", [], "dit cannot edit images"),
    ):
        arguments = [str(tmp_path / prompts), "-o", str(tmp_path / "out"), "--model", str(folder_of(kind)), *option]
        done = CliRunner().invoke(generate, arguments)
        assert isinstance(done.exception, UsageError) and said in str(done.exception)
        assert not (tmp_path / "out").exists()
