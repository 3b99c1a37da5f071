"""Small real images for tests."""

import io

import numpy as np
from PIL import Image


def png(seed=0, size=(24, 20)):
    """The bytes of a PNG of smooth colours that depend on the seed."""
    rng = np.random.default_rng(seed)
    tiny = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
    out = io.BytesIO()
    tiny.resize(size, Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def write_tree(root, names):
    """Write an image for each relative name; its content depends on the name's place in the list."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return root
