"""Silence for the libraries below us, while they work and no longer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Each is known, about their own insides, and nothing a user could act on.
KNOWN_WARNINGS = (
    "You are using the legacy TorchScript-based ONNX export",  # optimum has no other
    r"The feature will be removed\. Please remove usage of this function",  # torch about torch
    r"`torch\.jit\.script` is deprecated",  # on import of diffusers, which optimum imports where it is installed
    "Converting a tensor to a Python boolean might cause the trace to be incorrect",  # checks of shapes, here fixed
    "Exporting aten::index operator of advanced indexing",  # pooling at end of text: its indices are never negative
    "Cannot enable progress bars",  # the user's environment already says so
)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the known warnings, and every library's log lines below an error and progress bars."""
    with warnings.catch_warnings(), _no_chatter():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the progress bars of transformers, which it draws even where there is no terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging as transformers

    hub_hid_them, shown = are_progress_bars_disabled(), transformers.is_progress_bar_enabled()
    transformers.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.enable_progress_bar()  # shows those of the hub too
        if hub_hid_them:
            disable_progress_bars()


@contextmanager
def _no_chatter() -> Iterator[None]:
    # For all loggers at once: these libraries set the level of their own when they are first imported.
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
