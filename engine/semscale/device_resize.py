"""Pixels -> encoder pixels on a device, many images at once, bit for bit what `preprocess` makes of them.

Pillow's resize is a separable sum in fixed point, rounded to 8 bits after each pass. Here each pass is one float32
matrix product whose every number is a whole one, small enough that nothing is ever rounded:

    weights    22-bit fixed point as in Pillow, cut into three digits of base 512, each from -256 to 256
    samples    0 to 255
    sums       at most TAPS * 256 * 255 < 2**24, up to which float32 holds every whole number, in whatever order they
               are added; the digits are then put together in int32, rounded and clipped as Pillow does

A digit and a sample have 8 significant bits, no more than TF32 (11) and bfloat16 (8) keep of a factor. So the result is
the same whether the process allows those or not, and no global setting has to be switched, for other threads too.

Tested on the CPU; never run on a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from semscale.errors import UsageError
from semscale.model import Array, Preprocess
from semscale.preprocess import ROWS_FIRST, STRIP, kept, resized_shape
from semscale.resampling import REACH, WEIGHT_BITS, fixed_weights

MAX_PIXELS = 2**21  # of an image; larger ones are few, and would wait for their turn at full size
MAX_SHRINK = 32  # input pixels an output pixel, along a side
TAPS = 257  # nonzero weights an output may have; a bicubic filter that shrinks by MAX_SHRINK has 129
CHUNK_PIXELS = 2**22  # resized at a time, before or after: 12 MB to upload, at most 120 bytes a pixel on the device
AXES = 32  # weight matrices kept on the device; to 224 pixels one takes 4 MB at most, 13 MB where a strip is stretched
DIGITS, DIGIT_BITS = 3, 9

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Axis:
    """The resampling along one side: which part of the source it reads, and its weights."""

    start: int
    stop: int
    weights: torch.Tensor  # (stop - start, DIGITS * outputs) float32, the lowest digit first


class DeviceResizer:
    """Resizes and crops as `spec` says, on `device`. Called from one thread at a time.

    Memory is bounded, whatever the number and sizes of images: see CHUNK_PIXELS and AXES.
    """

    def __init__(self, spec: Preprocess, device: torch.device | str) -> None:
        """Raises UsageError for a filter that does not round to uint8: those are not resized here."""
        if spec.filter not in REACH:
            raise UsageError(f"filter {spec.filter!r} is not resized on a device; choose from {sorted(REACH)}")
        self.spec, self._device = spec, torch.device(device)
        self._axis = functools.lru_cache(AXES)(self._make_axis)
        # Every upload goes through here. One buffer serves all sizes: pinned memory is dear to get, and scarce.
        pinned = self._device.type == "cuda"
        self._staging = torch.empty(3 * CHUNK_PIXELS, dtype=torch.uint8, pin_memory=pinned)

    def fits(self, height: int, width: int) -> bool:
        """Whether images of this size, in pixels, are resized here. For all others there is `preprocess`."""
        if height * width > MAX_PIXELS or max(height, width) > STRIP * min(height, width):
            return False
        shape = resized_shape(height, width, self.spec)
        return height <= MAX_SHRINK * shape[0] and width <= MAX_SHRINK * shape[1]

    def __call__(self, images: Sequence[Array]) -> Array:
        """Return (B, crop, crop, 3) uint8 for B images (H, W, 3) uint8 of any sizes, equal to `preprocess` of each.

        Raises UsageError for other pixels, and for an image that does not fit.
        """
        for image in images:
            self._check(image)
        out = np.zeros((len(images), self.spec.crop, self.spec.crop, 3), np.uint8)
        for places in _chunks([image.shape[:2] for image in images], self.spec.crop):
            resized = self._resized([images[place] for place in places])
            top, left = ((self.spec.crop - side + 1) // 2 for side in resized.shape[1:3])  # as the reference pads
            out[places, top : top + resized.shape[1], left : left + resized.shape[2]] = resized
        return out

    def _check(self, image: Array) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise UsageError(f"pixels are {image.dtype} {image.shape}; give uint8 (H, W, 3), see to_uint8")
        if not self.fits(*image.shape[:2]):
            raise UsageError(f"{image.shape[1]} x {image.shape[0]} pixels do not fit; ask `fits`, then `preprocess`")

    @torch.inference_mode()
    def _resized(self, images: Sequence[Array]) -> Array:
        """(H, W, 3) of one size -> (B, rows, columns, 3), what the crop keeps of each."""
        height, width = images[0].shape[:2]
        shape = resized_shape(height, width, self.spec)
        down, across = self._axis(height, shape[0]), self._axis(width, shape[1])
        source = self._uploaded(images)[:, down.start : down.stop, across.start : across.stop]
        if _rows_first((height, width), shape):
            between = _resampled(source.permute(0, 2, 3, 1), down)  # (B, W, 3, rows)
            return _resampled(between.permute(0, 3, 2, 1), across).permute(0, 1, 3, 2).cpu().numpy()
        between = _resampled(source.permute(0, 1, 3, 2), across)  # (B, H, 3, columns)
        return _resampled(between.permute(0, 3, 2, 1), down).permute(0, 3, 1, 2).cpu().numpy()

    def _uploaded(self, images: Sequence[Array]) -> torch.Tensor:
        """The caller waits for its result before it uploads again, so the buffer is free by then."""
        staged = self._staging[: len(images) * images[0].size].view(-1, *images[0].shape)
        np.stack(images, out=staged.numpy())
        return staged.to(self._device, non_blocking=True)

    def _make_axis(self, n_in: int, n_out: int) -> _Axis:
        start, fixed = fixed_weights(n_in, n_out, kept(n_out, self.spec.crop), self.spec.filter)
        weights = torch.from_numpy(_digits(fixed).astype(np.float32)).to(self._device)
        return _Axis(start, start + len(fixed), weights)


def _rows_first(source: Shape, resized: Shape) -> bool:
    """Whether Pillow goes down before across: version 13 does where that drops over twice as many lines (measured)."""
    down, across = (before - after for before, after in zip(source, resized, strict=True))
    return ROWS_FIRST and down > max(2 * across, 0)


def _chunks(shapes: Sequence[Shape], crop: int) -> Iterator[list[int]]:
    """Places of images of the same size, as many as CHUNK_PIXELS allows."""
    places_of: dict[Shape, list[int]] = {}
    for place, shape in enumerate(shapes):
        places_of.setdefault(shape, []).append(place)
    for (height, width), places in places_of.items():
        most = max(CHUNK_PIXELS // (max(height, crop) * max(width, crop)), 1)
        yield from (places[at : at + most] for at in range(0, len(places), most))


def _resampled(samples: torch.Tensor, axis: _Axis) -> torch.Tensor:
    """(..., source) uint8 -> (..., outputs) uint8."""
    sums = (samples.to(torch.float32) @ axis.weights).unflatten(-1, (DIGITS, -1)).to(torch.int32)
    total = sums[..., 2, :]
    for digit in (1, 0):
        total = (total << DIGIT_BITS) + sums[..., digit, :]
    return ((total + (1 << WEIGHT_BITS - 1)) >> WEIGHT_BITS).clamp_(0, 255).to(torch.uint8)


def _digits(fixed: Array) -> Array:
    """(source, outputs) whole numbers -> (source, DIGITS * outputs), digits from -256 to 256, the lowest first."""
    digits, half = [], 1 << DIGIT_BITS - 1
    for _ in range(DIGITS - 1):
        rest = (fixed + half) >> DIGIT_BITS
        digits.append(fixed - (rest << DIGIT_BITS))
        fixed = rest
    return np.concatenate([*digits, fixed], axis=1)
