"""`semscale bench encoders`: counts, roofs, outputs that are checked, and what does not run."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel

from semscale.encoders import load_spec, open_encoder
from semscale.encoders.trt_driver import Gpu, driver_problem
from semscale.errors import UsageError
from semscale_bench import encoders, encoders_report, machine, roof
from semscale_bench.candidates import BASELINE, RIVAL, Candidate, candidates
from semscale_bench.deviation import batches, deviation
from semscale_bench.encoders import bench_tower
from semscale_bench.flops import Transformer, tower_flops, transformer_flops
from semscale_bench.measure import Timing
from semscale_bench.random_clip import SHAPES, TINY
from semscale_bench.ratios import Ratio
from semscale_bench.run import bench
from semscale_bench.subjects import RANDOM, exported, subject
from semscale_export.reference import COMPILED, TorchEncoder

TOWERS = ["image", "text"]


def config_of(shape):
    vision = shape.vision | {"image_size": shape.image_size}
    return CLIPConfig(text_config=shape.text, vision_config=vision, projection_dim=shape.projection_dim)


@pytest.fixture(scope="module")
def model(tiny_export, tiny_checkpoint, tmp_path_factory) -> Path:
    """A copy of `tiny_export` that knows its checkpoint, and may be written to."""
    folder = Path(shutil.copytree(tiny_export, tmp_path_factory.mktemp("bench") / "model"))
    (folder / "checkpoint").symlink_to(tiny_checkpoint)
    return folder


@pytest.fixture(scope="module", autouse=True)
def short():
    """Small products, and each piece of work done once in a go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roof, "SHAPES", {"cpu": ((32, 48, 64), (64, 64, 64))})
        patch.setattr(roof, "GO_SECONDS", 0.0)
        patch.setattr(encoders, "PROBES", 16)
        yield


@pytest.fixture(scope="module")
def found(model):
    """Every candidate on the image tower."""
    return bench_tower(subject("tiny", model, "image"), candidates([]), batch_sizes=(1, 5), repeats=2)


