"""Scenes as a producer like any other: images without a model, a network or a GPU, to try everything else with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import PIL
from PIL import Image

from semscale.errors import UsageError
from semscale.producers.request import Request, Setting
from semscale.producers.scenes import check_size, draw

SIZE = 256  # pixels, where nobody asks for another


class SceneProducer:
    """Draws what prompts of the small English of `producers.captions` say; any other word is an error of its prompt."""

    def __init__(self, name: str = "scenes") -> None:
        self.name = name
        self.batch_size = 8
        self.facts: Mapping[str, str] = {
            "model": "scenes",
            "pipeline": "scenes",
            "versions": f"pillow {PIL.__version__}",
        }

    def check(self, setting: Setting, *, edits: bool) -> Setting:
        """Return `setting` with its size, 256 by 256 by default. Raises UsageError for what drawings do not have,
        and a size at which they cannot be drawn."""
        if edits:
            raise UsageError("scenes cannot edit images; choose an editing model, or leave out the column of images")
        given = {name for name, value in dataclasses.asdict(setting).items() if value is not None}
        odd = sorted(given - {"width", "height"})
        if odd:
            raise UsageError(f"scenes are drawn, without {', '.join(odd)}; leave that out")
        side = setting.width or setting.height or SIZE
        if (setting.height or side) != side:
            raise UsageError(f"scenes are square, not {setting.width}x{setting.height}; give one side")
        check_size(side)
        return Setting(width=side, height=side)

    def unread(self, text: str) -> int:
        """None: every word is drawn, or is an error."""
        return 0

    def generate(self, requests: Sequence[Request], setting: Setting) -> list[Image.Image]:
        """Draw each request. Raises UsageError for a word that scenes cannot draw, a negative prompt or a blend."""
        return [self._drawn(request, setting.width or SIZE) for request in requests]

    def _drawn(self, request: Request, size: int) -> Image.Image:
        if request.negative is not None:
            raise UsageError("scenes have no negative prompt; leave it out")
        if request.blend is not None:
            raise UsageError("scenes have no noise to blend; choose a diffusion model for paths")
        return draw(request.prompt, request.seed, size=size)

    def close(self) -> None:
        """There is nothing to give back."""
