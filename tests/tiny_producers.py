"""Producers of tiny pipelines, opened once for all test files."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tiny_pipelines import KINDS, write_pipeline

from semscale.producers.diffusion import open_producer


@functools.cache
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="tiny-pipelines-"))
    atexit.register(shutil.rmtree, made)
    return made


@functools.cache
def folder_of(kind):
    """The folder of a pipeline of `kind`, each with weights of its own."""
    return write_pipeline(kind, _folder() / kind, seed=KINDS.index(kind))


@functools.cache
def opened(kind):
    """The producer of that pipeline."""
    return open_producer(str(folder_of(kind)))
