"""What semscale gives for pairs of images; as `parity.ours`."""

from __future__ import annotations

import numpy as np
from parity.cases import grey, pictures
from parity.expected import DOUBLE, SINGLE, Expected

from semscale.metrics.pixel import psnr, psnr_score
from semscale.metrics.structural import ms_ssim, ssim

LOGARITHM = "the peer takes the logarithm of 10 in float32"
POOLED = "the peer pools the squared error of a batch, so that the worst image decides; semscale takes a mean of pairs"
BORDERS = "at the coarsest scale the peer averages the mirrored border too; semscale windows inside, as the paper does"


def torchmetrics() -> dict[str, Expected]:
    """Preset torchmetrics of SSIM; multi-scale SSIM, which is another there."""
    found = {}
    for case, pair in pictures().items():
        found |= {
            f"psnr | {case}": Expected(psnr(pair.real, pair.fake), "range 255", SINGLE, LOGARITHM),
            f"ssim channels | {case}": Expected(
                ssim(pair.real, pair.fake, preset="torchmetrics"), "preset torchmetrics", DOUBLE
            ),
            f"ssim grey | {case}": Expected(
                ssim(*(grey(one).astype(np.uint8) for one in (pair.real, pair.fake)), preset="torchmetrics"),
                "preset torchmetrics",
                DOUBLE,
            ),
            f"ms-ssim grey | {case}": Expected(ms_ssim(pair.real, pair.fake), "preset grey", 0.02, BORDERS, DOUBLE),
        }
    each = np.array([psnr(pair.real, pair.fake) for pair in pictures().values()])
    batch = Expected(psnr_score(each).value, "mean over pairs", 0.5, POOLED, 0.01)
    return found | {"psnr of a batch | all pictures": batch}


def scikit_image() -> dict[str, Expected]:
    """The window of the paper, inside the image."""
    found = {}
    for case, pair in pictures().items():
        found |= {
            f"psnr | {case}": Expected(psnr(pair.real, pair.fake), "range 255", DOUBLE),
            f"ssim grey | {case}": Expected(ssim(pair.real, pair.fake, preset="grey"), "preset grey", DOUBLE),
            f"ssim channels | {case}": Expected(ssim(pair.real, pair.fake), "preset scikit-image", DOUBLE),
        }
    return found
