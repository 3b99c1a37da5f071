"""Encoders that passed the gate: compared once, remembered, compared again when anything changed, else not used."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

import semscale
from semscale import checked as checked_module
from semscale import gate
from semscale.checked import checked, key_of, open_checked, record, recorded
from semscale.encoders import BACK_ENDS, BackEnd
from semscale.encoders.ort import OrtEncoder
from semscale.errors import MissingDependencyError, ModelError, ParityError, StoreError, UsageError
from semscale.gate import compare
from semscale_export import parity
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import family_of
from semscale_export.parity import NotRun
from semscale_export.quiet import quiet

ROWS = np.random.default_rng(0).standard_normal((24, 8))


class Off:
    """ONNX Runtime with noise of a given size in its embeddings."""

    def __init__(self, folder, size):
        self._encoder, self._size = OrtEncoder(folder), size
        self.spec, self.closed = self._encoder.spec, False
        self._rng = np.random.default_rng(0)

    def encode(self, inputs):
        rows = self._encoder.encode(inputs)
        rows = rows + self._size * self._rng.standard_normal(rows.shape, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def close(self):
        self.closed = True


@pytest.fixture
def tower(tiny_export, tmp_path):
    return shutil.copytree(tiny_export / "text", tmp_path / "text")


@pytest.fixture
def opened(monkeypatch):
    """Every encoder that was opened, by back end and precision: onnx fp32 is true, bf16 a little off, int8 far off."""
    made = []

    def open_encoder(folder, *, backend, precision, threads=None):
        if backend == "openvino":
            raise MissingDependencyError("back end 'openvino'", "openvino", "openvino")
        if precision == "fp16":
            raise UsageError(f"back end {backend!r} has no fp16")
        encoder = Off(folder, {"fp32": 0, "bf16": 1e-4, "int8": 0.1}[precision])
        made.append((f"{backend} {precision}", encoder))
        return encoder

    monkeypatch.setattr(checked_module, "open_encoder", open_encoder)
    monkeypatch.setattr(parity, "open_encoder", open_encoder)
    return made


def names(opened):
    return [name for name, _ in opened]


def comparison(precision="bf16", scale=1.0):
    return compare(ROWS, ROWS * scale, np.arange(24) // 8, precision=precision)


def test_first_call_compares_and_later_ones_read(tower, opened):
    encoder, found = open_checked(tower, backend="onnx", precision="bf16", threads=1)
    assert names(opened) == ["onnx bf16", "onnx fp32"]
    assert encoder is opened[0][1] and not encoder.closed and opened[1][1].closed
    assert found.passed and (found.tower, found.candidate, found.reference) == ("text", "onnx bf16", "onnx fp32")
    assert 0.99 < found.centred_min < 1 - 1e-9 and found.n == 128
    assert found.versions["onnx"].count(".") >= 1
    again = open_checked(tower, backend="onnx", precision="bf16")[1]
    assert again == found and names(opened) == ["onnx bf16", "onnx fp32", "onnx bf16"]


def test_what_fails_is_closed_and_says_so_every_time(tower, opened):
    for _ in range(2):
        with pytest.raises(ParityError, match=r"onnx int8: the text tower is not used.*--precision fp32"):
            open_checked(tower, backend="onnx", precision="int8")
    assert names(opened) == ["onnx int8", "onnx fp32", "onnx int8"]
    assert all(encoder.closed for _, encoder in opened)


def test_reference_and_fake_are_not_compared(tower, opened):
    assert open_checked(tower, backend="onnx", precision="fp32")[1] is None
    assert open_checked(tower, backend="fake", precision="fp32")[1] is None
    assert list(tower.glob("parity*")) == []


def test_record_round_trip_keeps_nan_as_valid_json(tower):
    key = key_of(tower, backend="onnx", precision="bf16")
    undefined = dataclasses.replace(comparison(), overlap=math.nan)
    record(tower, key, undefined)
    text = (tower / "parity-onnx-bf16.json").read_text()
    values = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert values["comparison"]["overlap"] is None and values["comparison"]["passed"] is False
    found = recorded(tower, key)
    assert math.isnan(found.overlap)
    assert dataclasses.replace(found, overlap=1.0) == dataclasses.replace(undefined, overlap=1.0)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(checked_module.Key)])
def test_another_key_is_stale(tower, field):
    key = key_of(tower, backend="onnx", precision="bf16")
    record(tower, key, comparison())
    assert recorded(tower, key) == comparison()
    other = dataclasses.replace(key, **{field: "fp16" if field == "precision" else "another"})
    assert recorded(tower, other) is None
    (tower / "parity-onnx-bf16.json").rename(tower / f"parity-{other.backend}-{other.precision}.json")
    assert recorded(tower, other) is None


def test_key_changes_with_model_weights_beside_it_versions_and_probes(tower, monkeypatch):
    def key():
        return key_of(tower, backend="onnx", precision="bf16")

    seen = {key()}
    (tower / "model.onnx").write_bytes((tower / "model.onnx").read_bytes() + b"\0")
    seen.add(key())
    (tower / "model.onnx_data").write_bytes(b"weights")
    seen.add(key())
    (tower / "model.onnx_data").write_bytes(b"weighty")
    seen.add(key())
    (tower / "model.bf16.onnx").write_bytes(b"made from it")
    seen.add(key())
    (tower / "model.int8.2.onnx").write_bytes(b"of another precision")
    assert key() in seen
    monkeypatch.setattr(semscale, "__version__", "9.9")
    seen.add(key())
    monkeypatch.setattr("onnxruntime.__version__", "9.9")
    seen.add(key())
    monkeypatch.setattr(checked_module, "cpu_name", lambda: "another processor")
    seen.add(key())
    monkeypatch.setattr(gate.probes, "VERSION", 99)
    seen.add(key())
    seen.add(key_of(tower, backend="onnx", precision="bf16", count=64))
    assert len(seen) == 10


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', "\xff", "cut", "format", "limits", "type"])
def test_damaged_record_is_measured_again(tower, opened, damage):
    encoder, found = open_checked(tower, backend="onnx", precision="bf16")
    path = tower / "parity-onnx-bf16.json"
    whole = path.read_text()
    changed = {
        "cut": whole[: len(whole) // 2],
        "format": whole.replace('"format": 1', '"format": 2'),
        "limits": whole.replace('"overlap": 0.96', '"overlap": 0.5'),
        "type": whole.replace('"limits": {', '"limits": {"more": 1,'),
    }.get(damage, damage)
    assert changed != whole
    path.write_text(changed, encoding="latin-1")
    opened.clear()
    assert checked(tower, encoder, backend="onnx", precision="bf16").passed
    assert names(opened) == ["onnx fp32"]
    assert recorded(tower, key_of(tower, backend="onnx", precision="bf16")).limits == found.limits


def test_folder_that_cannot_be_written_costs_time_and_no_more(tower, opened, monkeypatch):
    def full(*_):
        raise StoreError("the disk is full")

    monkeypatch.setattr(checked_module.files, "replace", full)
    for _ in range(2):
        assert open_checked(tower, backend="onnx", precision="bf16")[1].passed
    assert names(opened) == ["onnx bf16", "onnx fp32"] * 2
    with pytest.raises(StoreError):
        record(tower, key_of(tower, backend="onnx", precision="bf16"), comparison())


def test_no_model_to_compare(tmp_path):
    with pytest.raises(ModelError, match=r"no model\.onnx"):
        key_of(tmp_path, backend="onnx", precision="bf16")


@pytest.fixture(scope="module")
def towers(tiny_checkpoint):
    checkpoint = find_checkpoint(str(tiny_checkpoint))
    with quiet():
        return family_of(checkpoint).towers(checkpoint)


def test_exported_towers_equal_torch_on_the_probes(towers, tiny_export):
    for tower in towers:
        found = parity.gate(tower, tiny_export / tower.spec.kind)
        assert (found.reasons, found.n, found.precision) == ([], parity.PROBES, "fp32")
        assert (found.tower, found.candidate, found.reference) == (tower.spec.kind, "onnx fp32", "torch fp32")
        assert set(found.versions) == {"onnx", "torch"}


def test_parity_json_holds_both_tables(towers, tiny_export, tmp_path):
    rows = parity.measure(towers[1], tiny_export / "text")
    gates = [parity.gate(towers[1], tiny_export / "text")]
    parity.write(rows, tmp_path / "parity.json", gates)
    values = json.loads((tmp_path / "parity.json").read_text())
    assert [row["batch_size"] for row in values["rows"]] == [1, 2, 5]
    assert values["gate"][0]["passed"] and values["gate"][0]["limits"]["score_change"] == 0.005


def test_export_that_fails_the_gate_is_written_and_raised(tmp_path):
    with pytest.raises(ParityError, match="change of a length over their median is"):
        parity.write([], tmp_path / "parity.json", [comparison("fp32", scale=2.0)])
    assert json.loads((tmp_path / "parity.json").read_text())["gate"][0]["reasons"]


def test_check_compares_all_that_runs_and_says_why_the_rest_does_not(tiny_export, tmp_path, opened, monkeypatch):
    folder = shutil.copytree(tiny_export, tmp_path / "model")
    table = {
        "fake": BackEnd(""),
        "onnx": BackEnd("", "onnxruntime", "cpu", ("fp32", "fp16", "bf16", "int8")),
        "openvino": BackEnd("", "openvino", "openvino", ("bf16", "fp32")),
    }
    monkeypatch.setattr(parity, "BACK_ENDS", table)
    found = parity.check(folder)
    for kind in ("image", "text"):
        mine = {each.candidate: each for each in found if each.tower == kind}
        assert list(mine) == ["onnx fp16", "onnx bf16", "onnx int8", "openvino bf16", "openvino fp32"]
        assert mine["onnx bf16"].passed and not mine["onnx int8"].passed
        assert mine["onnx fp16"] == NotRun(kind, "onnx fp16", "back end 'onnx' has no fp16")
        assert "pip install 'semscale[openvino]'" in mine["openvino fp32"].why
        assert recorded(folder / kind, key_of(folder / kind, backend="onnx", precision="bf16")) == mine["onnx bf16"]
    assert names(opened).count("onnx fp32") == 2  # once a tower
    assert all(encoder.closed for _, encoder in opened)


def test_check_refuses_what_is_no_export(tiny_checkpoint):
    with pytest.raises(ModelError, match="not an exported model"):
        parity.check(tiny_checkpoint)


def test_every_precision_that_a_back_end_offers_has_limits():
    assert {precision for back_end in BACK_ENDS.values() for precision in back_end.precisions} <= set(gate.LIMITS)
