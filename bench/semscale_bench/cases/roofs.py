"""Case `roofs`: what this machine can give, measured: matrix products, memory and disk.

Matrix products count 2 m n k operations; the best of several shapes is the roof of a precision. Memory is counted as
STREAM counts it (McCalpin 1995): bytes that a loop names, two arrays for a copy, three for a triad, and not the line
that a processor reads before it writes to it. The disk is that of the temporary folder, or of `--data`. On a GPU this
was never run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from semscale.cores import usable_cores
from semscale_bench import disk as disk_room
from semscale_bench.disk import Disk
from semscale_bench.measure import measure
from semscale_bench.plan import Plan
from semscale_bench.roof import IntegerProduct, Product, contestants, integer_products, products
from semscale_bench.rows import Check, Outcome, Row

CASE = "roofs"
PRECISIONS = {  # on a CPU besides int8; no back end runs fp16 there
    "cpu": ("fp32", "bf16"),
    "cuda": ("fp32", "tf32", "bf16", "fp16"),
}
INT8 = "int8"
PROBES = {
    "bf16": "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); a @ a",
    INT8: "import torch; a = torch.ones(64, 64, dtype=torch.int8); torch._int_mm(a, a)",
}
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")  # Linux
TIMES_CACHE = 4  # an array of the memory's roof, over the largest cache
LEAST, MOST_OF_MEMORY = 1 << 28, 1 / 32  # bytes of an array, share of the memory
TRIAD, READ, WRITE = "memory triad", "disk read", "disk write and flush"


def run(plan: Plan) -> Outcome:
    """Time products, then memory, then the disk."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, absent = _product_rows(device, plan)
    rows += _memory_rows(device, plan)
    place, elsewhere = _place(plan.data)
    with TemporaryDirectory(dir=place) as work:
        disk = Disk(Path(work) / "file")
        rows += _disk_rows(disk, plan)
    threads = f"{usable_cores()} cores, all of them" if device == "cpu" else torch.cuda.get_device_name()
    return Outcome(
        CASE,
        f"products and memory on {threads}; one thread for the disk",
        rows,
        _sentences(rows, disk),
        absent + elsewhere,
    )


def _product_rows(device: str, plan: Plan) -> tuple[list[Row], list[str]]:
    wanted = [*PRECISIONS[device], *([INT8] if device == "cpu" else [])]
    dying = [name for name in wanted if device == "cpu" and name != "fp32" and not survives(name)]
    made: list[Product | IntegerProduct] = []
    for name in wanted:
        if name not in dying:
            made += integer_products() if name == INT8 else products(device, name)
    timed = measure(contestants(made), repeats=plan.repeats, seconds=plan.seconds / 3)
    rows = [Row(CASE, f"product {each.precision}", f"{'x'.join(map(str, each.shape))} {each.library}", "FLOP", timing)
            for each, timing in zip(made, timed.values(), strict=True)]  # fmt: skip
    return rows, [f"products in {name}: torch dies of one here; docs/backends.md, AMX in virtual machines, says why"
                  for name in dying]  # fmt: skip


def survives(precision: str) -> bool:
    """Whether a process lives on that multiplies small matrices of this precision on the CPU.

    Where a virtual machine announces AMX and hides its tiles, torch's bf16 ends the process.
    """
    done = subprocess.run([sys.executable, "-c", PROBES[precision]], capture_output=True, check=False)
    return done.returncode == 0


def array_bytes(cache_bytes: int, memory_bytes: int) -> int:
    """The size of one of the three arrays: far above the largest cache, and a small part of the memory."""
    return int(min(max(TIMES_CACHE * cache_bytes, LEAST), memory_bytes * MOST_OF_MEMORY))


def _memory_rows(device: str, plan: Plan) -> list[Row]:
    size = array_bytes(_cache_bytes(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    a, b, c = (torch.full((size // 4,), float(value), device=device) for value in (1, 2, 3))

    def copy() -> int:
        a.copy_(b)
        _wait(device)
        return 2 * a.nbytes

    def triad() -> int:
        torch.add(b, c, alpha=3.0, out=a)
        _wait(device)
        return 3 * a.nbytes

    timed = measure({"memory copy": copy, TRIAD: triad}, repeats=plan.repeats, seconds=plan.seconds / 3)
    check = Check("difference from b + 3 c", float((a - 11.0).abs().max()), 0.0)
    return [Row(CASE, name, f"arrays of {size / 1e6:.0f} MB", "bytes", timing, check if name == TRIAD else None)
            for name, timing in timed.items()]  # fmt: skip


def _disk_rows(disk: Disk, plan: Plan) -> list[Row]:
    timed = measure({WRITE: disk.write, READ: disk.read}, repeats=plan.repeats, seconds=plan.seconds / 3)
    data = f"a file of {disk_room.FILE / 1e6:.0f} MB"
    return [Row(CASE, name, data, "bytes", timing) for name, timing in timed.items()]


def _place(data: Path | None) -> tuple[Path | None, list[str]]:
    """Where to make the temporary folder, None for the system's own place, and why not beside the person's images."""
    if data is None:
        return None, []
    beside = data.resolve().parent
    if beside.stat().st_dev == data.stat().st_dev and os.access(beside, os.W_OK):
        return beside, []
    return None, [f"the disk of {data}: nothing can be written beside it; the temporary folder's was measured"]


def _sentences(rows: list[Row], disk: Disk) -> list[str]:
    best: dict[str, float] = {}
    for row in rows:
        best[row.name] = max(best.get(row.name, 0.0), row.timing.rate)
    peaks = ", ".join(f"{name.removeprefix('product ')} {rate / 1e9:,.0f} GFLOP/s"
                      for name, rate in best.items() if name.startswith("product"))  # fmt: skip
    return [
        f"the fastest matrix products: {peaks}",
        f"memory: {best[TRIAD] / 1e9:.1f} GB/s by a triad",
        f"disk: {best[WRITE] / 1e6:,.0f} MB/s written and flushed, {best[READ] / 1e6:,.0f} MB/s read ({disk.reads})",
    ]


def _cache_bytes() -> int:
    """The largest cache of the processor; 0 where nobody tells."""
    sizes = [file.read_text(encoding="ascii").strip() for file in CACHES.glob("index*/size")]  # such as 32768K
    return max((int(size[:-1]) * 1024 for size in sizes if size.endswith("K")), default=0)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
