"""Encoded bytes to pixels: every mode as a viewer shows it, and hostile bytes as errors with stable codes."""

import base64
import io
import re
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hostile import ARITHMETIC, hostile, join_png, split_png, tiled_tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from semscale.avif import coded_size
from semscale.decode import MAX_PIXELS, MAX_SCANS, decode
from semscale.errors import InputError

H, W = 40, 56
Y, X = np.mgrid[:H, :W]
PIXELS = np.stack([Y * 6, X * 4, X + Y], axis=-1).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS)


def encoded(image, fmt, **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def with_alpha():
    image = PHOTO.copy()
    image.putalpha(Image.fromarray((X * 4).astype(np.uint8)))
    return image


def on_white(colours, alpha):
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def oriented(tag, order="little"):
    exif = Image.Exif()
    exif.endian = "<" if order == "little" else ">"
    exif[0x0112] = tag
    return exif


def code_of(data, **options):
    with pytest.raises(InputError) as caught:
        decode(data, **options)
    assert caught.value.message, "an error without a message"
    return caught.value.code


LOSSLESS = {
    "png": encoded(PHOTO, "PNG"),
    "webp": encoded(PHOTO, "WEBP", lossless=True),
    "bmp": encoded(PHOTO, "BMP"),
    "tiff": encoded(PHOTO, "TIFF"),
    "tiff-lzw": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "bigtiff": encoded(PHOTO, "TIFF", big_tiff=True),
    "ppm": encoded(PHOTO, "PPM"),
    "tga": encoded(PHOTO, "TGA"),
    "qoi": encoded(PHOTO, "QOI"),
    "jpeg2000": encoded(PHOTO, "JPEG2000"),
    "apng": encoded(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(180)]),
    "multi-page tiff": encoded(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(180)]),
}
LOSSY = {
    "jpeg": encoded(PHOTO, "JPEG", quality=95),
    "progressive": encoded(PHOTO, "JPEG", quality=95, progressive=True),
    "cmyk": encoded(PHOTO.convert("CMYK"), "JPEG", quality=95),
    "webp": encoded(PHOTO, "WEBP", quality=95),
    "avif": encoded(PHOTO, "AVIF", quality=95),
    "gif": encoded(PHOTO, "GIF"),
    "tiff-jpeg": encoded(PHOTO, "TIFF", compression="jpeg", quality=95),
}
ALL = {f"{name} lossless": data for name, data in LOSSLESS.items()} | LOSSY


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_saved(name):
    pixels = decode(LOSSLESS[name])
    np.testing.assert_array_equal(pixels, PIXELS)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_give_nearly_the_pixels_that_were_saved(name):
    assert np.abs(decode(LOSSY[name]).astype(int) - PIXELS).mean() < 6


@pytest.mark.parametrize("options", [{"subsampling": s, "progressive": p} for s in (0, 1, 2) for p in (False, True)])
def test_jpeg_is_bit_equal_to_pillow(options):
    noisy = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    for image in (Image.fromarray(noisy), Image.fromarray(noisy).convert("L")):
        data = encoded(image, "JPEG", quality=80, **options)
        np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "CMYK", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(fmt, tag):
    image = PHOTO.convert("CMYK") if fmt == "CMYK" else PHOTO
    data = encoded(image, "JPEG" if fmt == "CMYK" else fmt, exif=oriented(tag))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decode(data), np.asarray(upright))


def test_big_endian_orientation_is_read():
    data = encoded(PHOTO, "JPEG", exif=oriented(6, "big"))
    assert decode(data).shape == (W, H, 3)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\1" * 40]
)
def test_damaged_exif_is_ignored(exif):
    np.testing.assert_array_equal(decode(encoded(PHOTO, "PNG", exif=exif)), PIXELS)
    assert decode(encoded(PHOTO, "JPEG", exif=exif)).shape == (H, W, 3)
    assert decode(encoded(PHOTO.convert("CMYK"), "JPEG", exif=exif)).shape == (H, W, 3)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
def test_alpha_lies_on_white(fmt):
    image = with_alpha()
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    expected = on_white(PIXELS, np.asarray(image)[..., 3])
    np.testing.assert_allclose(decode(encoded(image, fmt, **options)), expected, atol=1)


def test_grey_with_alpha_lies_on_white():
    image = with_alpha().convert("LA")
    grey, alpha = np.moveaxis(np.asarray(image), -1, 0)
    np.testing.assert_allclose(decode(encoded(image, "PNG")), on_white(np.stack([grey] * 3, -1), alpha), atol=1)


