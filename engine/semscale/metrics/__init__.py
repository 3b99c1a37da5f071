"""Every metric as a pure function of arrays: no device, no files, no printing; float64 inside."""

from semscale.metrics.alignment import PRESETS, clip_scores, preset
from semscale.metrics.consistency import scs

__all__ = ["PRESETS", "clip_scores", "preset", "scs"]
