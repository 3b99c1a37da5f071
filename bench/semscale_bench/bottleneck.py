"""What holds a pipeline back, from how busy its stages were: a pure function of the accounts of a run.

Two things may be full: a stage (its threads never wait), or the cores that stages share. Where the cores are full no
stage need be, and the one that takes the most of them is what to make cheaper. Everywhere else it is the stage that is
busiest, and the encoder idles for what it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

FULL = 0.92  # of the cores, from which on they count as the limit
BUSY = 0.85  # of a stage's threads, under which no stage is the limit
POOL = ("decode", "preprocess", "hash")  # stages that the decoding threads do one after the other
CURES = {
    "read": "files in tar shards, a faster disk, or the images on this machine's own",
    "decode": "`--decode fast` (see `semscale bench decode`), more cores, or smaller files",
    "preprocess": "`--decode close` or `fast` (see `semscale bench preprocess`), more cores",
    "hash": "more cores",
    "encode": "a faster back end or precision (see `semscale bench backends`), larger batches, or a GPU",
    "write": "a faster disk for the store (see `semscale bench roofs store`), larger shards",
    "rest": "a report of this: it is semscale's own overhead",
}


@dataclass(frozen=True, slots=True)
class Accounts:
    """What was used while a pipeline ran."""

    elapsed: float  # seconds
    cores: int
    workers: int  # decoding threads
    busy: dict[str, float]  # stage -> seconds by the clock, added up over its threads
    processor: dict[str, float]  # stage -> seconds of the processor; "encode" with its library's threads
    process: float  # seconds of the processor of the whole process

    @property
    def useful_share(self) -> float:
        """Processor time inside stage functions over that of the process."""
        return sum(self.processor.values()) / self.process

    @property
    def cores_busy(self) -> float:
        """Share of the cores' time that the process took."""
        return self.process / (self.cores * self.elapsed)

    def utilisation(self) -> dict[str, float]:
        """Stage -> share of its threads' time that it was busy; the pool's stages as parts of one whole."""
        threads = {name: self.workers if name in POOL else 1 for name in self.busy}
        return {name: seconds / (threads[name] * self.elapsed) for name, seconds in self.busy.items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds it back."""

    stage: str  # a key of CURES
    cores_full: bool
    sentences: tuple[str, ...]


def verdict(accounts: Accounts, *, shares_cores: bool) -> Verdict:
    """Name the stage that bounds a run, and why, and what would move it.

    `shares_cores`: the encoder computes on the cores that decode.
    """
    used = accounts.utilisation()
    pool = sum(used[name] for name in POOL if name in used)
    whole = {**{name: share for name, share in used.items() if name not in POOL}, "threads": pool}
    fullest = max(whole, key=whole.__getitem__)
    if shares_cores and accounts.cores_busy >= FULL:
        costs = _costs(accounts)
        stage = max(costs, key=costs.__getitem__)
        told = f"the cores are full ({accounts.cores_busy:.0%}), and {_share_list(costs)}"
        return _verdict(stage, True, told, used)
    stage = max((name for name in POOL if name in used), key=used.__getitem__) if fullest == "threads" else fullest
    who = f"the {accounts.workers} decoding threads are" if fullest == "threads" else f"{_doing(stage)} is"
    told = f"{who} busy {min(whole[fullest], 1):.0%} of the time"
    if whole[fullest] < BUSY:
        told += ", and nothing is busy all the time: the run may be too short to fill the stages"
    return _verdict(stage, False, told, used)


def _verdict(stage: str, full: bool, told: str, used: dict[str, float]) -> Verdict:
    idles = "" if stage == "encode" else f"; the encoder idles {max(0.0, 1 - used.get('encode', 0.0)):.0%}"
    return Verdict(stage, full, (f"{stage} bound: {told}{idles}", f"what would move it: {CURES[stage]}"))


def _costs(accounts: Accounts) -> dict[str, float]:
    """Stage -> share of the process's processor time, what is in no stage as "rest"."""
    costs = {name: seconds / accounts.process for name, seconds in accounts.processor.items()}
    return {**costs, "rest": max(0.0, 1 - sum(costs.values()))}


def _share_list(costs: dict[str, float]) -> str:
    falling = sorted(costs.items(), key=lambda item: -item[1])
    return ", ".join(f"{_doing(name)} takes {share:.0%}" for name, share in falling if share >= 0.005)


def _doing(stage: str) -> str:
    return {"encode": "encoding", "decode": "decoding", "preprocess": "preprocessing", "hash": "hashing",
            "read": "reading", "write": "writing", "rest": "all else"}[stage]  # fmt: skip
