"""Batches of JPEGs through nvImageCodec's CPU decoder, against `decode`. Its GPU decoders take the same path."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import simplejpeg
from hostile import hostile, seeds
from PIL import Image

from semscale import nvcodec
from semscale.decode import decode
from semscale.errors import InputError, MissingDependencyError, UsageError
from semscale.nvcodec import LARGEST, NvDecoder
from semscale.shared_decode import SharedDecoder

try:
    from nvidia import nvimgcodec as installed
except ImportError:
    installed = None

needs_library = pytest.mark.skipif(
    installed is None, reason="nvidia.nvimgcodec, the extra decode-gpu, is not installed"
)


def photo(height=83, width=121, seed=0):
    tiny = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    return Image.fromarray(tiny).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image=None, **options):
    out = io.BytesIO()
    (image or photo()).save(out, "JPEG", **options)
    return out.getvalue()


def turned(tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    return jpeg(exif=exif)


def sampled(name):
    pixels = np.ascontiguousarray(photo())
    return simplejpeg.encode_jpeg(pixels, 90, colorspace="RGB", colorsubsampling=name)


TAKEN = {
    "progressive": jpeg(progressive=True),
    "grey": jpeg(photo().convert("L")),
    "restarts": jpeg(restart_marker_blocks=3),
    "one pixel": jpeg(photo(1, 1)),
    "a row": jpeg(photo(1, 300)),
    "a column": jpeg(photo(300, 1)),
    "words": jpeg(comment=b"words", icc_profile=b"profile" * 20),
    "a tail": jpeg() + b"appended" * 9,
    **{f"4:{name[1:]}": sampled(name) for name in ("444", "422", "420", "440", "411")},
    **{f"orientation {tag}": turned(tag) for tag in range(1, 10)},
}
LEFT = {
    "cmyk": jpeg(photo().convert("CMYK")),
    "stored as rgb": jpeg(keep_rgb=True),
    "arithmetic": seeds()["jpeg-arithmetic"],
    "png": seeds()["png-rgb"],
    "cut": jpeg()[:900],
    "without its end": jpeg()[:-2],
    "nothing": b"",
    "a page": b"<!doctype html><p>no image",
    "bytes before a segment": jpeg()[:2] + b"\0" + jpeg()[2:],
    "more pixels than its bytes hold": jpeg().replace(b"\x00\x53\x00\x79\x03", b"\x07\xd0\x07\xd0\x03"),
    "more pixels than allowed": jpeg(photo(LARGEST // 1024 + 1, 1024)),
}


@pytest.fixture(scope="module")
def decoder():
    if installed is None:
        pytest.skip("nvidia.nvimgcodec, the extra decode-gpu, is not installed")
    return NvDecoder("cpu")


def wanted(data, **options):
    try:
        return decode(data, **options)
    except InputError as error:
        return error


def assert_same(found, expected):
    if isinstance(expected, InputError):
        assert (found.code, found.message) == (expected.code, expected.message)
        return
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", TAKEN)
def test_plain_jpegs_are_taken_and_bit_equal(decoder, name):
    redone = decoder.redone
    assert decoder.takes(TAKEN[name])
    assert_same(decoder.decode([TAKEN[name]])[0], decode(TAKEN[name]))
    assert decoder.redone == redone


@pytest.mark.parametrize("name", LEFT)
def test_everything_else_is_left_to_the_cpu_and_has_its_answers(decoder, name):
    redone = decoder.redone
    assert not decoder.takes(LEFT[name])
    assert_same(decoder.decode([LEFT[name]])[0], wanted(LEFT[name]))
    assert decoder.redone == redone + 1


def test_a_batch_answers_in_order(decoder):
    files = [*TAKEN.values(), *LEFT.values()][::-2]
    for found, data in zip(decoder.decode(files), files, strict=True):
        assert_same(found, wanted(data))
    assert decoder.decode([]) == []


def test_the_limit_on_pixels_is_the_callers():
    pytest.importorskip("nvidia.nvimgcodec")
    small = NvDecoder("cpu", max_pixels=83 * 121 - 1)
    assert not small.takes(jpeg()) and NvDecoder("cpu", max_pixels=83 * 121).takes(jpeg())
    assert small.decode([jpeg()])[0].code == "too-large"


def test_a_picture_that_ends_too_soon_is_decoded_again(decoder):
    """The end mark is there; the library makes grey of what is missing, and says nothing."""
    whole = jpeg(photo(200, 200), quality=95)
    short = whole[: len(whole) // 2] + b"\xff\xd9"
    redone = decoder.redone
    assert decoder.takes(short)
    assert decoder.decode([short])[0].code == "truncated"
    assert decoder.redone == redone + 1


def test_hostile_files_never_break_a_batch(decoder):
    """Pixels are those of `decode`; where only the library makes some, the damage lies within the coded pixels."""
    files = [data for name, data in map(hostile, range(2000)) if name.startswith("jpeg")]
    answers = decoder.decode(files)
    expected = [wanted(data, max_pixels=LARGEST) for data in files]
    passed = 0
    for data, found, right in zip(files, answers, expected, strict=True):
        if isinstance(right, InputError) and isinstance(found, np.ndarray):
            assert right.code in {"truncated", "decode-failed"} and decoder.takes(data)
            passed += 1
        elif isinstance(right, np.ndarray):
            assert_same(found, right)
    assert passed <= 0.03 * len(files)


def test_shared_with_the_cpu_it_gives_the_pixels_and_errors_of_decode(decoder):
    files = [*TAKEN.values(), *LEFT.values()] * 4
    shared = SharedDecoder(decoder, decode, workers=2, batch_size=8)

    def answer(data):
        try:
            return shared(data)
        except InputError as error:
            return error

    with closing(shared), ThreadPoolExecutor(8) as pool:
        for found, data in zip(pool.map(answer, files, timeout=60), files, strict=True):
            assert_same(found, wanted(data))
    assert shared.counts.cpu >= 4 * len(LEFT) and shared.counts.batch >= 1
    assert sum(shared.counts) == len(files)


class Lazy:
    """A library that says it decoded, and wrote nothing to rows it was told to forget."""

    def __init__(self, real, rows):
        self.real, self.rows = real, rows

    def decode(self, streams, *, images, **options):
        views = [np.asarray(image) for image in images]
        before = [view[self.rows].copy() for view in views]
        found = self.real.decode(streams, images=images, **options)
        for view, rows in zip(views, before, strict=True):
            view[self.rows] = rows
        return found


@pytest.mark.parametrize("rows", [slice(None), slice(-1, None), slice(0, 1), slice(40, 48)])
def test_a_row_that_was_never_written_is_found_and_done_again(rows):
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = NvDecoder("cpu")
    decoder._decoder = Lazy(decoder._decoder, rows)
    for found, data in zip(decoder.decode([jpeg(), turned(6)]), [jpeg(), turned(6)], strict=True):
        assert_same(found, decode(data))
    assert decoder.unwritten == decoder.redone == 2


def test_an_image_that_is_not_in_our_buffer_counts_as_unwritten(monkeypatch):
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = NvDecoder("cpu")
    real = decoder._nv.as_image
    copies = type("Copies", (), {"as_image": lambda pixels: real(pixels.copy()), "CodeStream": decoder._nv.CodeStream})
    monkeypatch.setattr(decoder, "_nv", copies)
    assert_same(decoder.decode([jpeg()])[0], decode(jpeg()))
    assert decoder.unwritten == 1


def test_a_library_that_decodes_nothing_is_refused(monkeypatch):
    pytest.importorskip("nvidia.nvimgcodec")
    monkeypatch.setattr(NvDecoder, "_decoded", lambda self, streams: [None for _ in streams])
    with pytest.raises(UsageError, match="decode-gpu"):
        NvDecoder("cpu")


@pytest.mark.parametrize("missing", ["nvidia", "nvidia.nvimgcodec"])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, missing):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(nvcodec.importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError, match=r"semscale\[decode-gpu\]"):
        NvDecoder("cpu")


def test_a_broken_library_is_not_called_missing(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core")

    monkeypatch.setattr(nvcodec.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match=r"numpy\.core"):
        NvDecoder("cpu")


def test_importing_the_module_does_not_load_the_library():
    code = "import sys, semscale.nvcodec; print([name for name in sys.modules if name.startswith('nvidia')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@needs_library
def test_the_library_is_quiet_about_what_it_cannot_read():
    code = "from semscale.nvcodec import NvDecoder; NvDecoder('cpu').decode([b'\\xff\\xd8\\xff\\xe0 no image'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and "[ERROR]" not in done.stderr
