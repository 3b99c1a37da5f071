"""The export of LPIPS: what it writes, and the files of weights and folders that are refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys

import onnx
import pytest
import torch
from lpips_reference import CHANNELS, head_weights, trunk_weights, write_weights
from safetensors.torch import save_file

from semscale.errors import ModelError, ParityError, UsageError
from semscale.perceptual import DistanceSpec, open_distance
from semscale_export import lpips as exporter
from semscale_export.lpips import HEADS_SHA256, export_lpips, find_heads, load_lpips


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {net: write_weights(net, folder) for net in ("alex", "squeeze")}


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lpips") / "squeeze"
    trunk, heads = weights["squeeze"]
    export_lpips("squeeze", folder, weights=trunk, heads=heads)
    return folder


def test_export_says_what_it_is(exported, weights):
    spec = DistanceSpec.from_json((exported / "distance.json").read_text(), where="here")
    trunk, heads = weights["squeeze"]
    assert (spec.net, spec.version, spec.smallest_side) == ("squeeze", "0.1", 17)
    assert spec.trunk_sha256 == exporter.sha256(trunk)
    assert spec.heads_sha256 == exporter.sha256(heads)
    assert spec.graph == exporter.sha256(exported / "model.onnx")
    assert {path.name for path in exported.iterdir()} == {"model.onnx", "distance.json"}
    graph = onnx.load(exported / "model.onnx").graph
    assert [one.name for one in graph.input] == ["a", "b"]
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"graph"), "not the file that was exported"),
        (lambda folder: (folder / "model.onnx").unlink(), "no such file"),
        (lambda folder: (folder / "distance.json").unlink(), "give the folder that the distance was exported into"),
        (lambda folder: (folder / "distance.json").write_text("{}"), "not a distance's specification"),
        (lambda folder: (folder / "distance.json").write_text('{"format": 9}'), "made by another version"),
        (lambda folder: set_in(folder, smallest_side="31"), "not of the types"),
        (lambda folder: set_in(folder, more=1), "not a distance's specification"),
    ],
    ids=["graph", "no graph", "no json", "empty", "version", "type", "key"],
)
def test_a_changed_folder_is_refused(change, reason, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    change(folder)
    with pytest.raises(ModelError, match=reason):
        open_distance(folder)


def set_in(folder, **values):
    path = folder / "distance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The files of weights


def test_safetensors_and_timm_names_load_too(weights, tmp_path):
    tensors = trunk_weights("squeeze") | {"head.fc.weight": torch.zeros(2), "pre_logits.fc1.bias": torch.zeros(2)}
    save_file(tensors, tmp_path / "trunk.safetensors")
    save_file(head_weights("squeeze"), tmp_path / "heads.safetensors")
    one = load_lpips("squeeze", weights=tmp_path / "trunk.safetensors", heads=tmp_path / "heads.safetensors")
    other = load_lpips("squeeze", weights=weights["squeeze"][0], heads=weights["squeeze"][1])
    images = torch.rand(2, 1, 20, 20, 3) * 255
    assert torch.equal(one(*images), other(*images))


class Hostile:
    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize(
    ("which", "change", "reason"),
    [
        ("trunk", {"features.0.bias": None}, r"trunk squeeze, 1 tensors are missing.*features\.0\.bias is missing"),
        ("trunk", {"features.1.weight": torch.ones(64)}, r"1 unknown: features\.1\.weight does not belong"),
        ("trunk", {"features.0.weight": torch.zeros(64, 3, 7, 7)}, r"\(64, 3, 7, 7\), and the network needs \(64, 3, "),
        ("trunk", {"features.0.bias": torch.full((64,), torch.nan)}, r"features\.0\.bias holds numbers"),
        ("trunk", {"features.0.bias": Hostile()}, "cannot be loaded as plain tensors"),
        ("heads", {"lin6.model.1.weight": None}, r"heads for squeeze, 1 tensors.*lin6\.model\.1\.weight is missing"),
        ("heads", {"lin0.model.1.weight": torch.ones(1, 65, 1, 1)}, r"\(1, 65, 1, 1\), and the network needs \(1, 64"),
        ("heads", {"lin0.model.1.weight": -torch.ones(1, 64, 1, 1)}, r"lin0\.model\.1\.weight holds numbers below 0"),
        ("heads", {"lin0.model.1.weight": Hostile()}, "cannot be loaded as plain tensors"),
    ],
    ids=["missing", "unknown", "kernel", "nan", "code", "no head", "width", "negative", "code in heads"],
)
def test_files_of_another_network_are_refused(which, change, reason, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = (trunk_weights if which == "trunk" else head_weights)("squeeze") | change
    torch.save({name: value for name, value in tensors.items() if value is not None}, tmp_path / "changed.pth")
    trunk, heads = weights["squeeze"]
    chosen = {"weights": trunk, "heads": heads} | {"weights" if which == "trunk" else "heads": tmp_path / "changed.pth"}
    with pytest.raises(ModelError, match=reason):
        export_lpips("squeeze", tmp_path / "out", **chosen)
    assert {path.name for path in tmp_path.iterdir()} == {"changed.pth"}


def test_another_nets_weights_are_refused(weights, tmp_path):
    with pytest.raises(ModelError, match="of the trunk alex"):
        export_lpips("alex", tmp_path / "out", weights=weights["squeeze"][0], heads=weights["alex"][1])
    with pytest.raises(ModelError, match="of the heads for alex"):
        export_lpips("alex", tmp_path / "out", weights=weights["alex"][0], heads=weights["squeeze"][1])
    with pytest.raises(ModelError, match="no such file; give the file of the trunk's weights"):
        export_lpips("alex", tmp_path / "out", weights=tmp_path / "none.pth", heads=weights["alex"][1])
    with pytest.raises(UsageError, match="unknown LPIPS net 'resnet'; choose from alex, vgg, squeeze"):
        export_lpips("resnet", tmp_path / "out", weights=weights["alex"][0], heads=weights["alex"][1])


def test_an_export_overwrites_nothing(weights, tmp_path):
    trunk, heads = weights["squeeze"]
    (tmp_path / "note").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        export_lpips("squeeze", tmp_path, weights=trunk, heads=heads)
    assert (tmp_path / "note").read_text() == "mine"


def test_a_dead_trunk_and_a_wrong_graph_fail_the_export(weights, tmp_path, monkeypatch):
    trunk, heads = weights["squeeze"]
    torch.save({name: torch.zeros_like(tensor) for name, tensor in trunk_weights("squeeze").items()}, tmp_path / "dead")
    with pytest.raises(ParityError, match="distances that are zero or not finite"):
        export_lpips("squeeze", tmp_path / "out", weights=tmp_path / "dead", heads=heads)
    write = exporter._write_graph

    def wrong(module, path):
        with torch.no_grad():
            module.heads[2].weight.mul_(1.01)
            write(module, path)
            module.heads[2].weight.div_(1.01)

    monkeypatch.setattr(exporter, "_write_graph", wrong)
    with pytest.raises(ParityError, match="differs from torch on images of 17 x 17 pixels"):
        export_lpips("squeeze", tmp_path / "out", weights=trunk, heads=heads)
    assert not (tmp_path / "out").exists()


# The package of the heads


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package lpips that cannot be imported, with random heads for squeeze."""
    folder = tmp_path / "site" / "lpips" / "weights" / "v0.1"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "lpips" / "__init__.py").write_text("raise ImportError('torchvision')")
    torch.save(head_weights("squeeze"), folder / "squeeze.pth")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_heads_are_found_in_the_package_by_their_hash_without_importing_it(package, weights, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"not the heads of lpips 0\.1\.4"):
        find_heads("squeeze")
    with pytest.raises(ModelError, match=r"alex\.pth: not the heads"):
        find_heads("alex")
    monkeypatch.setitem(HEADS_SHA256, "squeeze", exporter.sha256(package / "squeeze.pth"))
    spec = export_lpips("squeeze", tmp_path / "out", weights=weights["squeeze"][0])
    assert spec.heads_sha256 == HEADS_SHA256["squeeze"]
    assert "lpips" not in sys.modules


def test_without_the_package_the_export_says_what_to_install(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install --no-deps lpips==0\.1\.4; or give the file"):
        export_lpips("squeeze", tmp_path / "out", weights=weights["squeeze"][0])


@pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="the package lpips is not installed")
@pytest.mark.parametrize("net", CHANNELS)
def test_released_heads_load(net, tmp_path):
    trunk, _ = write_weights(net, tmp_path)
    module = load_lpips(net, weights=trunk, heads=find_heads(net))
    assert [head.weight.shape[1] for head in module.heads] == list(CHANNELS[net])
    assert all(head.weight.max() > 0.1 for head in module.heads)
