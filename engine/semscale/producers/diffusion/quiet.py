"""Silence of the libraries while they work, and no longer; but not about weights that they could not find."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from semscale.errors import ModelError

_MADE_UP = "newly initialized"  # how both libraries say that weights are missing and were drawn at random


class _Ear(logging.Filter):
    """Lets nothing through, and remembers what it was told: of weights that are missing, and errors."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[str] = []
        self.errors: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        if _MADE_UP in record.getMessage():
            self.missing.append(" ".join(record.getMessage().split()))
        elif record.levelno >= logging.ERROR:
            self.errors.append(record)
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the warnings of Python, and the log lines of all libraries below an error."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(max(before, logging.WARNING))
        try:
            yield
        finally:
            logging.disable(before)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Hold back the chatter and progress bars of a load. Raises ModelError where weights of `model` were missing.

    Errors in the logs are shown when the load went well all the same: one that failed says what they said.
    """
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    ear = _Ear()
    bars = [library for library in (of_diffusers, of_transformers) if library.is_progress_bar_enabled()]
    for library in bars:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings(), _heard("diffusers", ear), _heard("transformers", ear):
            warnings.simplefilter("ignore")
            yield
    finally:
        for library in bars:
            library.enable_progress_bar()
    if ear.missing:
        raise ModelError(f"{model}: weights are missing and would have been random: {ear.missing[0]}")
    for record in ear.errors:
        logging.getLogger(record.name).handle(record)


@contextmanager
def _heard(library: str, ear: logging.Filter) -> Iterator[None]:
    """Let `ear` decide what a library's log shows, and hear its warnings even where the user has turned them off."""
    logger = logging.getLogger(library)
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(min(level or logging.WARNING, logging.WARNING))
    for handler in handlers:
        handler.addFilter(ear)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            handler.removeFilter(ear)