@pytest.mark.parametrize("fmt", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(fmt):
    image = PHOTO.quantize(8)
    indices = np.asarray(image)
    pixels = decode(encoded(image, fmt, transparency=3))
    assert (pixels[indices == 3] == 255).all()
    np.testing.assert_array_equal(pixels[indices != 3], np.asarray(image.convert("RGB"))[indices != 3])


def test_palette_alpha_of_many_levels_lies_on_white():
    image = PHOTO.quantize(8)
    levels = np.array([0, 40, 80, 120, 160, 200, 240, 255], np.uint8)
    pixels = decode(encoded(image, "PNG", transparency=levels.tobytes()))
    expected = on_white(np.asarray(image.convert("RGB")), levels[np.asarray(image)])
    np.testing.assert_allclose(pixels, expected, atol=1)


def test_the_transparent_colour_of_rgb_and_grey_png_is_white():
    colour = tuple(int(v) for v in PIXELS[5, 7])
    pixels = decode(encoded(PHOTO, "PNG", transparency=colour))
    assert (pixels[5, 7] == 255).all() and (pixels[6, 8] == PIXELS[6, 8]).all()
    grey = PHOTO.convert("L")
    value = grey.getpixel((7, 5))
    pixels = decode(encoded(grey, "PNG", transparency=value))
    hidden = np.asarray(grey) == value
    assert (pixels[hidden] == 255).all() and (pixels[~hidden][:, 0] == np.asarray(grey)[~hidden]).all()


def png(width, height, depth, colour, rows, *extra):
    """A PNG written by hand: Pillow writes no 2-bit grey and no 16-bit colour."""

    def chunk(kind, body):
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    pieces = [chunk(kind, body) for kind, body in extra] + [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(pieces)


def test_two_bit_grey_uses_the_full_range_and_its_transparent_value():
    rows = b"\0" + bytes([0b00011011])
    assert decode(png(4, 1, 2, 0, rows))[0, :, 0].tolist() == [0, 85, 170, 255]
    assert decode(png(4, 1, 2, 0, rows, (b"tRNS", b"\0\1")))[0, :, 0].tolist() == [0, 255, 170, 255]


def test_sixteen_bit_colour_is_scaled_not_clipped():
    values = np.array([[[0, 257 * 100, 65535], [257, 257 * 7, 257 * 254]]], ">u2")
    expected = [[[0, 100, 255], [1, 7, 254]]]
    assert decode(png(2, 1, 16, 2, b"\0" + values.tobytes())).tolist() == expected


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_over_its_range(fmt):
    values = np.linspace(0, 65535, H * W).round().astype(np.uint16).reshape(H, W)
    pixels = decode(encoded(Image.fromarray(values), fmt))
    np.testing.assert_array_equal(pixels[..., 1], np.rint(values / 257))


def test_sixteen_bit_grey_with_a_transparent_value():
    values = np.array([[0, 1, 65535]], ">u2")
    pixels = decode(png(3, 1, 16, 0, b"\0" + values.tobytes(), (b"tRNS", b"\0\1")))
    assert pixels[0, :, 0].tolist() == [0, 255, 255]


def test_wide_integers_are_sixteen_bit_unless_they_do_not_fit():
    values = np.array([[0, 257, 65535]], np.int32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]
    assert decode(encoded(Image.fromarray(values * 1000), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_float_tiff_takes_the_smallest_range_that_holds_it(white):
    values = np.array([[0.0, white / 2, white]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, :, 2].tolist() == [0, 128, 255]


def test_float_tiff_with_nan_and_negative_values_is_spread_without_a_warning():
    values = np.array([[np.nan, -100.0, 100.0, np.inf]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [128, 0, 255, 128]
    flat = np.full((2, 2), -3e38, np.float32)
    assert decode(encoded(Image.fromarray(flat), "TIFF")).max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "CMYK"])
def test_other_modes_are_what_pillow_shows(mode):
    image = PHOTO.convert(mode)
    data = encoded(image, "TIFF")
    np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))


def test_one_bit_tiff_with_fax_compression():
    image = PHOTO.convert("1")
    np.testing.assert_array_equal(
        decode(encoded(image, "TIFF", compression="group4")), np.asarray(image.convert("RGB"))
    )


@pytest.mark.parametrize("side", [700, 1000, 1500])
def test_shrinking_keeps_twice_what_is_asked(side):
    data = encoded(PHOTO.resize((side * 2, side)), "JPEG")
    height, width, _ = decode(data, shrink_to=100).shape
    assert height >= 200 and height < side and width / height == pytest.approx(2, rel=0.02)


def test_shrinking_leaves_others_alone():
    np.testing.assert_array_equal(decode(LOSSLESS["png"], shrink_to=4), PIXELS)
    np.testing.assert_array_equal(decode(LOSSY["jpeg"], shrink_to=H), decode(LOSSY["jpeg"]))


@pytest.mark.parametrize("name", ALL)
def test_a_cut_file_is_an_error_or_the_whole_picture(name):
    data = ALL[name]
    whole = decode(data)
    codes = set()
    for end in np.linspace(0, len(data) - 1, 40).astype(int).tolist():
        try:
            np.testing.assert_array_equal(decode(data[:end]), whole)
        except InputError as error:
            codes.add(error.code)
    assert "truncated" in codes and codes <= {"empty-file", "truncated", "not-an-image", "unsupported", "decode-failed"}
    if not name.startswith(("apng", "multi-page")):  # of these the first picture may be whole
        assert code_of(data[: len(data) * 3 // 4]) == "truncated"


def test_a_jpeg_half_missing_is_truncated_even_with_an_end_marker():
    data = encoded(PHOTO.resize((300, 200)), "JPEG")
    assert code_of(data[: len(data) // 2] + b"\xff\xd9") == "truncated"


def test_harmless_oddities_of_jpeg_decode():
    data = LOSSY["jpeg"]
    whole = decode(data)
    np.testing.assert_array_equal(decode(data + b"garbage" * 100), whole)
    np.testing.assert_array_equal(decode(data[:-2] + b"\0\0\0\0" + data[-2:]), whole)
    odd = bytearray(data)
    odd[data.index(b"JFIF") + 5] = 9  # an unknown revision
    np.testing.assert_array_equal(decode(bytes(odd)), whole)


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "empty-file", "empty"),
        (b"\n<!DOCTYPE html><html><body>404", "not-an-image", "HTML"),
        (b"<HTML>", "not-an-image", "HTML"),
        (b'{"error": "denied"}', "not-an-image", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "not-an-image", "LFS"),
        (b"PK\3\4" + b"\0" * 40, "not-an-image", "archive"),
        (bytes(4096), "not-an-image", "zeros"),
        (b"just a few words", "not-an-image", "text"),
        (b"\x9c" * 40, "not-an-image", "9c"),
        (b"<svg xmlns='x'>", "unsupported", "SVG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "unsupported", "video"),
        (b"\xff\x0a" + b"\x10" * 40, "unsupported", "JPEG XL"),
        (b"%PDF-1.7", "unsupported", "PDF"),
        (b"\x89PN", "truncated", "3 bytes"),
        (b"\xff\xd8", "truncated", "2 bytes"),
    ],
)
def test_what_is_no_image_is_named(data, code, word):
    with pytest.raises(InputError) as caught:
        decode(data)
    assert caught.value.code == code and word in caught.value.message


def test_too_many_pixels_are_refused_from_the_header():
    for name, data in ALL.items():
        with pytest.raises(InputError, match="--max-pixels") as caught:
            decode(data, max_pixels=H * W - 1)
        assert caught.value.code == "too-large", name
        assert decode(data, max_pixels=H * W).shape == (H, W, 3)


@pytest.mark.parametrize("name", ALL)
def test_no_limit_but_ours_is_asked(name, monkeypatch):
    """Pillow warns above a limit of its own, and fails above twice that; some readers look at it again and again."""
    whole = decode(ALL[name])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(decode(ALL[name], max_pixels=H * W), whole)


def test_a_bomb_is_refused_before_its_pixels_are_read():
    assert code_of(png(60_000, 60_000, 8, 2, b"")) == "too-large"
    bomb = bytearray(LOSSY["gif"])
    bomb[6:10] = b"\xff\xff\xff\x7f"
    assert code_of(bytes(bomb)) == "too-large"
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS, "who knows Pillow expects its limit"


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_png_whose_text_or_profile_is_a_bomb_is_just_a_picture(kind):
    bomb = b"name\0" + {b"iTXt": b"\1\0\0\0"}.get(kind, b"\0") + zlib.compress(bytes(50_000_000))
    pieces = split_png(LOSSLESS["png"])
    np.testing.assert_array_equal(decode(join_png([*pieces[:2], (kind, bomb), *pieces[2:]])), PIXELS)


def changed_tag(data, tag, value):
    changed = bytearray(data)
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<L", changed, entry + 8, value)
    return bytes(changed)


def test_the_tiles_of_a_tiff_may_not_dwarf_its_picture():
    data = tiled_tiff(8)
    assert decode(data).shape == (24, 40, 3)
    huge = changed_tag(changed_tag(data, 322, 40_000), 323, 40_000)
    with pytest.raises(InputError, match="tiles of 40000 x 40000"):
        decode(huge, max_pixels=10**12)
    assert code_of(huge) == "too-large"


def test_a_tiff_of_more_strips_than_rows_is_damaged():
    """Each would become an object of some hundred bytes, and all could share the same four."""
    image = Image.new("L", (1, 1))
    data = bytearray(encoded(image, "TIFF"))
    (start,) = struct.unpack_from("<L", data, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] in {273, 279}:
            struct.pack_into("<HLL", data, entry + 2, 4, 50_000, 0)
    assert code_of(bytes(data) + bytes(500_000)) == "decode-failed"


def test_a_jpeg_of_countless_scans_is_refused():
    data = encoded(PHOTO, "JPEG", progressive=True)
    start, end = data.index(b"\xff\xda"), len(data) - 2
    assert code_of(data[:end] + data[start : start + 20] * MAX_SCANS + data[end:]) == "unsupported"


@pytest.mark.parametrize("options", [{}, {"save_all": True}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_an_avif_is_measured_by_its_streams_too(options, mode):
    """libavif would decode the stream at whatever size, and shrink the picture to the size that the boxes say."""
    image = PHOTO.resize((300, 200)).convert(mode)
    more = {"append_images": [image.rotate(180)]} if options.get("save_all") else {}
    data = bytearray(encoded(image, "AVIF", speed=10, **options, **more))
    assert coded_size(bytes(data)) == (300, 200)
    for match in re.finditer(rb"ispe", bytes(data)):
        struct.pack_into(">LL", data, match.start() + 8, 30, 20)
    with pytest.raises(InputError, match="300 x 200") as caught:
        decode(bytes(data), max_pixels=300 * 200 - 1)
    assert caught.value.code == "too-large"


@pytest.fixture(scope="module")
def jpeg2000():
    return encoded(PHOTO.resize((256, 256)), "JPEG2000", precinct_size=(64, 64), codeblock_size=(32, 32))


@pytest.mark.parametrize(
    ("marker", "place", "lie", "word"),
    [
        (b"\xff\x4f\xff\x51", 24, struct.pack(">LL", 1, 1), "65536 tiles"),
        (b"\xff\x52\0", 6, b"\xff\xff", "65535 quality layers"),
        (b"\xff\x52\0", 10, b"\0\0", "code-blocks of 4 x 4"),
        (b"\xff\x52\0", 14, bytes(6), "precincts in 65536 pixels"),
    ],
)
def test_jpeg_2000_that_asks_for_countless_parts_is_refused(jpeg2000, marker, place, lie, word):
    assert decode(jpeg2000).shape == (256, 256, 3)
    at = jpeg2000.index(marker) + place
    with pytest.raises(InputError, match=word) as caught:
        decode(jpeg2000[:at] + lie + jpeg2000[at + len(lie) :])
    assert caught.value.code == "too-large"


def test_jpeg_2000_without_its_last_tile_is_truncated():
    data = encoded(PHOTO, "JPEG2000", tile_size=(16, 16))
    np.testing.assert_array_equal(decode(data), PIXELS)
    last = data.rindex(b"\xff\x90\0\x0a")
    assert code_of(data[:last] + b"\xff\xd9") == "truncated"


def test_arithmetic_coding_is_read():
    y, x = np.mgrid[:20, :24]
    wanted = np.stack([x * 10, y * 12, (x + y) * 5], -1)
    assert np.abs(decode(base64.b64decode(ARITHMETIC)).astype(int) - wanted).max() < 20


def test_a_gif_with_bytes_between_its_blocks_is_measured_by_its_frame():
    data = LOSSY["gif"]
    frame = data.index(b",", 13 + 3 * 256)
    odd = bytearray(data[:frame] + b"\x55\x55" + data[frame:])
    np.testing.assert_array_equal(decode(bytes(odd)), decode(data))
    odd[frame + 7 : frame + 11] = b"\xff\xff\xff\xff"
    assert code_of(bytes(odd)) == "too-large"


def test_damaged_metadata_behind_stray_bytes_of_a_jpeg_neither_warns_nor_fails():
    data = encoded(PHOTO.convert("CMYK"), "JPEG", exif=oriented(6))
    exif = data.index(b"\xff\xe1")
    odd = data[:exif] + b"stray" + data[exif : exif + 24] + b"\xff\xff\xff\xff" + data[exif + 28 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(odd).size == H * W * 3


@pytest.mark.parametrize("index", [1976, 159445, 215189, 284885])
def test_what_fuzzing_found_stays_mended(index):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decode(hostile(index)[1], max_pixels=1_000_000)
        except InputError as error:
            assert not isinstance(error.__cause__, Warning)


def test_a_damaged_tiff_writes_nothing_to_standard_error(capfd):
    data = bytearray(encoded(PHOTO, "TIFF", compression="tiff_adobe_deflate"))
    data[8:40] = bytes(32)
    assert code_of(bytes(data)) == "decode-failed"
    assert capfd.readouterr().err == ""


def test_odd_tiff_metadata_neither_warns_nor_fails():
    data = bytearray(encoded(PHOTO, "TIFF", tiffinfo={305: "a maker of many words", 700: b"<xmp/>" * 9}))
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] in {305, 700}:
            struct.pack_into("<LL", data, entry + 4, 0x7FFFFFFF, 0x7FFFFFFF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(bytes(data)), PIXELS)


@pytest.fixture(scope="module")
def heif():
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIF is read with pillow-heif")

    def write(image, **options):
        out = io.BytesIO()
        file = image if isinstance(image, pillow_heif.HeifFile) else pillow_heif.from_pillow(image)
        file.save(out, **{"quality": 95, "chroma": 444, **options})
        return out.getvalue()

    write.from_bytes = pillow_heif.from_bytes
    write.file = pillow_heif.HeifFile
    return write


def near(pixels, wanted):
    assert pixels.shape == wanted.shape and pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    assert np.abs(pixels.astype(int) - wanted).mean() < 4


def test_heif_gives_the_pixels_that_were_saved(heif):
    near(decode(heif(PHOTO)), PIXELS)
    near(decode(heif(PHOTO.convert("L"))), np.asarray(PHOTO.convert("L").convert("RGB")))


@pytest.mark.parametrize("tag", range(1, 9))
def test_heif_is_turned_once(heif, tag):
    """The plugin writes the tag as a transformation, which libheif applies, and leaves the tag in the EXIF."""
    data = heif(PHOTO, exif=oriented(tag).tobytes())
    assert tag == 1 or b"irot" in data or b"imir" in data
    image = PHOTO.copy()
    image.getexif()[0x0112] = tag
    near(decode(data), np.asarray(ImageOps.exif_transpose(image)))


def test_heif_alpha_lies_on_white(heif):
    near(decode(heif(with_alpha())), on_white(PIXELS, np.asarray(with_alpha())[..., 3]))


def test_heif_of_ten_bits_uses_the_full_range(heif):
    deep = heif.from_bytes("RGB;16", (W, H), (PIXELS.astype("<u2") * 257).tobytes())
    near(decode(heif(deep)), PIXELS)


def test_the_primary_picture_of_a_heif_is_read(heif):
    file = heif.file()
    for angle in (0, 90, 180):
        file.add_from_pillow(PHOTO.rotate(angle, expand=True))
    near(decode(heif(file, primary_index=1)), np.asarray(PHOTO.rotate(90, expand=True)))


def test_heif_in_tiles_is_whole_and_measured_as_a_whole(heif):
    large = PHOTO.resize((150, 140))
    data = heif(large, tile_size=64)
    near(decode(data), np.asarray(large))
    assert code_of(data, max_pixels=150 * 140 - 1) == "too-large"


def test_a_cut_or_damaged_heif_is_an_error(heif):
    data = heif(PHOTO)
    assert code_of(data[: len(data) * 3 // 4]) == "truncated"
    assert code_of(data[:40] + bytes(60) + data[100:]) in {"decode-failed", "truncated"}


def test_a_heif_that_lies_about_its_size_is_refused(heif):
    data = bytearray(heif(PHOTO.resize((1000, 900)), quality=20))
    struct.pack_into(">LL", data, data.index(b"ispe") + 8, 16, 16)
    assert code_of(bytes(data)) == "decode-failed"


def test_without_its_plugin_heif_is_unsupported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match="pip install pillow-heif") as caught:
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert caught.value.code == "unsupported"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(ALL)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0.2, 1),
)
def test_damaged_bytes_give_pixels_or_an_input_error(name, edits, cut):
    data = bytearray(ALL[name])
    for place, value in edits:
        data[int(place**3 * len(data))] = value  # cubed: headers are where it hurts
    try:
        pixels = decode(bytes(data[: int(cut * len(data))]), max_pixels=1_000_000)
    except InputError as error:
        assert not isinstance(error.__cause__, Warning), error.__cause__
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8


def test_threads_decode_the_same():
    files = list(ALL.values()) * 3
    alone = [decode(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode, files))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
