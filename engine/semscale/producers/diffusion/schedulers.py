"""Schedulers: which can take the place of a checkpoint's own, and a fresh one for every batch."""

from __future__ import annotations

import difflib
import json
from functools import lru_cache
from typing import Any

from semscale.errors import UsageError

# Its noise comes from a Brownian tree of its own, which no generator reaches.
_UNSEEDED = "DPMSolverSDEScheduler"


class Schedulers:
    """The schedulers that a model can run with, by name, the checkpoint's `own` first.

    They are those that diffusers calls compatible, without the ones that are not so in turn (EDMEulerScheduler has a
    parametrisation of its own), that lack a package, or whose noise no seed decides. With `unscaled`, only those that
    take noise and model input at a deviation of 1. `model` is what errors call the model.
    """

    def __init__(self, own: Any, model: str, *, unscaled: bool = False) -> None:
        found = {cls.__name__: cls for cls in own.compatibles if getattr(cls, "_compatibles", None)}
        found.pop(_UNSEEDED, None)
        if unscaled:
            found = {name: cls for name, cls in found.items() if _is_unscaled(cls, own.to_json_string())}
        self._own = own
        self._model = model
        self._classes = {type(own).__name__: type(own)} | dict(sorted(found.items()))

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return list(self._classes)

    def checked(self, name: str | None) -> str:
        """Return `name`, or the checkpoint's own for None. Raises UsageError that suggests what was meant."""
        if name is None:
            return self.names[0]
        if name not in self._classes:
            close = difflib.get_close_matches(name, self.names, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(
                f"unknown scheduler {name!r} for {self._model}; {meant}choose from {', '.join(self.names)}"
            )
        return name

    def fresh(self, name: str) -> Any:
        """A scheduler with the checkpoint's configuration, and nothing left of an earlier batch."""
        return self._classes[name].from_config(self._own.config)


@lru_cache
def _is_unscaled(cls: Any, config: str) -> bool:
    """Whether a scheduler takes noise at a deviation of 1; some need a second to be made for that."""
    return float(cls.from_config(json.loads(config)).init_noise_sigma) == 1
