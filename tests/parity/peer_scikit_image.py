"""scikit-image: SSIM with the paper's window on grey levels and on channels, and PSNR."""

from __future__ import annotations

import numpy as np
from parity.cases import grey, pictures
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


def values() -> dict[str, float]:
    """All numbers by check."""
    found = {}
    for case, pair in pictures().items():
        real, fake = pair.real.astype(np.float64), pair.fake.astype(np.float64)
        found[f"psnr | {case}"] = peak_signal_noise_ratio(real, fake, data_range=255)
        found[f"ssim grey | {case}"] = structural_similarity(grey(pair.real), grey(pair.fake), **WANG)
        found[f"ssim channels | {case}"] = structural_similarity(real, fake, channel_axis=2, **WANG)
    return found
