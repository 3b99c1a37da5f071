"""Producers for tests: of plain images that tell what they were asked for, and of edits."""

from dataclasses import replace

from PIL import Image, ImageOps

from semscale.errors import UsageError
from semscale.producers.request import Setting


class Plain:
    """Images of one colour, which the prompt, the seed and the steps give. Cannot do prompts that say "bad".

    A token is a word, and it reads READS of them.
    """

    READS = 60

    def __init__(self, name="plain", *, batch_size=1, **facts):
        self.name, self.batch_size = name, batch_size
        self.facts = {"model": "tests/plain", **facts}
        self.batches = []

    def check(self, setting, *, edits):
        if edits:
            raise UsageError("plain cannot edit images")
        if setting.strength is not None:
            raise UsageError("plain has no strength")
        return replace(setting, steps=setting.steps or 20, width=setting.width or 16, height=setting.height or 16)

    def unread(self, text):
        return max(0, len(text.split()) - self.READS)

    def generate(self, requests, setting):
        self.batches.append([(request.prompt, request.seed) for request in requests])
        if any("bad" in request.prompt for request in requests):
            raise ValueError("bad words")
        return [self._image(request, setting) for request in requests]

    def _image(self, request, setting):
        colour = (sum(request.prompt.encode()) % 256, request.seed % 256, (setting.steps or 0) % 256)
        return Image.new("RGB", (setting.width, setting.height), colour)

    def close(self):
        self.batches.append("closed")


class Inverting(Plain):
    """Edits: the source with its colours inverted."""

    def check(self, setting, *, edits):
        if not edits:
            raise UsageError("inverting needs images to edit")
        return Setting(strength=setting.strength or 0.5)

    def generate(self, requests, setting):
        self.batches.append([(request.prompt, request.seed) for request in requests])
        return [ImageOps.invert(request.source) for request in requests]
