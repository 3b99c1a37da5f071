"""What a GPU takes off the threads, with the CPU in its place: the store must not show who did the work."""

from __future__ import annotations

import filecmp
import io

import numpy as np
import pytest
from click.testing import CliRunner
from images import png
from PIL import Image

from semscale import device_resize, gpu, nvcodec, run
from semscale.cli import main
from semscale.device_resize import DeviceResizer
from semscale.encoders import load_spec
from semscale.errors import MissingDependencyError, UsageError
from semscale.nvcodec import NvDecoder
from semscale.pixels import RESIZED_TOGETHER, Device, Preparer, _cut
from semscale.settings import Settings


def jpeg(seed, size, **options):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    coarse.save(file := io.BytesIO(), "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """JPEGs of two sizes, PNGs, a strip, and files that are damaged, among them in the middle of a batch."""
    root = tmp_path_factory.mktemp("images")
    for seed in range(2 * RESIZED_TOGETHER + 9):
        size = [(64, 48), (48, 64), (64, 48), (500, 20)][seed % 4]
        (root / f"{seed:03}.jpg").write_bytes(jpeg(seed, size, progressive=seed % 3 == 0))
    for seed in range(5):
        (root / f"{seed:03}.png").write_bytes(png(seed, (40, 30)))
    (root / "007.jpg").write_bytes((root / "007.jpg").read_bytes()[:300])
    (root / "020.jpg").write_bytes(b"")
    return root


def embed(images, store, model, **settings):
    settings = Settings(**{"shard_size": 30, "workers": 2, **settings})
    return run.embed(images, store, model=model, backend="fake", settings=settings)


def bytes_of(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")


def assert_same_store(one, other):
    assert bytes_of(one) == bytes_of(other)
    assert filecmp.cmpfiles(one, other, bytes_of(one), shallow=False) == (bytes_of(one), [], [])


def on_cpu(decoder):
    """In place of `gpu.device_for`: all that a GPU would do, on the CPU."""

    def device_for(spec, backend, *, decode, settings):
        return Device(DeviceResizer(spec.preprocess, "cpu"), decoder)

    return device_for


@pytest.mark.parametrize("batch_size", [7, 512])
def test_a_store_does_not_show_that_a_device_resized(images, tmp_path, model, monkeypatch, batch_size):
    embed(images, tmp_path / "plain", model)
    monkeypatch.setattr(gpu, "device_for", on_cpu(None))
    embed(images, tmp_path / "device", model, batch_size=batch_size)
    assert_same_store(tmp_path / "plain", tmp_path / "device")


def test_a_decoder_beside_the_threads_changes_nothing_and_what_it_did_is_counted(images, tmp_path, model, monkeypatch):
    pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec, the extra decode-gpu, is not installed")
    plain = run.score(images, out=tmp_path / "plain", model=model, backend="fake")
    monkeypatch.setattr(gpu, "device_for", on_cpu(NvDecoder("cpu")))
    shared = run.score(images, out=tmp_path / "shared", model=model, backend="fake")
    assert plain.summary["provenance"]["decoded"] == {}
    counts = shared.summary["provenance"]["decoded"]
    assert counts["batch"] > 0 and counts["cpu"] > 0 and counts["unwritten"] == 0
    assert counts["batch"] + counts["cpu"] == shared.summary["n_found"]
    one, other = (next((tmp_path / name / "stores").iterdir()) for name in ("plain", "shared"))
    assert_same_store(one, other)


def test_after_a_crash_the_devices_decoder_is_left_alone(images, tmp_path, model, monkeypatch):
    class Dying:
        def takes(self, data):
            return True

        def decode(self, files):
            raise AssertionError("asked after a crash")

    embed(images, tmp_path / "plain", model)
    run.embed(images, tmp_path / "store", model=model, backend="fake", settings=Settings(shard_size=30, limit=30))
    (tmp_path / "store" / ".suspects").write_text("[41]")  # as a process leaves it that died in a decoder
    monkeypatch.setattr(gpu, "device_for", on_cpu(Dying()))
    embed(images, tmp_path / "store", model)
    assert filecmp.cmp(tmp_path / "plain/img_emb/img_emb_00001.npy", tmp_path / "store/img_emb/img_emb_00001.npy")


def test_an_error_of_the_devices_decoder_ends_the_run(images, tmp_path, model, monkeypatch):
    class Broken:
        def takes(self, data):
            return True

        def decode(self, files):
            raise RuntimeError("the device is lost")

    monkeypatch.setattr(gpu, "device_for", on_cpu(Broken()))
    with pytest.raises(RuntimeError, match="the device is lost"):
        embed(images, tmp_path / "store", model)


def test_whole_images_are_resized_in_the_order_they_came(images, model, tmp_path, monkeypatch):
    seen = []
    resize = DeviceResizer.__call__

    def noting(self, some):
        seen.append(len(some))
        return resize(self, some)

    monkeypatch.setattr(DeviceResizer, "__call__", noting)
    monkeypatch.setattr(gpu, "device_for", on_cpu(None))
    store = embed(images, tmp_path / "store", model)
    assert max(seen) == RESIZED_TOGETHER
    strips = store.metadata().column("width").to_pylist().count(500)
    assert strips > 10
    assert sum(seen) == len(store.images) - strips
    assert store.metadata().column("key").to_pylist() == sorted(store.metadata().column("key").to_pylist())


# --- Who gets what -----------------------------------------------------------------------------------------------


@pytest.fixture
def spec(model):
    from pathlib import Path

    return load_spec(Path(model) / "image")


@pytest.fixture
def with_gpu(monkeypatch):
    made = []
    monkeypatch.setattr(gpu, "driver_problem", lambda: "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(device_resize, "DeviceResizer", lambda _, device: made.append(("resizer", device)) or "resizer")
    monkeypatch.setattr(nvcodec, "NvDecoder", lambda device, max_pixels: made.append(("decoder", device)) or "decoder")
    return made


@pytest.mark.parametrize(
    ("backend", "decode", "expected"),
    [
        ("tensorrt", "exact", Device("resizer", None)),
        ("cuda", "gpu", Device("resizer", "decoder")),
        ("torch", "fast", Device(None, None)),
        ("torch", "close", Device(None, None)),
        ("onnx", "exact", Device(None, None)),
        ("onnx", "gpu", Device(None, "decoder")),
    ],
)
def test_with_a_gpu(spec, with_gpu, backend, decode, expected):
    assert gpu.device_for(spec, backend, decode=decode, settings=Settings()) == expected
    assert all(device == "cuda" for _, device in with_gpu)


@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch", "fake"])
def test_without_a_gpu_the_threads_do_everything(spec, monkeypatch, backend):
    monkeypatch.setattr(gpu, "driver_problem", lambda: "no driver")
    assert gpu.device_for(spec, backend, decode="exact", settings=Settings()) == Device()


def test_decoding_on_a_gpu_that_is_not_there_is_refused(spec, images, tmp_path, model, monkeypatch):
    monkeypatch.setattr(gpu, "driver_problem", lambda: "there is no NVIDIA driver here")
    with pytest.raises(UsageError, match=r"--decode gpu: there is no NVIDIA driver here; .*--decode exact"):
        gpu.device_for(spec, "onnx", decode="gpu", settings=Settings())
    arguments = ["embed", images, "-o", tmp_path / "store", "--model", model, "--backend", "fake", "--decode", "gpu"]
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 2
    assert not (tmp_path / "store").exists()


def test_decoding_on_a_gpu_without_its_library_names_the_extra(spec, with_gpu, monkeypatch):
    def missing(device, max_pixels):
        raise MissingDependencyError("decoding on a GPU", "nvidia-nvimgcodec", "decode-gpu")

    monkeypatch.setattr(nvcodec, "NvDecoder", missing)
    with pytest.raises(MissingDependencyError, match=r"semscale\[decode-gpu\]"):
        gpu.device_for(spec, "tensorrt", decode="gpu", settings=Settings())


def test_a_preparer_without_a_device_hands_items_on(spec):
    items = [("shard", 1), ("shard", 2)]
    preparer = Preparer.__new__(Preparer)
    preparer._resizer = None
    assert list(preparer.resized(items)) == items


@pytest.mark.parametrize(
    ("counting", "most", "longest"), [([], 32, 1), ([1], 32, 128), ([1, 1, 0], 32, 47), ([0] * 9 + [1], 32, 128)]
)
def test_what_waits_for_the_device_is_bounded_whatever_comes(counting, most, longest):
    items = [(counting * 1000 or [0] * 1000)[i] for i in range(1000)]
    cut = list(_cut(items, bool, most))
    assert [item for some in cut for item in some] == items
    assert max(map(len, cut)) <= longest
    assert all(sum(some) <= most for some in cut)


def test_zero_images_of_a_side_are_told(tmp_path, model, monkeypatch):
    class Idle:
        def takes(self, data):
            return False

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(png(0, (40, 30)))
    monkeypatch.setattr(gpu, "device_for", on_cpu(Idle()))
    done = run.score(tmp_path / "images", out=tmp_path / "out", model=model, backend="fake")
    assert done.summary["provenance"]["decoded"] == {"cpu": 1, "batch": 0}
    assert done.summary["parameters"]["batch_size"] == 32


def test_decoding_on_a_gpu_that_is_not_there_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "driver_problem", lambda: "there is no NVIDIA driver here")
    with pytest.raises(UsageError, match="--decode gpu"):
        run.score(tmp_path / "nothing", model="no/such", decode="gpu")