class TestFlops:
    @pytest.mark.parametrize(
        ("shape", "gflop"), [("B/32", 8.8), ("B/16", 35.1), ("L/14", 162), ("L/14@336", 382), ("H/14", 335)]
    )
    def test_known_image_towers(self, shape, gflop):
        assert tower_flops(config_of(SHAPES[shape]), "image") / 1e9 == pytest.approx(gflop, rel=0.005)

    def test_one_layer_by_hand(self):
        # T = 3, w = 2, m = 5: four projections of 3 x 2 x 2, two products of 3 x 3 x 2, two of 3 x 2 x 5 multiply-adds
        assert transformer_flops(Transformer(2, 1, 5, 3)) == 2 * (4 * 12 + 2 * 18 + 2 * 30)

    @pytest.mark.parametrize("tower", TOWERS)
    def test_torch_counts_the_same(self, tower):
        config = config_of(TINY)
        net = CLIPModel(config).eval()
        for part in (net.vision_model, net.text_model):
            part.config._attn_implementation = "eager"  # the counter does not know the CPU's fused attention
        run = {
            "image": lambda: net.get_image_features(pixel_values=torch.zeros(1, 3, 64, 64)),
            "text": lambda: net.get_text_features(input_ids=torch.ones(1, 24, dtype=torch.long)),
        }[tower]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        assert tower_flops(config, tower) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("shape", "millions"),
    [("B/32", 151.3), ("B/16", 149.6), ("L/14", 427.6), ("L/14@336", 427.9), ("H/14", 986.1), ("bigG/14", 2539.6)],
)
def test_shapes_have_the_published_numbers_of_parameters(shape, millions):
    with torch.device("meta"):
        net = CLIPModel(config_of(SHAPES[shape]))
    assert sum(each.numel() for each in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    activation = "gelu" if shape in ("H/14", "bigG/14") else "quick_gelu"
    assert net.config.vision_config.hidden_act == net.config.text_config.hidden_act == activation


class TestRoof:
    def test_products_are_counted_and_positive(self):
        products = roof.products("cpu", "fp32")
        assert [product() for product in products] == 2 * [2 * 32 * 48 * 64, 2 * 64**3]
        assert [product.library for product in products] == ["torch", "torch", "NumPy", "NumPy"]
        found = roof.roof_of(products[0], Timing("a product", 1000, (2.0, 0.5, 1.0)))
        assert (found.best, found.median, found.shape) == (2000, 1000, (32, 48, 64))

    def test_int8_has_none(self):
        assert roof.products("cpu", "int8") == []

    def test_a_wrong_product_is_refused(self, monkeypatch):
        monkeypatch.setattr(torch, "mm", lambda a, b, out: out.copy_((a @ b) * 1.001))
        with pytest.raises(AssertionError, match=r"fp32 product on cpu is off by 1\.0e-03"):
            roof.products("cpu", "fp32")
        monkeypatch.undo()
        monkeypatch.setattr(roof.np, "matmul", lambda a, b, out: np.copyto(out, (a @ b) * 1.001))
        with pytest.raises(AssertionError, match=r"fp32 product on cpu is off by 1\.0e-03"):
            roof.products("cpu", "fp32")

    def test_the_setting_of_others_is_put_back(self):
        before = torch.get_float32_matmul_precision()
        with roof._tf32(True):
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == before

    def test_short_work_is_repeated(self, monkeypatch):
        clock = iter([10.0, 10.05])
        monkeypatch.setattr(roof, "GO_SECONDS", 0.2)
        monkeypatch.setattr(roof.time, "perf_counter", lambda: next(clock))
        assert roof.times_in_a_go(lambda: None) == 4


class TestDeviation:
    REFERENCE = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32) + 3

    def test_the_reference_itself_passes(self):
        rows = np.array([5, 0, 0, 3])
        found = deviation(self.REFERENCE, self.REFERENCE[rows], rows, precision="fp32")
        assert (found.rows, found.reasons) == (4, ())
        assert found.plain_min == pytest.approx(1) == found.centred_min
        assert found.length_change == 0

    def test_neighbours_that_changed_places_are_found(self):
        found = deviation(self.REFERENCE, self.REFERENCE[[1, 0]], np.array([0, 1]), precision="int8")
        assert found.centred_min < 0.9 < found.plain_min  # what centring is for
        assert "centred cosine" in " ".join(found.reasons)

    def test_lengths_and_directions_are_told_apart(self):
        found = deviation(self.REFERENCE, self.REFERENCE * 1.01, np.arange(6), precision="fp16")
        assert found.plain_min == pytest.approx(1)
        assert any("a length is off by 0.01" in why for why in found.reasons)

    @pytest.mark.parametrize("value", [0.0, np.nan])
    def test_what_is_no_direction_fails(self, value):
        broken = self.REFERENCE.copy()
        broken[2] = value
        found = deviation(self.REFERENCE, broken, np.arange(6), precision="bf16")
        assert math.isnan(found.plain_min)
        assert len(found.reasons) >= 2

    @pytest.mark.parametrize(("count", "size", "number"), [(16, 1, 16), (16, 5, 3), (16, 16, 1), (16, 40, 1)])
    def test_batches_are_full_and_walk_over_the_probes(self, count, size, number):
        found = batches(count, size)
        assert [len(batch) for batch in found] == [size] * number
        np.testing.assert_array_equal(np.concatenate(found), np.arange(number * size) % count)


class TestBench:
    def test_everything_is_a_row_or_has_its_reason(self, found):
        wanted = [candidate for candidate in candidates([]) if candidate.backend != "fake"]
        rows = {row.candidate for row in found.rows}
        absent = {each.candidate for each in found.absent}
        assert rows | absent == set(wanted)
        assert not rows & absent
        assert {BASELINE, Candidate("onnx", "int8"), Candidate("torch", "fp32")} <= rows
        assert RIVAL in wanted
        for each in found.absent:
            assert each.why.partition(": ")[2], each

    def test_rows_hold_rates_ratios_and_shares(self, found):
        assert {row.batch_size for row in found.rows} == {1, 5}
        for row in found.rows:
            assert len(row.timing.seconds) == 2
            assert row.of_baseline.low <= row.of_baseline.median <= row.of_baseline.high
            assert (row.roof_share is None) == (row.candidate.precision == "int8")
            assert row.deviation.rows == 3 * row.batch_size  # a warm-up and two rounds
            assert not row.deviation.reasons
        base = next(row for row in found.rows if row.candidate == BASELINE)
        assert (base.of_baseline.low, base.of_baseline.high) == (1, 1)
        roof = next(each for each in found.roofs if each.precision == "fp32")
        assert base.roof_share == pytest.approx(base.timing.rate * found.subject.flops / roof.best)
        assert all(each.best >= each.median > 0 for each in found.roofs)

    def test_int8_was_really_int8(self, found):
        apart = {row.candidate.precision: 1 - row.deviation.plain_min for row in found.rows}
        assert apart["int8"] > 1e-5 > apart["fp32"]

    def test_as_json_and_as_a_table(self, found):
        values = json.loads(json.dumps(encoders_report.values(found), allow_nan=False))
        assert {"model", "tower", "weights", "flops", "unit", "rows", "not_run", "roofs"} == set(values)
        assert values["rows"][0]["candidate"] == "onnx fp32"
        assert values["rows"][0]["deviation"]["passed"] is True
        assert encoders_report.table(found).row_count == len(found.rows)
        said = "\n".join(encoders_report.lines(found))
        assert all(each.why in said for each in found.absent)

    def test_torch_compiled_is_what_the_others_are_held_against(self, model, monkeypatch):
        def opened(candidate, folder):  # half precision is for GPUs: float32 stands in for it
            return open_encoder(folder, backend=candidate.backend)

        monkeypatch.setattr(encoders, "open_candidate", opened)
        wanted = [BASELINE, Candidate("torch", "fp16"), RIVAL]
        rows = bench_tower(subject("tiny", model, "text"), wanted, batch_sizes=(2,), repeats=3).rows
        assert [row.candidate.name for row in rows] == ["onnx fp32", "torch fp16", "torch fp16 compiled"]
        assert all(row.of_rival.low <= row.of_rival.median <= row.of_rival.high for row in rows)
        assert rows[2].of_rival == Ratio(1, 1, 1, 3)

    def test_ratios_are_taken_round_by_round(self):
        ours, theirs = Timing("a", 10, (1.0, 4.0, 1.0)), Timing("b", 5, (1.0, 4.0, 2.0))
        assert encoders._ratio(ours, theirs) == Ratio(2.0, 2.0, 4.0, 3)
        assert encoders._ratio(ours, None) is None


