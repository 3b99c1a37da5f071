"""PNGs by libspng: the same as Pillow's reader gives, of whatever is sound, and nothing of its own of what is not."""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib

import numpy as np
import pytest
from hostile import FAMILIES, encoded, hostile, join_png, seeds, split_png
from PIL import Image

from semscale import decode as decoding
from semscale import libspng
from semscale.errors import InputError

MOST = 1_000_000  # pixels
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", autouse=True)
def installed():
    pytest.importorskip("imagecodecs", reason="libspng comes with the package imagecodecs")


def outcome(data, *, by_libspng):
    """Pixels, or the code of the error, with or without libspng."""
    with pytest.MonkeyPatch.context() as patch:
        if not by_libspng:
            patch.setattr(decoding, "rgb_png", lambda *_: None)
        try:
            return decoding.decode(data, max_pixels=MOST)
        except InputError as error:
            return error.code, error.message


def assert_same(data):
    found, expected = (outcome(data, by_libspng=chosen) for chosen in (True, False))
    if isinstance(expected, tuple):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)
        assert found.flags.c_contiguous and found.flags.writeable


def filtered(pixels, kinds):
    """A PNG whose rows have these filters, 0 to 4 in turn, and 5 and more, which do not exist."""
    rows, above = [], np.zeros(pixels.shape[1] * 3, np.int64)
    for number, row in enumerate(pixels.reshape(len(pixels), -1).astype(np.int64)):
        left, corner = (np.concatenate([np.zeros(3, np.int64), line[:-3]]) for line in (row, above))
        kind = kinds[number % len(kinds)]
        nearest = left + above - corner
        far = np.abs(np.stack([left, above, corner]) - nearest)
        paeth = np.choose(np.argmin(far, axis=0), [left, above, corner])
        guess = [np.zeros_like(row), left, above, (left + above) // 2, paeth][kind % 5]
        rows.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    header = struct.pack(">LLBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    return join_png([SIGNATURE, (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (37, 45), (64, 257)])
@pytest.mark.parametrize("kinds", [(0,), (1,), (2,), (3,), (4,), (4, 3, 2, 1, 0)])
def test_every_filter_gives_the_pixels(shape, kinds):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    data = filtered(pixels, kinds)
    np.testing.assert_array_equal(libspng.rgb_png(data, MOST), pixels)
    assert_same(data)


@pytest.mark.parametrize("options", [{"compress_level": 0}, {"compress_level": 9}, {"optimize": True}])
def test_what_pillow_writes_is_read(options):
    pixels = np.asarray(Image.open(io.BytesIO(seeds()["png-rgb"])))
    data = encoded(Image.fromarray(pixels), "PNG", **options)
    np.testing.assert_array_equal(libspng.rgb_png(data, MOST), pixels)


@pytest.mark.parametrize("name", [name for name in seeds() if name.startswith("png-") and name != "png-rgb"])
def test_other_kinds_are_left_to_pillow(name):
    data = seeds()[name]
    if name != "png-animated":  # whose first picture is one like any other, without the chunks of the animation
        assert libspng.rgb_png(data, MOST) is None
    assert_same(data)


@pytest.mark.parametrize("kind", [b"PLTE", b"tRNS", b"eXIf", b"gAMA"])
def test_a_chunk_more_is_left_to_pillow(kind):
    signature, header, *rest = split_png(seeds()["png-rgb"])
    data = join_png([signature, header, (kind, bytes(6)), *rest])
    assert libspng.rgb_png(data, MOST) is None
    assert_same(data)


def test_what_is_too_large_is_told_as_ever():
    data = filtered(np.zeros((5, 5, 3), np.uint8), (0,))
    assert libspng.rgb_png(data, 24) is None
    with pytest.raises(InputError, match="5 x 5 pixels are more than the 24 allowed"):
        decoding.decode(data, max_pixels=24)


@pytest.mark.parametrize("kinds", [(5,), (0, 200)])
def test_a_filter_that_does_not_exist_is_an_error(kinds):
    data = filtered(np.zeros((5, 5, 3), np.uint8), kinds)
    assert libspng.rgb_png(data, MOST) is None
    assert outcome(data, by_libspng=True)[0] == "decode-failed"


def test_every_cut_is_told_as_pillow_tells_it():
    data = filtered(np.random.default_rng(1).integers(0, 256, (6, 7, 3), np.uint8), (4,))
    for length in range(8, len(data)):
        assert_same(data[:length])


def damaged():
    """Damage that every checksum of a chunk agrees with: of the pixels' stream, of sizes, and of the pieces' order."""
    rng = random.Random(3)
    signature, header, (kind, body), end = split_png(seeds()["png-rgb"])
    for _ in range(300):
        place, value = rng.randrange(len(body)), rng.randrange(256)
        yield join_png([signature, header, (kind, body[:place] + bytes([value]) + body[place + 1 :]), end])
        yield join_png([signature, header, (kind, body[:place]), end])
        yield join_png([signature, header, (kind, body[:place]), (kind, body[place:]), end])
        yield join_png([signature, header, (kind, body[:place]), end, (kind, body[place:])])
        yield join_png([signature, header, (kind, body + bytes(value)), end])
        sizes = struct.pack(">LL", rng.randrange(60), rng.randrange(60))
        yield join_png([signature, (header[0], sizes + header[1][8:]), (kind, body), end])


def test_damage_that_checksums_agree_with_changes_nothing():
    for data in damaged():
        assert_same(data)


def test_damaged_files_lose_no_references_and_say_nothing(capfd):
    data = filtered(np.zeros((5, 5, 3), np.uint8), (5,))
    before = sys.getrefcount(None)
    for _ in range(200):
        assert libspng.rgb_png(data, MOST) is None
    assert abs(sys.getrefcount(None) - before) < 100
    assert capfd.readouterr() == ("", "")


def test_hostile_files_come_out_as_by_pillow():
    numbers = [n for n in range(len(seeds()) * 40) if hostile(n)[0].startswith("png-")]
    assert len(numbers) > 200 and "png" in FAMILIES
    for number in numbers:
        assert_same(hostile(number)[1])


def test_without_the_package_pillow_reads(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    libspng._decoder.cache_clear()
    try:
        assert libspng.rgb_png(seeds()["png-rgb"], MOST) is None
        assert decoding.decode(seeds()["png-rgb"]).shape == (37, 45, 3)
    finally:
        libspng._decoder.cache_clear()
