"""The published script's algorithm on the CLIP package: weights by its names, its transforms, its pairs.

The package itself is not among the tests' packages: a network of transformers' takes its place here, and
`semscale bench peers` compares the scores of the real one with semscale's.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from checkpoints import write_clip
from images import write_tree
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel

from semscale_bench.peers import published, table
from semscale_bench.peers.job import Model, Task
from semscale_bench.peers.openai_archive import by_its_names, fits, write_archive
from semscale_bench.peers.openai_package import torchvision
from semscale_bench.random_clip import TINY, Shape
from semscale_export.families.open_clip_weights import converted

OF_OPENAI = Shape(
    TINY.vision | {"num_attention_heads": 1, "hidden_size": 64},
    TINY.text | {"num_attention_heads": 2, "hidden_size": 128, "intermediate_size": 512},
    projection_dim=32,
    image_size=64,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("checkpoints") / "clip", OF_OPENAI)


@pytest.fixture(scope="module")
def clip(checkpoint):
    return CLIPModel.from_pretrained(checkpoint).eval()


@pytest.fixture
def model(checkpoint, tmp_path):
    write_archive(checkpoint, tmp_path / "clip.pt")
    return Model(checkpoint, tmp_path, tmp_path / "clip.pt", 5, tmp_path)


@pytest.fixture
def loads(monkeypatch, clip, checkpoint):
    """The paths that the package was asked to load, a stand-in of which gives transformers' network of the weights."""
    asked = []

    def load(path, device):
        asked.append(path)
        weights = {name: tensor.float() for name, tensor in torch.load(path).items()}
        network = CLIPModel(clip.config).eval()
        network.load_state_dict(converted(SimpleNamespace(name=path), weights, clip.config))
        return SimpleNamespace(encode_image=lambda pixels: network.get_image_features(pixels)), prepared(checkpoint)

    package = ModuleType("clip")
    package.load = load
    monkeypatch.setitem(sys.modules, "clip", package)
    return asked


def prepared(checkpoint):
    """The package's way to prepare an image, of the transforms that are stood in for."""
    with torchvision():
        from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    processor, side = CLIPImageProcessor.from_pretrained(checkpoint), OF_OPENAI.image_size
    steps = [Resize(side, interpolation=Image.BICUBIC), CenterCrop(side), lambda image: image.convert("RGB"),
             ToTensor(), Normalize(processor.image_mean, processor.image_std)]  # fmt: skip
    return Compose(steps)


def test_weights_come_back_from_its_names(clip):
    made = by_its_names(clip)
    halves = {name for name, tensor in made.items() if tensor.dtype == torch.float16}
    assert "visual.transformer.resblocks.1.attn.in_proj_weight" in halves and "visual.proj" in halves
    assert not any("ln_" in name or "embedding" in name for name in halves)
    back = converted(SimpleNamespace(name="x"), {name: tensor.float() for name, tensor in made.items()}, clip.config)
    assert back.keys() == {name for name in clip.state_dict() if not name.endswith("position_ids")}
    for name, tensor in back.items():
        torch.testing.assert_close(tensor, clip.state_dict()[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [(100, 64), (64, 101), (333, 217), (65, 90), (64, 64)])
def test_images_are_prepared_as_transformers_does(checkpoint, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    expected = CLIPImageProcessor.from_pretrained(checkpoint)(Image.fromarray(pixels), return_tensors="pt")
    found = prepared(checkpoint)(Image.fromarray(pixels))
    torch.testing.assert_close(found, expected["pixel_values"][0], rtol=0, atol=1e-6)


def test_another_network_is_not_written_and_told(tiny_checkpoint, tmp_path):
    write_archive(tiny_checkpoint, tmp_path / "clip.pt")
    assert not (tmp_path / "clip.pt").exists()
    with pytest.raises(ValueError, match="the CLIP package has no such network"):
        published.load(Model(tiny_checkpoint, tmp_path, tmp_path / "clip.pt", 5, tmp_path), table.ONCE)


def test_the_package_has_openais_networks_alone(clip):
    values = clip.config.to_dict()
    assert fits(values)
    for tower, name, value in (("vision", "hidden_act", "gelu"), ("text", "intermediate_size", 500)):
        key = f"{tower}_config"
        assert not fits(values | {key: values[key] | {name: value}})
    assert not fits(values | {"model_type": "siglip"})


@pytest.mark.parametrize("config", ['{"model_type": "dinov2"}', None])
def test_other_families_are_left_alone(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    write_archive(tmp_path, tmp_path / "clip.pt")
    assert not (tmp_path / "clip.pt").exists()


@pytest.mark.parametrize(("when", "loaded"), [(table.EACH_SET, 2), (table.ONCE, 1)])
def test_it_scores_each_set_by_all_of_its_pairs(model, clip, loads, tmp_path, when, loaded):
    names = [f"{i}.png" for i in range(8)]
    root = write_tree(tmp_path / "images", names)
    images = tuple(root / name for name in names)
    found = published.load(model, when)(Task(images, ("a cat",) * 8, (0,) * 4 + (1,) * 4))
    assert loads == [str(model.archive)] * loaded

    prepare = prepared(model.checkpoint)
    with torch.no_grad():
        rows = clip.get_image_features(torch.stack([prepare(Image.open(path)) for path in images]))
    unit = torch.nn.functional.normalize(rows.double())
    cosines = [100 * unit[part] @ unit[part].T for part in (slice(4), slice(4, 8))]
    expected = [each[np.triu_indices(4, 1)].clamp(min=0).mean() for each in cosines]
    np.testing.assert_allclose(found.consistency, expected, rtol=0, atol=0.05)  # weights are halves there
    assert abs(expected[0] - expected[1]) > 0.1


def test_pairs_below_zero_count_as_none_and_one_image_has_no_score():
    assert published.similarity(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])) == pytest.approx(100 / 3)
    assert np.isnan(published.similarity(torch.ones(1, 3)))
