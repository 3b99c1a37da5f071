"""Checkpoints that cannot be exported faithfully are refused, each with its reason."""

from __future__ import annotations

import json

import pytest
import torch
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
    with pytest.raises(ModelError, match=r"only when you name it.*--weights FILE"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_pickled_weights_that_are_named_are_read_as_plain_tensors(copied, tmp_path):
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save({"state_dict": tensors, "epoch": 3}, copied / "pytorch_model.bin")
    semscale_export.export(str(copied), tmp_path / "out", weights=copied / "pytorch_model.bin")
    assert (tmp_path / "out" / "image" / "model.onnx").is_file()


class Hostile:
    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Hostile(), "cannot be loaded as plain tensors"),
        ({"weight": torch.zeros(2), "note": Hostile()}, "cannot be loaded as plain tensors"),
        ([1, 2], "other than a table of tensors"),
        ({"epoch": 3}, "other than a table of tensors"),
    ],
    ids=["code", "code-inside", "list", "no-tensors"],
)
def test_a_pickle_that_is_not_plain_tensors_is_refused_and_runs_nothing(content, reason, copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=reason):
        semscale_export.export(str(copied), tmp_path / "out", weights=tmp_path / "weights.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "weights.pt"]


def test_a_missing_file_of_weights_is_refused(copied, tmp_path):
    with pytest.raises(ModelError, match="no such file; give --weights"):
        semscale_export.export(str(copied), tmp_path / "out", weights=tmp_path / "weights.pt")


def test_damaged_weights_are_refused(copied, tmp_path):
    (copied / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="weights"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_weights_with_a_missing_tensor_are_refused(copied, tmp_path):
    tensors = load_file(copied / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors of a CLIPModel, among them visual_projection\.weight"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_other_family_is_refused(copied, tmp_path):
    set_in_json(copied / "config.json", model_type="bert")
    with pytest.raises(ModelError, match=r"'bert' cannot be exported; supported are \['clip', 'dinov2'"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        semscale_export.export(str(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 64, "width": 96}, "do_center_crop": False},
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


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1j])
def test_weights_that_are_no_numbers_are_refused_by_name(copied, tmp_path, number):
    tensors = load_file(copied / "model.safetensors")
    spoilt = tensors["visual_projection.weight"].to(torch.complex64 if isinstance(number, complex) else torch.float32)
    spoilt[0, 0] = number
    torch.save({**tensors, "visual_projection.weight": spoilt}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"visual_projection\.weight holds numbers that are"):
        semscale_export.export(str(copied), tmp_path / "out", weights=tmp_path / "weights.pt")


def test_weights_without_a_place_in_the_model_are_refused(copied, tmp_path):
    set_in_json(copied / "config.json", vision_config={"num_hidden_layers": 1, **vision_of(copied)})
    with pytest.raises(ModelError, match=r"for which this CLIPModel has no place, among them vision_model\.encoder"):
        semscale_export.export(str(copied), tmp_path / "out")


def vision_of(folder):
    config = json.loads((folder / "config.json").read_text())["vision_config"]
    return {name: value for name, value in config.items() if name != "num_hidden_layers"}


def test_the_head_of_another_task_and_old_position_ids_do_no_harm(copied, tmp_path):
    tensors = load_file(copied / "model.safetensors")
    more = {"classifier.weight": torch.zeros(2, 2), "vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file({**tensors, **more}, copied / "model.safetensors", {"format": "pt"})
    semscale_export.export(str(copied), tmp_path / "out")
    assert (tmp_path / "out/text/model.onnx").is_file()


@pytest.mark.parametrize("size", [0, 10**9, "large"])
def test_an_impossible_size_is_refused(copied, tmp_path, size):
    set_in_json(copied / "preprocessor_config.json", size={"shortest_edge": size})
    with pytest.raises(ModelError, match="size"):
        semscale_export.export(str(copied), tmp_path / "out")


@pytest.mark.parametrize("mean", ["hi", [float("nan"), 0.5, 0.5], [[1], [2], [3]]])
def test_a_mean_that_is_no_number_is_refused(copied, tmp_path, mean):
    set_in_json(copied / "preprocessor_config.json", image_mean=mean)
    with pytest.raises(ModelError, match="image_mean"):
        semscale_export.export(str(copied), tmp_path / "out")


def test_an_export_is_not_exported_again(tiny_export, tmp_path):
    with pytest.raises(UsageError, match="already an exported model"):
        semscale_export.export(str(tiny_export), tmp_path / "out")


def test_options_that_do_not_go_with_the_model_are_refused(copied, tmp_path):
    with pytest.raises(UsageError, match="leave --weights out"):
        semscale_export.export("demo", tmp_path / "out", weights=copied / "model.safetensors")
    for model in ("demo", str(copied)):
        with pytest.raises(UsageError, match="leave --revision out"):
            semscale_export.export(model, tmp_path / "out", revision="main")


def test_an_index_may_not_name_files_elsewhere(copied, tmp_path):
    (copied / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"visual_projection.weight": "../elsewhere.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="fetch the checkpoint again"):
        semscale_export.export(str(copied), tmp_path / "out")
