"""JPEG decoding with nvImageCodec, which has decoders for the GPU and for the CPU: the extra `decode-gpu`.

Only plain JPEGs are its business (`takes`), and `decode` has the last word on each that it fails to decode. Nor is it
believed when it says that it did: an image goes into a buffer of ours that was filled with a pattern, and a row that
still shows the pattern was never written. GPU decoders are known to have written into memory that another stream still
used, and their results to have been read before they were done.

The CPU decoder is bit-equal to `decode`, and only there so that this can be tested without a GPU. On a GPU, where none
of this was ever run, pixels may differ by a few levels: rounding, and how colours of half the size are enlarged.

One promise of `decode` is weaker here. Of a JPEG whose pixels are damaged, or end before its end mark, the library may
make pixels in silence. Only where the last ones are missing altogether is that seen, and `decode` asked.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch

from semscale.decode import MAX_PIXELS, MAX_SCANS, decode
from semscale.errors import InputError, MissingDependencyError, UsageError
from semscale.headers import jpeg_orientation
from semscale.model import Array
from semscale.modes import upright
from semscale.strangers import is_cut

EXTRA = "decode-gpu"
LARGEST = 1 << 22  # pixels of an image decoded here: a batch of them is in memory at once
LONGEST = 65_500  # pixels of a side, as the library allows
# The fewest bits that a block of 8 x 8 pixels takes in a file: two. A header that promises more pixels may be lying,
# and only the CPU decoder would say so.
PIXELS_PER_BYTE = 256
LAST = 8  # pixels of a row, as many as the last block has
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class NvDecoder:
    """Decodes batches of JPEGs. Called from one thread at a time."""

    def __init__(self, device: Literal["cpu", "cuda"], *, max_pixels: int = MAX_PIXELS, threads: int = 1) -> None:
        """Start the library; `threads` of the CPU help it. For "cuda" the caller has made sure of GPU and driver.

        Raises MissingDependencyError where the library is not installed, and UsageError where it decodes nothing on
        this device.
        """
        nv = library()
        on_gpu = device == "cuda"
        kind = nv.BackendKind
        kinds = (kind.HW_GPU_ONLY, kind.GPU_ONLY, kind.HYBRID_CPU_GPU) if on_gpu else (kind.CPU_ONLY,)
        self._nv, self._device, self._max_pixels = nv, torch.device(device), max_pixels
        self._decoder = nv.Decoder(
            device_id=nv.NVIMGCODEC_DEVICE_CURRENT if on_gpu else nv.NVIMGCODEC_DEVICE_CPU_ONLY,
            max_num_cpu_threads=threads,
            backends=[nv.Backend(each) for each in kinds],
            options=":fancy_upsampling=1",  # of colours, as the CPU decoders do it
        )
        # Turned upright by us, as for every format: who does it must not change what is made of an odd tag.
        self._params = nv.DecodeParams(apply_exif_orientation=False, color_spec=nv.ColorSpec.SRGB)
        self._pattern = np.random.default_rng(0).integers(0, 256, (LONGEST, 3), np.uint8)
        self._pattern_there = torch.from_numpy(self._pattern).to(self._device)
        self.redone = 0  # images that `decode` had to do, of which
        self.unwritten = 0  # the library said it had done them
        self._check_it_works()

    def takes(self, data: bytes) -> bool:
        """Whether a file is to be decoded here: baseline or progressive JPEG, colour or grey, whole, of modest size."""
        return self._size(data) is not None

    def decode(self, files: Sequence[bytes]) -> list[Array | InputError]:
        """Return (H, W, 3) uint8 RGB, upright, for each file, or the error that `semscale.decode.decode` raises."""
        streams = [self._stream(data) for data in files]
        found = iter(self._decoded([stream for stream in streams if stream is not None]))
        pixels = [None if stream is None else next(found) for stream in streams]
        return [self._judged(data, each) for data, each in zip(files, pixels, strict=True)]

    def _size(self, data: bytes) -> tuple[int, int] | None:
        """Height and width as stored, None for a file that is not to be decoded here."""
        if _frame(data) not in {_BASELINE, _PROGRESSIVE} or is_cut(data) or data.count(b"\xff\xda") > MAX_SCANS:
            return None
        try:
            *size, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        except (ValueError, KeyError):  # the latter for a subsampling that it has no name for
            return None  # `decode` will say what is wrong with it
        height, width = map(int, size)
        allowed = min(self._max_pixels, LARGEST, PIXELS_PER_BYTE * len(data))
        fits = 0 < height * width <= allowed and max(height, width) <= LONGEST
        return (height, width) if fits and space in {"YCbCr", "Gray"} else None

    def _stream(self, data: bytes) -> Any:
        """The library's own reader of a file; None where it is not to be decoded here."""
        size = self._size(data)
        if size is None:
            return None
        try:
            stream = self._nv.CodeStream(data)
            found = stream.height, stream.width
        except RuntimeError:  # it cannot make sense of the header
            return None
        return stream if found == size else None  # a buffer of the wrong size is an error for the whole batch

    def _decoded(self, streams: Sequence[Any]) -> list[Array | None]:
        """Pixels as stored, None where the library gave none."""
        if not streams:
            return []
        buffers = [self._pattern_there[: stream.width].repeat(stream.height, 1, 1) for stream in streams]
        on_gpu = self._device.type == "cuda"
        queue = torch.cuda.current_stream(self._device).cuda_stream if on_gpu else 0
        images = [self._nv.as_image(b, cuda_stream=queue) if on_gpu else self._nv.as_image(b.numpy()) for b in buffers]
        found = self._decoder.decode(list(streams), images=images, params=self._params, cuda_stream=queue)
        pairs = zip(found, buffers, strict=True)
        return [None if image is None else _rows(image, buffer) for image, buffer in pairs]

    def _judged(self, data: bytes, pixels: Array | None) -> Array | InputError:
        if pixels is not None and self._has_pattern(pixels):
            self.unwritten += 1
            pixels = None
        if pixels is not None and not _ends_in_nothing(pixels):
            return upright(pixels, jpeg_orientation(data))
        self.redone += 1
        try:
            return decode(data, max_pixels=self._max_pixels)
        except InputError as error:
            return error

    def _has_pattern(self, pixels: Array) -> bool:
        """Whether a row of (H, W, 3) was never written. The first pixel rules most of them out."""
        pattern = self._pattern[: pixels.shape[1]]
        suspects = np.flatnonzero((pixels[:, 0] == pattern[0]).all(axis=-1))
        return bool((pixels[suspects] == pattern).all(axis=(1, 2)).any())

    def _check_it_works(self) -> None:
        """Without this, a library that lacks a part would leave all work to the CPU, and nobody would know why."""
        image = simplejpeg.encode_jpeg(np.full((16, 16, 3), 200, np.uint8))
        (pixels,) = self._decoded([self._nv.CodeStream(image)])
        if pixels is None or self._has_pattern(pixels):
            cure = f"pip install 'semscale[{EXTRA}]' brings what it needs; or decode on the CPU"
            raise UsageError(f"nvImageCodec decodes no JPEG on {self._device.type!r} here; {cure}")


def library() -> ModuleType:
    """Import nvImageCodec. Raises MissingDependencyError where it is not installed."""
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # it would write of each image it cannot read
    try:
        return importlib.import_module("nvidia.nvimgcodec")
    except ModuleNotFoundError as error:
        if error.name not in {"nvidia", "nvidia.nvimgcodec"}:
            raise  # the library is there and broken: not for us to explain away
        raise MissingDependencyError("decoding on a GPU", "nvidia-nvimgcodec", EXTRA) from error


def _frame(data: bytes) -> int | None:
    """The marker of a JPEG's frame, which tells how it is coded; None where anything odd comes before it."""
    at = 2
    while data.startswith(b"\xff\xd8") and data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        if data[at + 1] in _FRAMES:
            return data[at + 1]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _rows(image: Any, buffer: torch.Tensor) -> Array | None:
    """The pixels in `buffer`, None where the library took it to have another shape."""
    same = tuple(image.shape) == tuple(buffer.shape) and np.dtype(image.dtype) == np.uint8
    return buffer.cpu().numpy() if same else None


def _ends_in_nothing(pixels: Array) -> bool:
    """Whether the last block is of the grey that decoders leave where a file's pixels end too soon."""
    return bool((pixels[-1, -LAST:] == 128).all())
