"""What semscale gives for every number of the peers, by the convention of each, and how far the two may be apart."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from parity.cases import Pair, embedding_pairs, feature_sets, logits
from parity.expected import DOUBLE, SINGLE, Expected

from semscale import metrics
from semscale.metrics.alignment import mean_score

ROOTS = "fewer rows than dimensions: the peer takes roots of eigenvalues that are rounding, semscale singular values"
RETURNED = "the peer computes in float64 and returns float32, as it was given"
AVERAGED = "the peer takes the mean of float32 features in float32"
ROUNDED = "the peer computes in float32 what is given in float32; semscale in float64"
CANCELLED = "kernel values of 1.5e10 cancel: in float64 few digits are left, in the float32 of the peers hardly one"
ONES = "the peer subtracts kernel values near 1; semscale leaves the ones out (expm1)"
EXPANDED = "distances from expanded squares in float32, which cancel; semscale decides in float64 from differences"
MEAN = "the peer clamps the mean of 100 cos, not each pair as its documentation says and hessel2021 does"
DUST = "the peer counts eigenvalues that are rounding, which orders below 1 magnify; semscale leaves them out"


def torchmetrics() -> dict[str, Expected]:
    """Presets named torchmetrics; the full KID of sets of equal size."""
    found: dict[str, Expected] = {}
    for case, pair in feature_sets().items():
        distance = metrics.frechet(pair.real, pair.fake)
        memorisation = metrics.memorisation_distance(pair.real, pair.fake, preset="torchmetrics")
        kid = metrics.kid(pair.equal().real, pair.equal().fake, subsets=None)
        found |= {
            f"fid | {case}": Expected(distance.value, "features, ddof 1", *frechet_bounds(case, RETURNED)),
            f"mifid | {case}": Expected(
                metrics.mifid(distance, memorisation).value, "preset torchmetrics", *frechet_bounds(case, RETURNED)
            ),
            f"kid full | {case}": Expected(kid.value, "preset full", *kid_bounds(case)),
        }
    found |= inception_scores("torchmetrics", {"float64": (DOUBLE, ""), "float32": (1e-5, ROUNDED)})
    for case, pair in embedding_pairs().items():
        found |= {f"{metric} | {case}": expected for metric, expected in of_embeddings(pair).items()}
    return found


def of_embeddings(pair: Pair) -> dict[str, Expected]:
    """CLIP scores and CLIP-IQA of images and texts, row by row."""
    images, texts = pair.real, pair.fake
    one, each = metrics.preset("torchmetrics"), metrics.preset("hessel2021")
    scores = metrics.clip_scores(images, texts, one)
    clamped = metrics.clip_scores(images, texts, each).mean() * one.scale / each.scale
    formula = (0.0, "") if scores.min() >= 0 else (0.01, MEAN)
    return {
        "clip-score": Expected(float(mean_score(scores.sum(), len(scores), one)), "preset torchmetrics", DOUBLE),
        "clip-score by its documented formula": Expected(
            float(clamped), "preset hessel2021, times 40", 1.0 if formula[1] else DOUBLE, formula[1], formula[0]
        ),
        "image-similarity": Expected(metrics.image_similarity(images[1:], images[:-1]).value, "mean above 0", DOUBLE),
        "clip-iqa": Expected(metrics.clip_iqa(images, *texts[:2]).value, "scale 100", DOUBLE),
    }


def torch_fidelity() -> dict[str, Expected]:
    """Presets named torch-fidelity; 20 subsets of 50 for KID."""
    found: dict[str, Expected] = {}
    for case, pair in feature_sets().items():
        found |= {f"{metric} | {case}": expected for metric, expected in of_sets(pair, case).items()}
    return found | inception_scores("torch-fidelity", {"float64": (DOUBLE, ""), "float32": (SINGLE, "")})


def of_sets(pair: Pair, case: str) -> dict[str, Expected]:
    """Distances, precision and recall of two sets of features."""
    kid = metrics.kid(pair.real, pair.fake, subsets=20, subset_size=50)
    balls = metrics.prdc(pair.real, pair.fake, k=3, strict=False)
    shares = (0.05, EXPANDED) if case == "far from zero, float32" else (SINGLE, "")  # it averages in float32
    distance, equal = metrics.frechet(pair.real, pair.fake), pair.equal()
    return {
        "fid": Expected(distance.value, "features, ddof 1", *frechet_bounds(case, AVERAGED)),
        "kid": Expected(kid.value, "RandomState(2020), 20 x 50", *kid_bounds(case)),
        "kid spread": Expected(kid.params["spread"], "ddof 0", *kid_bounds(case)),
        "cmmd unbiased": Expected(metrics.cmmd(equal.real, equal.fake).value, "preset unbiased", *cmmd_bounds(case)),
        "cmmd biased": Expected(
            metrics.cmmd(equal.real, equal.fake, biased=True).value, "preset biased", *cmmd_bounds(case)
        ),
        "precision": Expected(balls.precision.value, "k = 3, <=", *shares),
        "recall": Expected(balls.recall.value, "k = 3, <=", *shares),
    }


def prdc() -> dict[str, Expected]:
    """Preset prdc."""
    found = {}
    for case, pair in feature_sets().items():
        four = metrics.prdc(pair.real, pair.fake)
        for score in (four.precision, four.recall, four.density, four.coverage):
            found[f"{score.metric} | {case}"] = Expected(score.value, "k = 5, <", DOUBLE)
    return found


def vendi_score() -> dict[str, Expected]:
    """Cosine kernel, by either of the peer's ways."""
    found: dict[str, Expected] = {}
    for case, pair in feature_sets().items():
        n = len(pair.real)
        for order in (0.5, 1, 2, "inf"):
            value = metrics.vendi(pair.real, q=float(order)).value
            features, kernel = vendi_bounds(order, case), vendi_bounds(order, "float64")
            found[f"vendi q={order} by score_dual | {case}"] = Expected(value, "unit rows", *features)
            found[f"vendi q={order} by score_K | {case}"] = Expected(value, "cosine kernel", *kernel)
        distance = metrics.mean_distance(pair.real).value * (n - 1) / n
        found[f"mean-distance by intdiv_K | {case}"] = Expected(distance, "times (n - 1) / n", DOUBLE)
    return found


