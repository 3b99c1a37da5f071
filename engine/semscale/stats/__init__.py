"""How sure a score is, and whether two differ. Pure functions of arrays; every random draw comes from a seed that is
written down."""

from semscale.stats.comparison import Comparison, Summary, compare, summarise
from semscale.stats.effects import (
    RankBiserial,
    Shift,
    WinRate,
    hodges_lehmann,
    rank_biserial,
    rank_biserial_from_statistic,
    win_rate,
)
from semscale.stats.multiplicity import holm
from semscale.stats.resampling import MeanDifference, bootstrap_difference, paired_permutation
from semscale.stats.significance import (
    SignedRankP,
    TestResult,
    kolmogorov_smirnov,
    normality,
    wilcoxon,
    wilcoxon_from_statistic,
)

__all__ = [
    "Comparison",
    "MeanDifference",
    "RankBiserial",
    "Shift",
    "SignedRankP",
    "Summary",
    "TestResult",
    "WinRate",
    "bootstrap_difference",
    "compare",
    "hodges_lehmann",
    "holm",
    "kolmogorov_smirnov",
    "normality",
    "paired_permutation",
    "rank_biserial",
    "rank_biserial_from_statistic",
    "summarise",
    "wilcoxon",
    "wilcoxon_from_statistic",
    "win_rate",
]