class Backwards:
    """An encoder whose rows come out in the wrong order."""

    def __init__(self, encoder):
        self.encoder, self.spec, self.close = encoder, encoder.spec, encoder.close

    def encode(self, inputs):
        return self.encoder.encode(inputs)[::-1].copy()


class Full(Backwards):
    """An encoder that cannot take a large batch."""

    def encode(self, inputs):
        if len(inputs) > 2:
            raise RuntimeError("out of memory:\n  tried to allocate")
        return self.encoder.encode(inputs)


@pytest.fixture
def swapped(monkeypatch):
    """A function that puts another encoder in the place of torch's."""

    def swap(kind):
        before = encoders.open_candidate

        def opened(candidate, folder):
            encoder = before(candidate, folder)
            return kind(encoder) if candidate.backend == "torch" else encoder

        monkeypatch.setattr(encoders, "open_candidate", opened)

    return swap


def run(model, *options):
    return CliRunner().invoke(bench, ["encoders", "--model", str(model), "--repeats", "1", *options])


class TestCommand:
    def test_a_wrong_output_is_shown_and_fails(self, model, swapped, tmp_path):
        swapped(Backwards)
        saved = tmp_path / "found.json"
        chosen = ("--backend", "torch", "--backend", "onnx", "--batch-sizes", "1,4", "--out", str(saved))
        result = run(model, *chosen)
        assert result.exit_code == 1
        found = json.loads(saved.read_text())["rows"]
        passed = {(row["candidate"], row["batch_size"]): row["deviation"]["passed"] for row in found}
        assert passed == {("onnx fp32", 1): True, ("onnx fp32", 4): True, ("onnx int8", 1): True,
                          ("onnx int8", 4): True, ("torch fp32", 1): True, ("torch fp32", 4): False}  # fmt: skip
        assert "torch fp32 in batches of 4: the smallest cosine is" in result.output
        assert "WRONG" in result.output

    def test_what_fails_at_one_batch_size_runs_at_the_others(self, model, swapped):
        swapped(Full)
        result = run(model, "--backend", "torch", "--batch-sizes", "2,4")
        assert result.exit_code == 0, result.output
        assert "not run: torch fp32 in batches of 4: RuntimeError: out of memory: tried to allocate" in result.output
        (row,) = json.loads(result.output.splitlines()[-1])["rows"]
        assert row["batch_size"] == 2
        assert row["of_baseline"] is None  # onnx was not asked for

    def test_nothing_that_runs_is_a_failure(self, model):
        if not driver_problem():
            pytest.skip("there is an NVIDIA driver here")
        result = run(model, "--backend", "tensorrt", "--batch-sizes", "2")
        assert result.exit_code == 1
        assert "not run: tensorrt fp16: UsageError: there is no NVIDIA driver here" in result.output
        assert "nothing that was asked for runs here" in result.output

    def test_the_line_says_what_was_run_on_what(self, model):
        result = run(model, "--backend", "onnx", "--batch-sizes", "3", "--tower", "both")
        assert result.exit_code == 0, result.output
        line = json.loads(result.output.splitlines()[-1])
        assert {"case", "regime", "rows", "encoders", "machine", "commit", "command"} == set(line)
        assert {"cpu", "gpu", "cores", "packages"} <= set(line["machine"])
        rows = {(row["model"], row["tower"], row["precision"]) for row in line["rows"]}
        assert rows == {(str(model), tower, precision) for tower in TOWERS for precision in ("fp32", "int8")}
        assert [(each["tower"], each["unit"]) for each in line["encoders"]] == [("image", "images"), ("text", "texts")]
        assert {each["weights"] for each in line["encoders"]} == {"given"}  # tests say something else of theirs

    @pytest.mark.parametrize("sizes", ["0", "1,,2", "a", "-1"])
    def test_batch_sizes_are_checked(self, model, sizes):
        result = run(model, "--batch-sizes", sizes)
        assert result.exit_code == 2
        assert "with commas between them" in result.output

    def test_an_unknown_model_is_told_the_shapes(self, tmp_path):
        assert isinstance(run(tmp_path / "nothing").exception, UsageError)
        with pytest.raises(UsageError, match=r"no shape; choose from tiny, B/32, .*L/14@336"), exported("B/31"):
            pass


