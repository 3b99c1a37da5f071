"""Checkpoints that cannot be exported faithfully are refused, each with its reason."""

from __future__ import annotations

import pytest
from checkpoints import set_in_json, write_clip
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor

import semscale_export
from semscale.errors import ModelError, UsageError
from semscale_export.checkpoint import find_checkpoint


def test_existing_output_is_refused_and_untouched(tiny_checkpoint, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        semscale_export.export(str(tiny_checkpoint), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_only_pickled_weights_are_refused(copied, tmp_path):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Convert it to safetensors"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_damaged_weights_are_refused(copied, tmp_path):
    (copied / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="weights"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_weights_with_a_missing_tensor_are_refused(copied, tmp_path):
    tensors = load_file(copied / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors of a CLIP, among them visual_projection\.weight"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_other_family_is_refused(copied, tmp_path):
    set_in_json(copied / "config.json", model_type="bert")
    with pytest.raises(ModelError, match=r"'bert' cannot be exported; supported are \['clip'\]"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        semscale_export.export(str(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"do_center_crop": False, "size": {"height": 64, "width": 96}},
        {"size": {"height": 64, "width": 64}},
        {"crop_size": {"height": 64, "width": 32}},
        {"crop_size": {"height": 32, "width": 32}},
        {"resample": 1},
        {"do_resize": False},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"image_std": [0.5, 0.0, 0.5]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_preprocessing_the_engine_cannot_express_is_refused(settings, copied, tmp_path):
    set_in_json(copied / "preprocessor_config.json", **settings)
    with pytest.raises(ModelError, match=next(iter(settings))):
        semscale_export.export(str(copied), tmp_path / "out")


def test_preprocessing_is_read_in_old_and_new_form(copied):
    from semscale_export.spec import preprocess_of

    set_in_json(copied / "preprocessor_config.json", size=72, crop_size=64, resample=2, image_mean=0.5)
    processor = CLIPImageProcessor.from_pretrained(copied)
    settings = preprocess_of(find_checkpoint(str(copied)), processor, 64)
    assert (settings.size, settings.crop, settings.filter, settings.mean) == (72, 64, "bilinear", (0.5, 0.5, 0.5))


def test_missing_preprocessor_is_named(copied, tmp_path):
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_tokenizer_that_ends_elsewhere_than_the_model_pools_is_refused(tmp_path):
    folder = write_clip(tmp_path / "clip", eos_token_id=7)
    with pytest.raises(ModelError, match=r"text_config\.eos_token_id 7"):
        semscale_export.export(str(folder), tmp_path / "out")
