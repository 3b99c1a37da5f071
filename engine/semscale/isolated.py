"""Decode one suspect in a process of its own, which may die of it: `python -m semscale.isolated` is that process.

It takes the encoded bytes on standard input and answers on standard output: the pixels as .npy, or the code and message
of an InputError as JSON.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np

from semscale.decode import MAX_PIXELS, decode
from semscale.errors import InputError
from semscale.model import Array
from semscale.supervise import CRASHES

SECONDS = 120.0  # the largest pictures that MAX_PIXELS allows decode in a few seconds
_NPY = b"\x93NUMPY"
ATTEMPTS = 3  # at a process that is killed from outside, which says nothing of its input


def decode_isolated(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None) -> Array:
    """Return what `decode` returns for the same arguments, (H, W, 3) uint8, from a fresh process that may crash.

    Raises InputError as `decode` does, and with codes of its own: `decoder-crashed` when a signal such as SIGSEGV ends
    the process, `decoder-hung` when it takes longer than SECONDS, and `decoder-killed`, to be tried again another time,
    when it is killed ATTEMPTS times. Raises RuntimeError where the process cannot do its work.
    """
    command = [sys.executable, "-m", "semscale.isolated", str(max_pixels), str(shrink_to or 0)]
    for _ in range(ATTEMPTS):
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            message = f"the decoder was not done after {SECONDS:.0f} seconds; make the file again, or convert it to PNG"
            raise InputError("decoder-hung", message) from error
        if -done.returncode != signal.SIGKILL:
            break
    else:
        message = "the decoder was killed each time, perhaps for want of memory; run again with more of it"
        raise InputError("decoder-killed", message)
    if -done.returncode in CRASHES:
        name = signal.Signals(-done.returncode).name
        raise InputError("decoder-crashed", f"the decoder died ({name}); make the file again, or convert it to PNG")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"the process that decodes suspects ended with status {done.returncode}: {said}")
    if done.stdout.startswith(_NPY):
        return np.load(io.BytesIO(done.stdout), allow_pickle=False)
    raise InputError(*json.loads(done.stdout))


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here; its core would only fill the disk
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a decoder prints must not end up among the pixels
    max_pixels, shrink_to = int(sys.argv[1]), int(sys.argv[2]) or None
    with os.fdopen(answer, "wb") as out:
        try:
            pixels = decode(sys.stdin.buffer.read(), max_pixels=max_pixels, shrink_to=shrink_to)
        except InputError as error:
            out.write(json.dumps([error.code, error.message]).encode())
        else:
            header = np.lib.format.header_data_from_array_1_0(pixels)
            np.lib.format.write_array_header_1_0(out, header)  # np.save itself cannot write to a pipe
            out.write(pixels.data)


if __name__ == "__main__":
    _main()
