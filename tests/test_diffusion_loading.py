"""Opening diffusion models: what a checkpoint is before its weights, what is refused, and what records say of it."""

import importlib
import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipelines import write_lora, write_pipeline

from semscale.errors import MissingDependencyError, ModelError, UsageError
from semscale.producers.diffusion import DiffusionOptions, checkpoint, devices, kinds, loading, open_producer
from semscale.producers.request import Request, Setting

UNET = Path("unet/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Stable Diffusion pipeline in a folder."""
    return write_pipeline("sd", tmp_path_factory.mktemp("pipelines") / "tiny-sd")


@pytest.fixture
def copied(saved, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def change(folder, **values):
    """Set keys of a pipeline's index."""
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | values))


def first(producer, seed=1):
    return np.asarray(producer.generate([Request("a cat", seed)], Setting(steps=2))[0]).astype(int)


def test_records_say_what_made_an_image_and_not_where_it_lay(saved, tmp_path):
    producer = open_producer(str(saved))
    facts = dict(producer.facts)
    import diffusers
    import transformers

    assert producer.name == "tiny-sd" and producer.batch_size == 1
    assert facts.pop("revision").startswith("sha256:")
    assert facts == {
        "model": "tiny-sd",
        "pipeline": "StableDiffusionPipeline",
        "scheduler": "PNDMScheduler",
        "dtype": "fp32",
        "device": "cpu",
        "safety_checker": "off",
        "versions": f"diffusers {diffusers.__version__}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}",
    }
    producer.close()
    producer.close()
    with pytest.raises(UsageError, match="tiny-sd is closed"):
        producer.generate([Request("a cat", 1)], Setting())


def test_the_revision_of_a_folder_is_that_of_its_contents(saved, copied):
    revision = checkpoint.find(str(saved)).revision()
    assert checkpoint.find(str(copied)).revision() == revision
    (copied / "README.md").write_text("not read")
    assert checkpoint.find(str(copied)).revision() == revision
    scheduler = copied / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.013"))
    assert checkpoint.find(str(copied)).revision() != revision


def test_options_of_a_load(saved):
    producer = open_producer(str(saved), DiffusionOptions(dtype="fp16", device="cpu", batch_size=5))
    assert producer.batch_size == 5 and producer.facts["dtype"] == "fp16"
    assert np.abs(first(producer) - first(open_producer(str(saved)))).mean() < 8  # the same noise, in another dtype


