"""Every metric by name."""

from __future__ import annotations

import difflib

from semscale.errors import UsageError
from semscale.metrics.alignment import CLIP_SCORE
from semscale.metrics.consistency import SCS
from semscale.metrics.description import Description

METRICS = {described.name: described for described in (SCS, CLIP_SCORE)}


def metric(name: str) -> Description:
    """Look up a metric. Raises UsageError that suggests the name that was meant."""
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown metric {name!r}; {meant}choose from {', '.join(METRICS)}")
    return METRICS[name]
