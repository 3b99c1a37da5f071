"""Indexes on GPUs: flat and IVF, in float16, several GPUs as shards of one index. Files always hold the CPU form.

Never run on a GPU. The calls are those of FAISS's documentation and are tested against a stand-in that records them.
"""

from __future__ import annotations

from typing import Any

from semscale.model import Array

ON_GPU = ("flat", "ivf")
MOST = 2048  # results of a search on a GPU


def gpus(faiss: Any, kind: str) -> int:
    """How many GPUs an index of this kind may use: FAISS is asked, not the list of installed packages."""
    return faiss.get_num_gpus() if kind in ON_GPU else 0


def placed(faiss: Any, form: Any) -> Any:
    """A copy of an index in CPU form on all GPUs, vectors in float16."""
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    options.useFloat16 = True
    return faiss.index_cpu_to_all_gpus(form, co=options)


def returned(faiss: Any, form: Any) -> Any:
    """The CPU form of an index that is on GPUs."""
    return faiss.index_gpu_to_cpu(form)


def train(faiss: Any, form: Any, sample: Array) -> None:
    """Train an IVF index in CPU form on (n, D) unit rows, its k-means multiplied on all GPUs, which share the work."""
    clusters = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(form.d))
    form.clustering_index = clusters  # a bare pointer: `clusters` has to live as long as it is used
    form.train(sample)
    form.clustering_index = None
