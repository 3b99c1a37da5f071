"""The peers of case `metrics` at work: `python -m semscale_bench.metric_peer FOLDER SIZES` in their environment.

Runs without semscale. Each line of standard input is a request in JSON, `{"do": "prepare", "peer": ..., "job": ...}` or
`{"do": "work", ..., "watched": true}`, each line of standard output the answer. Rows are in memory, and packages
imported, before the clock starts.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semscale_bench.metric_memory import with_peak

Work = Callable[[], dict[str, float]]
QUIET = {"verbose": False}


class Rows:
    """What is compared, read when asked for."""

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        self._folder, self.sizes = folder, sizes
        self._read: dict[str, np.ndarray] = {}

    def of(self, name: str) -> np.ndarray:
        """All of a file, (N, D) float32."""
        if name not in self._read:
            self._read[name] = np.load(self._folder / f"{name}.npy")
        return self._read[name]

    def sets(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Of real and generated images, the first `n`."""
        return self.of("real")[:n], self.of("fake")[:n]


def torch_fidelity(job: str, rows: Rows) -> Work:
    """FID, KID, precision and recall; its first input is the generated one where it matters."""
    import torch

    _import_torch_fidelity()
    sizes = rows.sizes
    real, fake = (torch.from_numpy(each) for each in rows.sets(None if job in ("fid", "kid subsets") else sizes["few"]))
    if job == "fid":
        return lambda: _fid(real, fake)
    if job == "prc":
        return lambda: _prc(real, fake)
    shape = (1, len(real)) if job == "kid full" else (sizes["subsets"], sizes["subset_size"])  # one subset of all
    return lambda: _kid(real, fake, *shape)


def prdc(_job: str, rows: Rows) -> Work:
    """The prdc package."""
    from prdc import compute_prdc  # pyright: ignore[reportMissingImports] - the peers' environment

    real, fake = rows.sets(rows.sizes["few"])
    return lambda: {name: float(value) for name, value in compute_prdc(real, fake, nearest_k=5).items()}


def vendi_score(_job: str, rows: Rows) -> Work:
    """The D x D problem of the vendi-score package."""
    from vendi_score import vendi  # pyright: ignore[reportMissingImports] - the peers' environment

    group = rows.of("group")
    return lambda: {"vendi": float(vendi.score_dual(group))}


PEERS: dict[str, Callable[[str, Rows], Work]] = {
    "torch-fidelity": torch_fidelity,
    "prdc": prdc,
    "vendi-score": vendi_score,
}
TAKES_PART = (  # peer, job
    ("torch-fidelity", "fid"),
    ("torch-fidelity", "kid full"),
    ("torch-fidelity", "kid subsets"),
    ("prdc", "prdc"),
    ("torch-fidelity", "prc"),
    ("vendi-score", "vendi"),
)


def _fid(real: Any, fake: Any) -> dict[str, float]:
    module = importlib.import_module("torch_fidelity.metric_fid")
    found = module.fid_statistics_to_metric(*map(module.fid_features_to_statistics, (fake, real)), **QUIET)
    return {"fid": float(found["frechet_inception_distance"])}


def _kid(real: Any, fake: Any, subsets: int, size: int) -> dict[str, float]:
    module = importlib.import_module("torch_fidelity.metric_kid")
    found = module.kid_features_to_metric(real, fake, kid_subsets=subsets, kid_subset_size=size, **QUIET)
    return {"kid": float(found["kernel_inception_distance_mean"])}


def _prc(real: Any, fake: Any) -> dict[str, float]:
    found = importlib.import_module("torch_fidelity.metric_prc").prc_features_to_metric(fake, real, **QUIET)
    return {name: float(found[name]) for name in ("precision", "recall")}


def _import_torch_fidelity() -> None:
    """Import it, with an empty torchvision where there is none: it takes it for data sets and encoders alone."""
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    if "torch_fidelity" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        empty = {name: types.ModuleType(name) for name in names}
        for data_set in ("CIFAR10", "CIFAR100", "STL10"):  # classes are derived from these
            setattr(empty["torchvision.datasets"], data_set, type(data_set, (), {}))
        for name in names[1:]:
            parent, _, child = name.rpartition(".")
            setattr(empty[parent], child, empty[name])
        sys.modules.update(empty)
    for name in ("fid", "kid", "prc"):
        importlib.import_module(f"torch_fidelity.metric_{name}")


class Answers:
    """What is prepared, and how requests are answered."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._prepared: dict[tuple[str, str], Work] = {}

    def prepare(self, peer: str, job: str) -> dict[str, Any]:
        """Import and read; the version, or the error, whatever it is."""
        try:
            self._prepared[peer, job] = PEERS[peer](job, self._rows)
        except Exception as error:
            return {"version": None, "error": f"{type(error).__name__}: {error}"}
        return {"version": importlib.metadata.version(peer), "error": None}

    def work(self, peer: str, job: str, *, watched: bool) -> dict[str, Any]:
        """Seconds and values, and the peak of memory where it is watched."""
        work = self._prepared[peer, job]
        start = time.perf_counter()
        values, peak = with_peak(work) if watched else (work(), None)
        return {"seconds": time.perf_counter() - start, "values": values, "peak_bytes": peak}


def main() -> None:
    """Answer until there are no more requests."""
    answers = Answers(Rows(Path(sys.argv[1]), json.loads(sys.argv[2])))
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):  # some print
            done = getattr(answers, request.pop("do"))(**request)
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
