"""The perceptual path length of a generator: steps through its latent space, their images, and how far these are apart.

Karras et al. 2019, arXiv 1812.04948, in Z. The generator and the distance are given as functions, so that nothing here
knows what they run on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.perceptual import EPSILON, ppl
from semscale.model import Array, Score

Producer = Callable[[Array], Array]  # (B, Z) float32 latents -> (B, H, W, 3) float32 or float64 from 0 to 1
Distance = Callable[[Array, Array], Array]  # (B, H, W, 3) twice -> (B,)
Interpolation = Literal["slerp", "lerp"]
Sampling = Literal["full", "end"]


@dataclass(frozen=True, slots=True)
class Paths:
    """Which steps are taken in the latent space. Both ends of a path are drawn from a standard normal distribution."""

    dim: int  # Z, numbers in a latent
    n: int = 50_000  # steps, and pairs of images
    epsilon: float = EPSILON  # length of a step, as a share of the path
    seed: int = 0
    interpolation: Interpolation = "slerp"  # along the sphere, between latents of length 1; or along a straight line
    sampling: Sampling = "full"  # anywhere on the path, or at its first end
    batch: int = 16  # images that the producer makes at once; the steps do not depend on it

    def __post_init__(self) -> None:
        """Raise UsageError for what makes no path."""
        if self.interpolation not in get_args(Interpolation) or self.sampling not in get_args(Sampling):
            raise UsageError(
                f"path length: {self.interpolation!r} and {self.sampling!r}; choose slerp or lerp, and full or end"
            )
        if min(self.n, self.batch, self.seed + 1) < 1 or not 0 < self.epsilon < 1:
            raise UsageError(
                f"path length: n {self.n}, batch {self.batch}, seed {self.seed} and epsilon {self.epsilon}; need n and "
                "batch of 1 or more, a seed of 0 or more, and an epsilon between 0 and 1"
            )
        if self.dim < (2 if self.interpolation == "slerp" else 1):
            raise UsageError(f"path length: {self.interpolation} of latents of {self.dim} numbers; they need more")


def path_length(produce: Producer, distance: Distance, paths: Paths) -> Score:
    """Perceptual path length of a producer, 0 or more, lower is smoother (Karras et al. 2019, arXiv 1812.04948).

    `produce` maps latents (B, Z) float32 to images (B, H, W, 3) of float32 or float64 from 0 to 1, in RGB and not
    rounded, and must make the same image of a latent every time: with its noise fixed. With slerp its latents have
    length 1, as the paper's generators normalise them; a generator that does not must scale them by sqrt(Z) itself.
    Images are compared as they come: the paper's were cut to the face and reduced to 256 pixels. `distance` is LPIPS,
    with VGG in the paper. The same seed gives the same steps for every `batch`. Raises UsageError for images of another
    type, shape or number, and as `ppl`.
    """
    score = ppl(path_distances(produce, distance, paths), paths.epsilon)
    described = {
        "preset": _preset(paths),
        "interpolation": paths.interpolation,
        "sampling": paths.sampling,
        "dim": paths.dim,
        "seed": paths.seed,
    }
    return replace(score, params={**described, **score.params})


def path_distances(produce: Producer, distance: Distance, paths: Paths) -> Array:
    """The same for each step: (n,) float64 distances of its two images, not divided by epsilon^2."""
    found = [_distances(distance, *(_images(produce, latents) for latents in step)) for step in steps(paths)]
    return np.concatenate(found)


def steps(paths: Paths) -> Iterator[tuple[Array, Array]]:
    """Yield the steps in batches, as the latents where they begin and where they end, (B, Z) float32 each."""
    ends, places = (np.random.default_rng(child) for child in np.random.SeedSequence(paths.seed).spawn(2))
    between = _slerp if paths.interpolation == "slerp" else _lerp
    for start in range(0, paths.n, paths.batch):
        size = min(paths.batch, paths.n - start)
        pairs = ends.standard_normal((size, 2, paths.dim))
        t = places.random((size, 1)) if paths.sampling == "full" else np.zeros((size, 1))
        one, other = pairs[:, 0], pairs[:, 1]
        yield between(one, other, t).astype(np.float32), between(one, other, t + paths.epsilon).astype(np.float32)


def _preset(paths: Paths) -> str | None:
    if (paths.interpolation, paths.epsilon) != ("slerp", EPSILON):
        return None
    return "karras2019" if paths.sampling == "full" else "karras2019-end"


def _lerp(one: Array, other: Array, t: Array) -> Array:
    return one + t * (other - one)


def _slerp(one: Array, other: Array, t: Array) -> Array:
    """(B, Z), (B, Z), (B, 1) -> (B, Z) of length 1, at the share t of the angle from one to the other."""
    one, other = _unit(one), _unit(other)
    cosine = (one * other).sum(axis=1, keepdims=True)
    across = _unit(other - cosine * one)
    angle = t * np.arccos(np.clip(cosine, -1.0, 1.0))
    return _unit(np.cos(angle) * one + np.sin(angle) * across)


def _unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _images(produce: Producer, latents: Array) -> Array:
    images = np.asarray(produce(latents))
    if images.dtype not in (np.float32, np.float64):
        raise UsageError(
            f"path length: the producer gives images of {images.dtype}, and rounding them would be most of what is "
            "measured; give float32 or float64 from 0 to 1"
        )
    if images.ndim != 4 or len(images) != len(latents) or images.shape[3] != 3:
        raise UsageError(
            f"path length: images of the shape {images.shape} for {len(latents)} latents; give (B, H, W, 3), one each"
        )
    return images


def _distances(distance: Distance, starts: Array, ends: Array) -> Array:
    found = np.asarray(distance(starts, ends), np.float64)
    if found.shape != (len(starts),):
        raise UsageError(f"path length: distances of the shape {found.shape} for {len(starts)} pairs; give one each")
    return found
