"""Who takes part in case `pairs` where torch finds a GPU. Nothing here was ever run on a GPU.

Vectors start in the memory of the host and so do results; copying counts. FAISS takes part where its build reaches a
GPU, in float16 as semscale and torch; it has no range_search and no HNSW there, which is said.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from semscale.model import Array
from semscale.search.faiss_gpu import placed, train
from semscale.search.faiss_library import is_installed, library
from semscale.search.kinds import shape_of
from semscale_bench.pair_contestants import BASELINES, Contestant, Done, torch_top_k
from semscale_bench.pair_data import Case, Part
from semscale_bench.pair_faiss import PROBES, clusters_of, search

IMAGES, DIM = 1_000_000, 768
ON_CPUS = ["FAISS range_search and HNSW: FAISS has neither on a GPU", "scikit-learn: it has no GPU"]


def contestants(case: Case) -> tuple[list[Contestant], list[str]]:
    """Who there is beside semscale, and who cannot run, with the reason."""
    found = [torch_top_k("cuda", "fp16", torch.float16)]
    if is_installed() and not library("a contestant").get_num_gpus():
        return found, ["FAISS on a GPU: this build of FAISS reaches none; install faiss-gpu", *ON_CPUS]
    lists = clusters_of(case)
    found.append(Contestant(BASELINES["neighbours"], "neighbours", "fp16", search, flat, "faiss"))
    found += [
        Contestant(f"FAISS IVF{lists}, nprobe {probes}", "neighbours", "fp16", partial(search_ivf, probes=probes), ivf,
                   "faiss", approximate=True) for probes in PROBES if probes <= lists
    ]  # fmt: skip
    return found, [*ON_CPUS]


def flat(rows: Array) -> Any:
    """FAISS's exact index on all GPUs."""
    faiss = library("a contestant")
    index = placed(faiss, faiss.IndexFlatIP(rows.shape[1]))
    index.add(rows)
    return index


def ivf(rows: Array) -> Any:
    """Clusters, learned and kept on all GPUs."""
    faiss = library("a contestant")
    factory = f"IVF{shape_of('ivf', *rows.shape).lists},Flat"
    form = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    train(faiss, form, rows)
    index = placed(faiss, form)
    index.add(rows)
    return index


def search_ivf(rows: Array, part: Part, index: Any, *, probes: int) -> Done:
    """The neighbours found in so many clusters, on one GPU or in shards on several."""
    library("a contestant").GpuParameterSpace().set_index_parameter(index, "nprobe", probes)
    return search(rows, part, index)
