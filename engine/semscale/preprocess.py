"""Pixels -> encoder pixels: resized, and cropped at the centre or stretched. The graph does mean and std.

The reference is the slow CLIPImageProcessor of transformers 4.57, which resizes with Pillow, then crops. The exact way
is bit-equal to it. Pillow rounds to 8 bits between its horizontal and its vertical pass, and clips there: whoever keeps
floats in between, or has coarser weights, is off by more than a rounding step on hard edges.

Four filters of the Inception networks give float32 instead, 0 to 255 and not rounded, because that rounding moves the
Fréchet distance (Parmar et al. 2022, "On Aliased Resizing", arXiv:2104.11222):

    bicubic-float    Pillow's on floats, antialiased, clipped at the ends (clean-fid)
    bilinear-tf1     not antialiased, the first pixels of both at the same place (torch-fidelity, TensorFlow 1)
    bilinear-torch   not antialiased, pixel centres aligned (pytorch-fid)
    bilinear-wide    torch's on floats, antialiased (torchmetrics from 1.8 on)
"""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from semscale.errors import UsageError
from semscale.model import Array, Preprocess
from semscale.resampling import WEIGHT_BITS, fixed_weights

ROUNDED = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}  # to uint8
UNROUNDED = ("bicubic-float", "bilinear-tf1", "bilinear-torch", "bilinear-wide")  # to float32
OF_TORCH = ("bilinear-torch", "bilinear-wide")  # which torch resizes; it is imported for them and for `exact=False`
FILTERS = (*ROUNDED, *UNROUNDED)
# Above this ratio of the sides only the crop is computed. Below it the whole image is resized and the margins dropped,
# because Pillow's loop is faster than ours: at 5.3 by a factor of 2 to 3 although it computes 5 times as much.
STRIP = 12.0
LINES = 256  # converted at a time; bounds the float64 copy of the source
COLUMNS = 32  # outputs a matrix product: more would multiply zeros, fewer would pay more calls


