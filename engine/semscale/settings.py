"""How to run, beside what to compute."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from semscale.cores import usable_cores
from semscale.errors import UsageError
from semscale.locks import Part


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run; none of it changes a result beyond the encoder's own rounding."""

    batch_size: int | None = None  # images a call of the encoder; None for what the back end runs best
    workers: int = field(default_factory=usable_cores)
    shard_size: int = 4096
    limit: int | None = None
    max_pixels: int | None = None  # of an input; None for what `decode` allows
    part: Part | None = None  # of the shards, this process's own; None for all

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "shard_size", "limit", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")

    def with_batches_of(self, size: int) -> Settings:
        """These settings with the batch size that was asked for, else `size`."""
        return self if self.batch_size is not None else replace(self, batch_size=size)

    def owns(self, shard: int) -> bool:
        """Whether this process embeds the shard of that number."""
        return self.part is None or self.part.holds(shard)