def inception_scores(preset: str, bounds: dict[str, tuple[float, str]]) -> dict[str, Expected]:
    """Mean and spread over ten splits."""
    found = {}
    for case, rows in logits().items():
        score = metrics.inception_score(rows, splits=10, preset=preset)
        found[f"inception-score | {case}"] = Expected(score.value, f"preset {preset}", *bounds[case])
        found[f"inception-score spread | {case}"] = Expected(
            score.params["spread"], f"ddof {score.params['ddof']}", *bounds[case]
        )
    return found


def frechet_bounds(case: str, single: str) -> tuple[float, str]:
    """How near a Fréchet distance must be, and why not nearer; `single` is the reason for float32."""
    if case.startswith("n < d"):
        return SINGLE, ROOTS
    if case.endswith("float32"):
        return (1e-5 if case.startswith("far") else SINGLE), single
    return DOUBLE, ""


def kid_bounds(case: str) -> tuple[float, str]:
    """The same for KID."""
    if case.startswith("far from zero"):
        return (0.2 if case.endswith("float32") else SINGLE), CANCELLED
    return (1e-4, ROUNDED) if case.endswith("float32") else (DOUBLE, "")


def cmmd_bounds(case: str) -> tuple[float, str]:
    """The same for CMMD."""
    if case.startswith("far from zero"):
        return (1e-2, ROUNDED) if case.endswith("float32") else (1e-4, ONES)
    return (1e-5, ROUNDED) if case.endswith("float32") else (DOUBLE, "")


def vendi_bounds(order: float | str, case: str) -> tuple[float, str]:
    """The same for the Vendi score of features."""
    if order == 0.5:
        return (1e-3 if case.endswith("float32") else SINGLE), DUST
    return (1e-5, ROUNDED) if case.endswith("float32") else (DOUBLE, "")


def answers() -> dict[str, list[Callable[[], dict[str, Expected]]]]:
    """Peer -> what answers it. Metrics of pixels are left out where this semscale has none."""
    found = {"torchmetrics": [torchmetrics], "torch-fidelity": [torch_fidelity], "prdc": [prdc]}
    found["vendi-score"] = [vendi_score]
    if importlib.util.find_spec("semscale.metrics.structural"):
        from parity import ours_pixels

        found["torchmetrics"].append(ours_pixels.torchmetrics)
        found["scikit-image"] = [ours_pixels.scikit_image]
    return found
