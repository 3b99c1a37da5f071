"""What a GPU takes off the threads: resizing where it also encodes, and decoding where that was asked for.

Never run on a GPU.
"""

from __future__ import annotations

from semscale.decode import MAX_PIXELS
from semscale.encoders.trt_driver import driver_problem
from semscale.errors import UsageError
from semscale.model import ModelSpec
from semscale.pixels import Device
from semscale.resampling import REACH
from semscale.settings import Settings

ENCODE_ON_GPU = ("cuda", "tensorrt", "torch")  # the back ends that do, where torch finds one
EXACTLY = ("exact", "gpu")  # ways of decoding whose pixels are resized to the last bit


def device_for(spec: ModelSpec, backend: str, *, decode: str, settings: Settings) -> Device:
    """Return what a GPU does for the tower of `spec` that runs on the back end of that name.

    Resizing there is bit-equal to the exact way, and so no choice of the user's. Raises UsageError for the decoding
    "gpu" without a GPU, and MissingDependencyError where its library is not installed.
    """
    assert spec.preprocess is not None, f"{spec.name}: an image tower without preprocessing"
    check(decode)
    problem = _problem() if backend in ENCODE_ON_GPU else ""
    resizes = backend in ENCODE_ON_GPU and not problem and decode in EXACTLY and spec.preprocess.filter in REACH
    resizer = decoder = None
    if resizes:
        from semscale.device_resize import DeviceResizer  # torch takes seconds to import, for nothing without a GPU

        resizer = DeviceResizer(spec.preprocess, "cuda")
    if decode == "gpu":
        from semscale.nvcodec import NvDecoder  # as above

        max_pixels = MAX_PIXELS if settings.max_pixels is None else settings.max_pixels
        decoder = NvDecoder("cuda", max_pixels=max_pixels)
    return Device(resizer, decoder)


def check(decode: str) -> None:
    """Raise UsageError for the decoding "gpu" without a GPU, MissingDependencyError where its library is missing."""
    if decode != "gpu":
        return
    if problem := _problem():
        raise UsageError(f"--decode gpu: {problem}; run this on a machine with an NVIDIA GPU, or choose --decode exact")
    from semscale.nvcodec import library

    library()


def told(device: Device) -> dict[str, int]:
    """What the decoder of a device counted, for the record."""
    decoder = device.decoder
    if decoder is None:
        return {}
    from semscale.nvcodec import NvDecoder

    return {} if not isinstance(decoder, NvDecoder) else {"redone": decoder.redone, "unwritten": decoder.unwritten}


def _problem() -> str:
    """Why no GPU can be used, "" when one can."""
    if problem := driver_problem():
        return problem
    import torch

    return "" if torch.cuda.is_available() else f"torch {torch.__version__} reaches no GPU; install its CUDA build"
