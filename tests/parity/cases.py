"""What is compared: features, logits, embeddings and images from fixed seeds, the same bits in both environments.

Both sides draw these by themselves and send digests along. No matrices are multiplied here: how that rounds depends on
the library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

DTYPES = (np.float64, np.float32)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arrays that are compared row by row or as sets; never of one size where sets are."""

    real: np.ndarray
    fake: np.ndarray

    def equal(self) -> Pair:
        """As many rows of each: what some peers take for granted."""
        n = min(len(self.real), len(self.fake))
        return Pair(self.real[:n], self.fake[:n])

    def digest(self) -> str:
        """Short hash of both arrays."""
        found = hashlib.blake2b(digest_size=8)
        for one in (self.real, self.fake):
            found.update(f"{one.dtype} {one.shape}".encode() + one.tobytes())
        return found.hexdigest()


def feature_sets() -> dict[str, Pair]:
    """Sets whose order, sizes and spreads differ, so that nothing can be swapped unnoticed."""
    drawn = {
        "n > d": Pair(features(400, 32, 0), features(520, 32, 1, scale=1.2, shift=0.15)),
        "n < d": Pair(features(60, 128, 2), features(90, 128, 3, scale=0.8, shift=0.1)),
        "far from zero": Pair(features(300, 32, 4, scale=0.2, shift=50.0), features(360, 32, 5, scale=0.3, shift=50.0)),
        "near copies": near_copies(),
        "repeated rows": repeated_rows(),
    }
    return {
        f"{name}, {np.dtype(dtype).name}": Pair(pair.real.astype(dtype), pair.fake.astype(dtype))
        for name, pair in drawn.items()
        for dtype in DTYPES
    }


def features(n: int, d: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """(n, d) correlated features of unequal spread."""
    noise = np.random.RandomState(seed).standard_normal((n, d))
    return scale * (noise + 0.5 * np.roll(noise, 1, axis=1)) * np.linspace(0.2, 2.0, d) + shift


def near_copies() -> Pair:
    """Most generated rows are real ones, slightly changed; the rest are drawn afresh."""
    real = features(200, 16, 6)
    copied = real[:150] + features(150, 16, 7, scale=0.01)
    return Pair(real, np.concatenate([copied, features(100, 16, 8)]))


def repeated_rows() -> Pair:
    """Every row so often that its k nearest others are itself, and ten rows in both sets."""
    real = features(40, 16, 9)
    return Pair(np.repeat(real, 6, axis=0), np.repeat(np.concatenate([real[:10], features(20, 16, 10)]), 8, axis=0))


def logits() -> dict[str, np.ndarray]:
    """1003 images of 50 classes: no number of splits divides them."""
    drawn = np.random.RandomState(5).standard_normal((1003, 50)) * 3.0
    return {np.dtype(dtype).name: drawn.astype(dtype) for dtype in DTYPES}


def embedding_pairs() -> dict[str, Pair]:
    """Images (real) and their texts (fake), row by row: cosines above zero, of both signs, and mostly below."""
    images = np.random.RandomState(11).standard_normal((64, 48))
    noise = np.random.RandomState(12).standard_normal((64, 48))
    return {
        "all cosines above zero": Pair(images, 2.0 * images + noise),
        "cosines of both signs": Pair(images, 0.1 * images + noise),
        "mean below zero": Pair(images, noise - 0.3 * images),
    }


def pictures() -> dict[str, Pair]:
    """(192, 256, 3) uint8 images and changed ones: noise, little noise, and a shift with less contrast."""
    y, x = np.mgrid[0:192, 0:256]
    waves = np.stack([np.sin(x / 9.0 + c) * np.cos(y / 13.0) + np.sin((x + y) / (21.0 + c)) for c in range(3)], axis=2)
    grain = np.random.RandomState(13).standard_normal(waves.shape)
    real = as_bytes(128 + 50 * waves + 6 * grain)
    return {
        "noise": Pair(real, as_bytes(real + 20 * np.random.RandomState(14).standard_normal(real.shape))),
        "little noise": Pair(real, as_bytes(real + 2 * np.random.RandomState(15).standard_normal(real.shape))),
        "shifted, paler": Pair(real, as_bytes(40 + 0.7 * np.roll(real, 2, axis=1))),
    }


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Rounded and cut to 0..255, uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) float64 luma of ITU-R BT.601, rounded, as MATLAB's rgb2gray gives it."""
    return np.rint(0.298936 * image[..., 0] + 0.587043 * image[..., 1] + 0.114021 * image[..., 2])


def digests() -> dict[str, str]:
    """Hash of everything above, by name."""
    sets = {f"{kind}: {name}": pair for kind, pairs in KINDS.items() for name, pair in pairs().items()}
    scores = {f"logits: {name}": Pair(values, values) for name, values in logits().items()}
    return {name: pair.digest() for name, pair in (sets | scores).items()}


KINDS = {"features": feature_sets, "embeddings": embedding_pairs, "pictures": pictures}