def test_a_named_shape_is_exported_with_its_checkpoint_and_says_that_it_is_random():
    with exported("tiny") as folder:
        made = subject("tiny", folder, "text")
        assert made.weights == "random"
        assert load_spec(folder / "image").note == RANDOM
        inputs = np.zeros((2, 64, 64, 3), np.uint8)
        inputs[1] = 255
        rows = [open_encoder(folder / "image", backend=name).encode(inputs) for name in ("onnx", "torch")]
        np.testing.assert_allclose(*rows, atol=1e-5)
    assert not folder.exists()


def test_flops_of_another_family_are_not_made_up(model, monkeypatch):
    other = SimpleNamespace(model_type="siglip", folder=model)
    monkeypatch.setattr("semscale_export.reference.checkpoint_of", lambda *_: other)
    with pytest.raises(UsageError, match="of model type 'siglip', and FLOPs are counted for 'clip' only"):
        subject("m", model, "image")


def test_a_gpu_is_in_the_record_with_its_driver_and_libraries(monkeypatch):
    monkeypatch.setattr(machine, "driver_problem", lambda: "")
    monkeypatch.setattr(machine, "find_gpu", lambda: Gpu("NVIDIA H200", "9.0", "13.0"))
    monkeypatch.setattr(machine.trt_library, "installed", lambda: ["tensorrt"])
    monkeypatch.setattr(machine.trt_library, "load_library", lambda name: SimpleNamespace(version=f"11 of {name}"))
    recorded = machine.machine()["gpu"]
    assert (recorded["name"], recorded["capability"], recorded["driver"]) == ("NVIDIA H200", "9.0", "13.0")
    assert recorded["tensorrt"] == {"tensorrt": "11 of tensorrt"}


class TestCompiled:
    def test_it_pads_cuts_and_gives_what_the_same_module_gives(self, model, monkeypatch):
        seen = []

        def compiled(module, **options):
            assert (options["dynamic"], options["fullgraph"]) == (False, True)
            return lambda rows: (seen.append(len(rows)), module(rows))[1]

        monkeypatch.setattr(torch, "compile", compiled)
        encoder, plain = TorchEncoder(model / "text", compiled=True), TorchEncoder(model / "text")
        ids = np.full((300, 24), encoder.spec.tokens.eos, np.int64)
        ids[:, 0] = np.arange(300)
        for count, sizes in ((1, [1]), (3, [8]), (32, [32]), (300, [256, 256])):
            seen.clear()
            np.testing.assert_allclose(encoder.encode(ids[:count]), plain.encode(ids[:count]), atol=1e-5)
            assert seen == sizes
        assert encoder.encode(ids[:0]).shape == (0, encoder.spec.dim)
        encoder.close()
        with pytest.raises(UsageError, match="closed"):
            encoder.encode(ids[:1])

    def test_fewer_sizes_than_torch_compiles_of_one_function(self):
        import torch._dynamo

        assert len(COMPILED) < torch._dynamo.config.recompile_limit

    def test_really_compiled_it_agrees(self, model):
        encoder = TorchEncoder(model / "image", compiled=True)
        pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
        try:
            actual = encoder.encode(pixels)
        except RuntimeError as error:
            if "compiler" not in str(error).lower():
                raise
            pytest.skip(f"torch finds no C++ compiler: {str(error).splitlines()[0]}")
        finally:
            torch.compiler.reset()
        np.testing.assert_allclose(actual, TorchEncoder(model / "image").encode(pixels), atol=1e-5)
