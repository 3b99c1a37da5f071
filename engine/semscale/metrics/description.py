"""What a metric is, in the words that `semscale metrics NAME` prints, and the warning that it rests on too little."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class FewSamplesWarning(UserWarning):
    """A number rests on fewer samples than it takes to mean something."""


@dataclass(frozen=True, slots=True)
class Description:
    """One metric: everything a reader needs to know what a number under this name says."""

    name: str  # as on the command line
    what: str  # one line: what it measures
    formula: str  # plain text
    range: str  # as "0 to 100", "at least 0"
    better: Literal["higher", "lower", "neither"]
    estimator: str  # bias, degrees of freedom, what is sampled, where the interval is from
    smallest_n: int  # samples below which FewSamplesWarning is given
    of: str  # what those samples are: "images of each set", "images of a group"
    source: str  # the paper, with its year and arXiv number or DOI
    presets: Mapping[str, str] = field(default_factory=dict)  # name -> convention, and whose numbers it matches


def warn_if_few(described: Description, n: int) -> None:
    """Warn, naming the number needed, when `n` samples are fewer than a metric's smallest sensible n."""
    if n < described.smallest_n:
        warnings.warn(
            f"{described.name} of {n} {described.of}: below {described.smallest_n} it says little",
            FewSamplesWarning,
            stacklevel=3,
        )