def preprocess(pixels: Array, spec: Preprocess, *, exact: bool = True) -> Array:
    """Return (crop, crop, 3) encoder input, uint8 or float32, for (H, W, 3) uint8 pixels, as `spec` says.

    Bit-equal to the reference with `exact`. Without it torch resizes, several times as fast: at most 1 of 255 away on
    nearly all images, and 2 on single pixels of upscaled or strictly periodic ones (checkerboards, linear ramps).
    What the crop drops from a strip (sides over 1 : 12) is never computed, so that no shape is resized to more than
    12 * size * size pixels: memory stays within 50 MB and, unless it is a strip, a copy of the source of 4 bytes a
    pixel. A crop larger than the resized image is padded with black. What stretches has one way only, the exact one.

    Raises UsageError for other pixels or an unknown filter.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UsageError(f"pixels are {pixels.dtype} {pixels.shape}; give uint8 (H, W, 3), see to_uint8")
    if spec.filter not in FILTERS:
        raise UsageError(f"unknown filter {spec.filter!r}; choose from {sorted(FILTERS)}")
    height, width = pixels.shape[:2]
    shape = resized_shape(height, width, spec)
    if spec.filter in UNROUNDED:
        return _padded(_cropped(_resize_unrounded(pixels, shape, spec.filter), spec.crop), spec.crop)
    if spec.geometry == "stretch":
        return _padded(_cropped(_resize_exactly(pixels, shape, spec.filter), spec.crop), spec.crop)
    if max(height, width) > STRIP * min(height, width):
        return _padded(_resize_window(pixels, shape, spec), spec.crop)
    resized = _resize_exactly(pixels, shape, spec.filter) if exact else _resize_fast(pixels, shape, spec.filter)
    return _padded(_cropped(resized, spec.crop), spec.crop)


def one_thread() -> None:
    """Let torch use a single thread in the calling one, where others call `preprocess` meanwhile."""
    import torch

    torch.set_num_threads(1)


def to_uint8(images: Array) -> Array:
    """Return images (H, W, 3) or (B, H, W, 3) as uint8: uint8 as it is, floats in [0, 1] times 255 and rounded.

    Raises UsageError for anything else: what other values mean would be a guess, and a wrong guess a wrong score.
    """
    values = np.asarray(images)
    if values.ndim not in {3, 4} or values.shape[-1] != 3 or 0 in values.shape[-3:]:
        channels_first = values.ndim in {3, 4} and values.shape[-3] == 3
        cure = (
            "move the channels last with np.moveaxis(images, -3, -1)" if channels_first else "give RGB, channels last"
        )
        raise UsageError(f"images have the shape {values.shape}, not (H, W, 3) or (B, H, W, 3); {cure}")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise UsageError(f"images are {values.dtype}; give uint8 in 0..255, or floats in [0, 1]")
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
        raise UsageError(
            f"float images run from {values.min()} to {values.max()}, not within [0, 1]; "
            "map them there, or give uint8 if they are in 0..255"
        )
    return np.rint(values * values.dtype.type(255)).astype(np.uint8)


def resized_shape(height: int, width: int, spec: Preprocess) -> tuple[int, int]:
    """Return (height, width) in pixels that an image of (height, width) is resized to, before the crop."""
    if spec.geometry == "stretch":
        return spec.size, spec.size
    if width <= height:
        return int(spec.size * height / width), spec.size
    return spec.size, int(spec.size * width / height)


def kept(side: int, crop: int) -> slice:
    """Return the part of a resized side that the centre crop keeps."""
    first = max((side - crop) // 2, 0)
    return slice(first, min(first + crop, side))


def _cropped(image: Array, crop: int) -> Array:
    rows, columns = (kept(side, crop) for side in image.shape[:2])
    return image[rows, columns]


def _padded(image: Array, crop: int) -> Array:
    """Centre an image that is too small on black; the odd pixel goes above and to the left, as in the reference."""
    if image.shape == (crop, crop, 3):
        return np.ascontiguousarray(image)
    canvas = np.zeros((crop, crop, 3), image.dtype)
    top, left = ((crop - side + 1) // 2 for side in image.shape[:2])
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _resize_exactly(pixels: Array, shape: tuple[int, int], filter_name: str) -> Array:
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), ROUNDED[filter_name]))


def _resize_fast(pixels: Array, shape: tuple[int, int], filter_name: str) -> Array:
    import torch

    owned = np.require(pixels, requirements=["C", "W"])  # torch warns of arrays it could not write to
    # The batch first: by its stride torch knows colours to lie last, and leaves them there. Else both ways cost a copy.
    source = torch.from_numpy(owned)[None].permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(source, shape, mode=filter_name, antialias=True)[0].permute(1, 2, 0).numpy()


def _resize_unrounded(pixels: Array, shape: tuple[int, int], filter_name: str) -> Array:
    """(H, W, 3) uint8 -> (*shape, 3) float32, 0 to 255; one channel after the other, for memory."""
    resize = {
        "bicubic-float": _pillow_floats,
        "bilinear-tf1": _from_corners,
        "bilinear-torch": partial(_by_torch, antialias=False),
        "bilinear-wide": partial(_by_torch, antialias=True),
    }
    return np.stack([resize[filter_name](pixels[..., channel], shape) for channel in range(3)], axis=-1)


def _pillow_floats(channel: Array, shape: tuple[int, int]) -> Array:
    floats = Image.fromarray(channel.astype(np.float32))
    return np.asarray(floats.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)).clip(0, 255)


def _from_corners(channel: Array, shape: tuple[int, int]) -> Array:
    """Output i lies at source i * in / out, between two pixels that alone count."""
    for axis, length in enumerate(shape):
        place = np.arange(length, dtype=np.float32) * np.float32(channel.shape[axis] / length)
        low = np.minimum(place.astype(np.int64), channel.shape[axis] - 1)
        high = np.minimum(low + 1, channel.shape[axis] - 1)
        weight = place - low.astype(np.float32)
        below, above = (channel.take(index, axis=axis).astype(np.float32) for index in (low, high))
        channel = below + (above - below) * (weight[:, None] if axis == 0 else weight)
    return channel


def _by_torch(channel: Array, shape: tuple[int, int], *, antialias: bool) -> Array:
    import torch

    source = torch.from_numpy(channel.astype(np.float32))[None, None]
    return torch.nn.functional.interpolate(source, shape, mode="bilinear", antialias=antialias)[0, 0].numpy()


def _resize_window(pixels: Array, shape: tuple[int, int], spec: Preprocess) -> Array:
    """Resize to `shape`, computing only the rows and columns that the crop keeps, bit-equal to Pillow."""
    across = _Axis(pixels.shape[1], shape[1], kept(shape[1], spec.crop), spec.filter)
    down = _Axis(pixels.shape[0], shape[0], kept(shape[0], spec.crop), spec.filter)
    window = pixels[down.start : down.stop, across.start : across.stop]
    shrinks = shape[0] < pixels.shape[0]
    if ROWS_FIRST and shrinks and pixels.shape[0] > pixels.shape[1]:
        between = _by_blocks(down, window.transpose(1, 2, 0))
        return across.apply(between.transpose(2, 1, 0)).transpose(0, 2, 1)
    between = _by_blocks(across, window.transpose(0, 2, 1))
    return down.apply(between.transpose(2, 1, 0)).transpose(2, 0, 1)


def _by_blocks(axis: _Axis, lines: Array) -> Array:
    return np.concatenate([axis.apply(lines[at : at + LINES]) for at in range(0, len(lines), LINES)])


class _Axis:
    """Pillow's resampling along one side, in its fixed-point weights.

    Products of 22-bit weights and 8-bit samples are summed in float64, which holds them without rounding.
    """

    def __init__(self, n_in: int, n_out: int, kept: slice, filter_name: str) -> None:
        parts = [slice(at, min(at + COLUMNS, kept.stop)) for at in range(kept.start, kept.stop, COLUMNS)]
        blocks = [fixed_weights(n_in, n_out, part, filter_name) for part in parts]
        self.start = min(start for start, _ in blocks)
        self.stop = max(start + len(fixed) for start, fixed in blocks)
        self._products = [
            (start - self.start, start - self.start + len(fixed), fixed.astype(np.float64)) for start, fixed in blocks
        ]

    def apply(self, samples: Array) -> Array:
        """(..., window) uint8 -> (..., outputs) uint8."""
        source = samples.astype(np.float64)
        sums = np.concatenate([source[..., low:high] @ matrix for low, high, matrix in self._products], axis=-1)
        return np.floor(sums * 2.0**-WEIGHT_BITS + 0.5).clip(0, 255).astype(np.uint8)


def _pillow_does_rows_first() -> bool:
    """Whether this Pillow shrinks tall images down before across, as version 13 does: its rounding tells."""
    tall = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 10), np.uint8))
    cubic = Image.Resampling.BICUBIC
    stepwise = tall.resize((10, 100), cubic).resize((5, 100), cubic)
    return tall.resize((5, 100), cubic).tobytes() == stepwise.tobytes()


ROWS_FIRST = _pillow_does_rows_first()
