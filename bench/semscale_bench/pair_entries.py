"""Who takes part in a case `pairs`, and who does not, with the reason."""

from __future__ import annotations

import importlib.util

import torch

from semscale.errors import UsageError
from semscale.search import Tuning
from semscale.search.devices import ON_A_GPU
from semscale_bench import pair_faiss, pair_gpu
from semscale_bench.pair_contestants import OURS, Contestant, ours, scikit_learn, torch_top_k
from semscale_bench.pair_data import Case

PACKAGES = {"faiss": "faiss-cpu", "sklearn": "scikit-learn"}  # module -> what pip installs
IMAGES, DIM = 20_000, 512  # on a CPU, unless told
BLOCKS_FROM = 500_000  # vectors on a CPU, whose pairs take longer than one likes to wait


def case_of(images: int | None, *, whole: bool | None = None, gpu: bool = True) -> Case:
    """On a GPU where torch finds one and `gpu` allows it; None for what suits the device.

    A GPU does 1,000,000 vectors of 768 in full. A CPU looks at a part of the pairs from BLOCKS_FROM vectors on.
    """
    if gpu and torch.cuda.is_available():
        return Case(images or pair_gpu.IMAGES, pair_gpu.DIM, "cuda", whole is not False)
    n = images or IMAGES
    return Case(n, DIM, "cpu", n < BLOCKS_FROM if whole is None else whole)


def tuning(case: Case) -> Tuning:
    """How semscale is set, which its blocks depend on."""
    return Tuning() if case.device == "cpu" else ON_A_GPU


def entries(case: Case) -> tuple[list[Contestant], list[str]]:
    """Contestants that can run, and a sentence on each of the others."""
    if case.device == "cpu":
        others, absent = [*pair_faiss.contestants(case), torch_top_k("cpu", "fp32", torch.float32), scikit_learn()], []
    else:
        others, absent = pair_gpu.contestants(case)
    everyone = [*ours(tuning(case)), *others]
    present = [each for each in everyone if each.needs is None or importlib.util.find_spec(each.needs)]
    absent += [
        f"{each.name}: {each.needs} is not installed; pip install {PACKAGES[each.needs]}"
        for each in everyone
        if each.needs is not None and each not in present
    ]
    return present, absent


def beside(rivals: tuple[str, ...], everyone: list[Contestant]) -> list[Contestant]:
    """semscale, and of the others those whose name holds one of `rivals`; all where there is none.

    Raises UsageError for one that is in no name.
    """
    for rival in rivals:
        if not any(rival.lower() in each.name.lower() for each in everyone):
            raise UsageError(f"no contestant {rival!r} here; there are {', '.join(each.name for each in everyone)}")
    wanted = tuple(rival.lower() for rival in rivals)
    return [
        each
        for each in everyone
        if not wanted or each.name in OURS.values() or any(rival in each.name.lower() for rival in wanted)
    ]
