"""Fixtures that several test files share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep exports made by tests out of the user's cache, and let them share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """An exported folder for the fake back end."""
    from fake_model import write_fake_model

    return str(write_fake_model(tmp_path_factory.mktemp("models") / "fake"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A random CLIP checkpoint of 64 x 64 pixels and 24 tokens that says `semscale_note`."""
    from checkpoints import set_in_json, write_clip

    folder = write_clip(tmp_path_factory.mktemp("checkpoints") / "tiny-clip")
    set_in_json(folder / "config.json", semscale_note="random weights, for tests")
    return folder


@pytest.fixture
def copied(tiny_checkpoint, tmp_path) -> Path:
    """A copy of `tiny_checkpoint` that a test may change."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


@pytest.fixture(scope="session")
def tiny_export(tiny_checkpoint, tmp_path_factory) -> Path:
    """The exported folder of `tiny_checkpoint`."""
    from semscale_export import export

    out = tmp_path_factory.mktemp("exports") / "tiny"
    export(str(tiny_checkpoint), out)
    return out