def test_the_dtype_of_a_gpu_is_that_which_a_model_was_published_in(monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_works", lambda: pytest.fail("a GPU needs no trial"))
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    usual = {kind: devices.dtype_of(None, kinds.KINDS[kind].half, gpu) for kind in kinds.KINDS}
    assert {kind for kind, dtype in usual.items() if dtype == "bf16"} == {"FluxPipeline", "FluxImg2ImgPipeline"}
    assert set(usual.values()) == {"fp16", "bf16"}
    assert devices.dtype_of("fp32", "bf16", gpu) == devices.dtype_of(None, "bf16", cpu) == "fp32"


def test_a_processor_that_would_end_the_process_is_noticed(saved, monkeypatch):
    monkeypatch.setattr(devices, "TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    devices.bfloat16_works.cache_clear()
    with pytest.raises(UsageError, match="'bf16': this machine announces instructions for it that it does not have"):
        open_producer(str(saved), DiffusionOptions(dtype="bf16", device="cpu"))
    devices.bfloat16_works.cache_clear()


def test_the_first_import_of_the_library_says_nothing(saved, monkeypatch, caplog):
    said = []

    def talkative(name):
        if not said:  # as diffusers is when it finds two packages of one name
            said.append(name)
            warnings.warn("a word about a package", stacklevel=1)  # an error, were it to come through
            logging.getLogger("of.another").warning("another word")
        return importlib.import_module(name)

    monkeypatch.setattr(loading, "import_module", talkative)
    open_producer(str(saved))
    assert said == ["diffusers"] and caplog.records == []


def test_opening_and_drawing_logs_nothing(saved):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("diffusers")
    logger.addHandler(handler)
    producer = open_producer(str(saved))  # warns of the safety checker that is left out
    producer.generate([Request("long " * 90, 1)], Setting(steps=2))  # warns of the words beyond 77 tokens
    logger.removeHandler(handler)
    assert lines == []


BAD_NAMES = [
    ("no such folder", "neither an existing folder nor a hub id"),
    ("/no/such/folder", "neither an existing folder nor a hub id"),
    ("../folder", "neither an existing folder nor a hub id"),
]


@pytest.mark.parametrize(("name", "said"), BAD_NAMES)
def test_a_model_that_is_nowhere(name, said):
    with pytest.raises(ModelError, match=said):
        open_producer(name)


def test_a_hub_id_without_a_hub(monkeypatch):
    monkeypatch.setattr(checkpoint, "hub_answers", lambda repository, revision: False)
    with pytest.raises(
        ModelError, match=r"no folder of this name here, .* could not be reached, and its model_index.json"
    ):
        open_producer("nobody/no-such-model-of-semscale")


def test_a_hub_id_is_recorded_with_the_commit_of_its_files(saved, monkeypatch, tmp_path):
    snapshot = Path(shutil.copytree(saved, tmp_path / "snapshots" / ("a" * 40)))
    monkeypatch.setattr(checkpoint, "hub_answers", lambda repository, revision: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file, **options: str(snapshot / file))
    found = checkpoint.find("owner/tiny", "main")
    assert (found.name, found.shown, found.revision()) == ("tiny", "owner/tiny", "a" * 40)


def test_what_is_no_pipeline_is_said_before_anything_is_loaded(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_pipeline", lambda *args: pytest.fail("weights were loaded"))
    with pytest.raises(ModelError, match=r"no model_index.json"):
        open_producer(str(tmp_path))
    with pytest.raises(UsageError, match="is a folder and has no revision 'main'"):
        open_producer(str(copied), DiffusionOptions(revision="main"))
    with pytest.raises(UsageError, match="unknown scheduler 'PNDMSchedule' for copy; did you mean 'PNDMScheduler'"):
        open_producer(str(copied), DiffusionOptions(settings=(Setting(), Setting(scheduler="PNDMSchedule"))))
    change(copied, _class_name="WuerstchenPipeline")
    with pytest.raises(
        ModelError, match=r"'WuerstchenPipeline', which is not supported; .*StableDiffusion3Pipeline \("
    ):
        open_producer(str(copied))
    change(copied, _class_name=["pipeline", "MyPipeline"])
    with pytest.raises(ModelError, match="brings code of its own"):
        open_producer(str(copied))
    change(copied, _class_name="StableDiffusionPipeline", unet=["my_unet", "MyUNet"])
    with pytest.raises(ModelError, match=r"brings code of its own .unet from 'my_unet'"):
        open_producer(str(copied))
    (copied / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        open_producer(str(copied))


def test_pickled_weights_are_not_read(copied):
    weights = load_file(copied / UNET)
    torch.save(weights, copied / UNET.with_suffix(".bin"))
    (copied / UNET).unlink()
    with pytest.raises(ModelError, match="cannot be loaded as StableDiffusionPipeline"):
        open_producer(str(copied))


def test_damaged_and_missing_weights_are_errors_and_not_random(copied):
    weights = load_file(copied / UNET)
    part = {name: tensor for name, tensor in weights.items() if "conv_out" not in name}
    save_file(part, copied / UNET, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing and would have been random: .*conv_out"):
        open_producer(str(copied))
    (copied / UNET).write_bytes((copied / UNET).read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_producer(str(copied))


def test_the_safety_checker_of_a_checkpoint_is_not_loaded(copied):
    change(copied, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"], requires_safety_checker=True)
    producer = open_producer(str(copied))  # whose folder has none, so that loading it would fail
    assert producer._adapters.makes.pipeline.safety_checker is None
    assert producer._adapters.edits.pipeline.safety_checker is None


BAD_OPTIONS = [
    ({"device": "gpu"}, "unknown device 'gpu'"),
    ({"variant": "fp16"}, "has no weights of a variant 'fp16'"),
    ({"lora": "nowhere.safetensors"}, "neither an existing file nor a hub id"),
]


@pytest.mark.parametrize(("given", "said"), BAD_OPTIONS)
def test_options_that_cannot_be_met(saved, given, said):
    with pytest.raises((UsageError, ModelError), match=said):
        open_producer(str(saved), DiffusionOptions(**given))


def test_options_that_make_no_sense():
    for given in ({"dtype": "int8"}, {"lora_scale": 0.5}, {"batch_size": 0}):
        with pytest.raises(UsageError):
            DiffusionOptions(**given)


def test_a_missing_library_is_named_with_what_installs_it(saved, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"diffusers, .* pip install 'semscale\[generate\]'"):
        open_producer(str(saved))


@pytest.fixture(scope="module")
def lora(saved, tmp_path_factory):
    """A LoRA of the attention of `saved`'s UNet, as a training script saves it."""
    return write_lora(saved, tmp_path_factory.mktemp("lora") / "style.safetensors", seed=5)


def test_a_lora_changes_images_by_its_scale(saved, lora):
    base = open_producer(str(saved))
    at = {s: open_producer(str(saved), DiffusionOptions(lora=str(lora), lora_scale=s)) for s in (0.0, 0.5, None)}
    images = {scale: first(producer) for scale, producer in at.items()}
    np.testing.assert_allclose(images[0.0], first(base), atol=1)
    half, whole = (np.abs(images[scale] - images[0.0]).mean() for scale in (0.5, None))
    assert whole > half > 0.1
    facts = at[None].facts
    assert (facts["lora"], facts["lora_scale"], len(facts["lora_sha256"])) == ("style.safetensors", "1", 64)


def test_a_lora_that_does_not_fit_is_an_error(saved, lora, tmp_path):
    weights = load_file(lora)
    wide = {name: torch.zeros(3 * tensor.shape[0], tensor.shape[1]) for name, tensor in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    elsewhere = {name.replace("unet.", "transformer."): tensor for name, tensor in weights.items()}
    save_file(elsewhere, tmp_path / "elsewhere.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing of the kind")
    (tmp_path / "style.bin").write_bytes(b"")
    for name in ("wide", "elsewhere", "damaged"):
        with pytest.raises(ModelError, match=f"LoRA .*{name}.safetensors"):
            open_producer(str(saved), DiffusionOptions(lora=str(tmp_path / f"{name}.safetensors")))
    with pytest.raises(UsageError, match=r"not a .safetensors file"):
        open_producer(str(saved), DiffusionOptions(lora=str(tmp_path / "style.bin")))


def test_a_class_model_takes_no_lora(lora, tmp_path):
    folder = write_pipeline("dit", tmp_path / "dit")
    with pytest.raises(UsageError, match="a DiTPipeline takes none"):
        open_producer(str(folder), DiffusionOptions(lora=str(lora)))
