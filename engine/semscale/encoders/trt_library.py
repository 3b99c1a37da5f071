"""One loader for the two libraries with TensorRT's Python API, and one place where what they log is collected.

`tensorrt` times kernels on the GPU it builds for. `tensorrt_rtx` builds anywhere, without a driver too, and compiles
its kernels on the GPU that runs the engine. Both answer None or False where others raise, and say why in a log.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from packaging.version import Version

from semscale.errors import MissingDependencyError, ModelError, UsageError

KEPT_LINES = 6  # of a log in an error message: the first, which name the cause


@dataclass(frozen=True, slots=True)
class Flavour:
    """What one of the libraries can do, as far as that cannot be asked of the library itself."""

    oldest: str  # version that knows what we use
    extra: str  # of semscale
    portable: bool  # builds without a GPU or driver, one engine for every GPU it supports


FLAVOURS: Mapping[str, Flavour] = {  # by import name, the preferred first
    "tensorrt": Flavour("10.13", "tensorrt", portable=False),
    "tensorrt_rtx": Flavour("1.4", "tensorrt-rtx", portable=True),
}


class Log(Protocol):
    """The logger that is handed to the library; it keeps warnings and errors."""

    lines: list[str]


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library."""

    module: Any
    flavour: str
    version: str
    log: Log

    @property
    def portable(self) -> bool:
        """Whether engines are built without a GPU, for every GPU."""
        return FLAVOURS[self.flavour].portable

    @contextmanager
    def watched(self, what: str, hint: str) -> Iterator[Watch]:
        """Collect what the library logs while the block runs; `Watch.need` turns a refusal into a ModelError.

        `what` names the file or work, `hint` says what to do.
        """
        self.log.lines.clear()
        yield Watch(self, what, hint)


@dataclass(frozen=True, slots=True)
class Watch:
    """The log of one piece of work, to be raised with its failure."""

    library: Library
    what: str
    hint: str

    def need(self, answer: Any, step: str) -> Any:
        """Return `answer` unless it is None or False. Raises ModelError with `step` and the log."""
        if answer is None or answer is False:
            raise self.error(step)
        return answer

    def error(self, step: str) -> ModelError:
        """The error to raise when `step` failed."""
        said = "; ".join(self.library.log.lines[:KEPT_LINES]) or "it logged nothing"
        return ModelError(f"{self.what}: {self.library.flavour} {self.library.version} {step} ({said}); {self.hint}")


def installed() -> list[str]:
    """The import names of the libraries that are installed, the preferred first."""
    return [flavour for flavour in FLAVOURS if _module(flavour) is not None]


@cache
def load_library(flavour: str) -> Library:
    """Load one library by its import name; its one logger lives as long as the process.

    Raises UsageError for another name, MissingDependencyError when it is not installed, ModelError when it is too old.
    """
    if flavour not in FLAVOURS:
        raise UsageError(f"unknown TensorRT library {flavour!r}; choose from {list(FLAVOURS)}")
    module, oldest = _module(flavour), FLAVOURS[flavour].oldest
    if module is None:
        raise MissingDependencyError("back end 'tensorrt'", flavour, FLAVOURS[flavour].extra)
    if Version(module.__version__) < Version(oldest):
        raise ModelError(
            f"{flavour} {module.__version__} is too old, semscale needs {oldest} or newer: "
            f"pip install 'semscale[{FLAVOURS[flavour].extra}]'"
        )
    return Library(module, flavour, module.__version__, _logger(module))


def _module(flavour: str) -> Any:
    try:
        return importlib.import_module(flavour)
    except ModuleNotFoundError as error:
        if error.name != flavour:
            raise  # installed and broken: not for us to explain away
        return None


def _logger(module: Any) -> Log:
    class Collected(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)  # its own initialiser by name, which the bindings demand
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in WORTH_KEEPING:
                self.lines.append(" ".join(message.split()))

    levels = module.ILogger.Severity
    WORTH_KEEPING = (levels.INTERNAL_ERROR, levels.ERROR)
    return Collected()
