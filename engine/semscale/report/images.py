"""`images.parquet`, read as a stream: the images shown of a few groups, and examples of failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from semscale.errors import StoreError, UsageError
from semscale.model import Array
from semscale.report.format import is_defined
from semscale.report.groups import Group

MEMBER_COLUMNS = ("key", "uri", "sha256", "group_similarity")


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a group that the report shows."""

    key: str
    uri: str
    sha256: str | None  # of the file, when it was scored
    group_similarity: float | None


@dataclass(frozen=True, slots=True)
class Failed:
    """One reason for which images gave no score: how many, and the first few."""

    code: str
    n: int
    examples: tuple[tuple[str, str], ...]  # (key, message)


def members_of(path: Path, groups: list[Group], *, limit: int) -> list[list[Member]]:
    """Return up to `limit` scored images of each group: the medoid first, the outlier last, the rest spread evenly.

    Memory is bounded by the images kept, not by the size of a group. Errors as in `failures_in`.
    """
    found: list[list[Member]] = [[] for _ in groups]
    seen: Counter[int] = Counter()
    wanted = ds.field("group").isin([group.group for group in groups]) & (ds.field("status") == "ok")
    for batch in scan(path, [*MEMBER_COLUMNS, "model", "group"], wanted):
        for index, group in enumerate(groups):
            inside = np.flatnonzero(in_group(batch, group.model, group.group))
            kept = inside[_kept(batch, inside, seen[index], group=group, limit=limit)]
            seen[index] += len(inside)
            found[index] += [Member(**row) for row in batch.select(MEMBER_COLUMNS).take(pa.array(kept)).to_pylist()]
    return [choose(members, group, limit) for members, group in zip(found, groups, strict=True)]


def in_group(batch: pa.RecordBatch, model: str | None, group: str) -> Array:
    """Mark the rows of a model's group: (n,) bool."""
    of_model = pc.is_null(batch["model"]) if model is None else pc.equal(batch["model"], model)
    return pc.fill_null(pc.and_(pc.equal(batch["group"], group), of_model), False).to_numpy(zero_copy_only=False)


def _kept(batch: pa.RecordBatch, inside: Array, offset: int, *, group: Group, limit: int) -> Array:
    """Mark, among the group's rows `inside` this batch, evenly spread ones and those with a role: (n,) bool."""
    positions = np.linspace(0, max(group.n - 1, 0), limit).round()
    even = np.isin(offset + np.arange(len(inside)), positions)
    roles = pa.array([group.medoid_key, group.outlier_key], pa.string())
    keys = batch["key"].take(pa.array(inside)).cast(pa.string())
    return even | pc.is_in(keys, value_set=roles).to_numpy(zero_copy_only=False)


def choose(members: list[Member], group: Group, limit: int) -> list[Member]:
    """Return at most `limit` members, from the medoid down to the outlier, the rest by falling similarity."""
    first = [member for member in members if member.key == group.medoid_key][:1]
    last = [member for member in members if member.key == group.outlier_key and member not in first][:1]
    rest = sorted((member for member in members if member not in first + last), key=_falling)
    room = min(limit - len(first) - len(last), len(rest))
    spread = np.linspace(0, len(rest) - 1, room).round().astype(int) if room > 0 else []
    return first + [rest[index] for index in spread] + last


def _falling(member: Member) -> tuple[float, str]:
    return (-member.group_similarity if is_defined(member.group_similarity) else np.inf, member.key)


def failures_in(path: Path, *, n_examples: int) -> list[Failed]:
    """Return the reasons of all images without a score, the most frequent first.

    Raises UsageError when there is no such file, StoreError when it is not a table of images.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = {}
    for batch in scan(path, ["key", "status", "reason", "message"], ds.field("status") != "ok"):
        codes = pc.coalesce(batch["reason"], batch["status"])
        for entry in pc.value_counts(codes).to_pylist():
            code, room = entry["values"], n_examples - len(examples.setdefault(entry["values"], []))
            counts[code] += entry["counts"]
            first = np.flatnonzero(pc.equal(codes, code).to_numpy(zero_copy_only=False))[:room] if room else []
            picked = batch.select(["key", "message"]).take(pa.array(first, pa.int64())).to_pylist()
            examples[code] += [(row["key"], row["message"] or "") for row in picked]
    return [Failed(code, n, tuple(examples[code])) for code, n in sorted(counts.items(), key=lambda i: (-i[1], i[0]))]


def scan(path: Path, columns: list[str], keep: ds.Expression) -> Iterator[Any]:
    """Yield the batches of the rows that `keep` keeps. Errors as in `failures_in`."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; run `semscale score` into this folder first")
    try:
        yield from (b for b in ds.dataset(path).scanner(columns=columns, filter=keep).to_batches() if b.num_rows)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of images ({error}); score again") from error
