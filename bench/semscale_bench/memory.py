"""Case `memory`: the peak resident memory of a run, by the number of its images.

Regime `embed`: a folder of 500 x 375 JPEGs (links to 64 files) through the bundled encoder into a store, each size in a
fresh process. What grows is the listing; everything else is bounded by batches, queues and shards.
Regime `list`: millions of names as a walk gives them, without files behind them, listed, indexed and planned into a
store as a first run does, then planned again as a second run does; nothing is embedded.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from PIL import Image

from semscale.cli import ENVIRONMENT

DISTINCT = 64  # files that all images are links to
PROMPT_SEEDS = 20  # images of one prompt in the synthetic listing
SHARD = 256  # images: the smallest run, too, writes one while it embeds the next


@dataclass(frozen=True, slots=True)
class Peak:
    """What one process took."""

    regime: str
    images: int
    peak_bytes: int  # resident, of the whole process with its libraries
    base_bytes: int  # resident before the work, libraries loaded
    seconds: float
    processor_seconds: float  # of all its threads
    key_bytes: float  # mean length of a key


def peak(regime: str, images: int) -> Peak:
    """Run one regime in a fresh process, with the settings of the command."""
    command = [sys.executable, "-m", "semscale_bench.memory", regime, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, **os.environ})
    return Peak(*json.loads(done.stdout.splitlines()[-1]))


def embed(images: int, folder: Path) -> float:
    """Embed a folder of so many images; return the mean length of a key."""
    from semscale import run
    from semscale.settings import Settings

    source = _linked(images, folder / "images")
    store = run.embed(source, folder / "store", model="demo", settings=Settings(shard_size=SHARD))
    assert len(store.images) == images
    return float(np.mean([len(key) for key in store.plan(["key"]).column("key").slice(0, 1000).to_pylist()]))


def listing(images: int, folder: Path) -> float:
    """List, index and plan so many names twice; return the mean length of a key."""
    from semscale import planning
    from semscale.settings import Settings
    from semscale.sources import folder as folder_source
    from semscale.sources.described import TreeSource
    from semscale.store import Store
    from semscale_bench.scores import write_store

    store = Store(write_store(folder / "store", 0).path)
    with mock.patch.object(folder_source, "walk", lambda *_, **__: _names(images)):
        for _ in range(2):
            source = TreeSource(folder_source.FolderTree(folder))
            index = planning.index_of(source)
            planning.extend_plan(store, source, index, Settings())
            assert store.n_planned == len(source) == images
            del source, index
    return float(np.mean([len(name) for name in _names(PROMPT_SEEDS * 10)]))


def _names(images: int) -> Iterator[bytes]:
    for image in range(images):
        prompt, seed = divmod(image, PROMPT_SEEDS)
        yield b"model-a/a photo of thing %07d/%04d.png" % (prompt, seed)


def _linked(images: int, folder: Path) -> Path:
    rng = np.random.default_rng(0)
    files = []
    for number in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        data = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        (folder / "distinct").mkdir(parents=True, exist_ok=True)
        files.append(folder / "distinct" / f"{number}.bin")
        files[-1].write_bytes(data.getvalue())
    for image in range(images):
        group = folder / f"{image // PROMPT_SEEDS:06d}"
        group.mkdir(exist_ok=True)
        os.link(files[image % DISTINCT], group / f"{image % PROMPT_SEEDS:02d}.jpg")
    return folder


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _main() -> None:
    import semscale.run  # noqa: F401  the libraries every run loads

    regime, images = sys.argv[1], int(sys.argv[2])
    base, started, worked = _resident("VmRSS"), time.perf_counter(), time.process_time()
    with TemporaryDirectory() as folder:
        key_bytes = {"embed": embed, "list": listing}[regime](images, Path(folder))
    seconds = (time.perf_counter() - started, time.process_time() - worked)
    sys.stdout.write(json.dumps([regime, images, _resident("VmHWM"), base, *seconds, key_bytes]) + "\n")


if __name__ == "__main__":
    _main()
