"""What `--model` accepts: folders, hub ids and the demo encoder, exported once and found again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semscale.encoders import load_spec
from semscale.errors import ModelError, UsageError
from semscale_export import cache
from semscale_export.checkpoint import find_checkpoint


def test_hub_without_network_fails_fast_and_says_what_to_do(tmp_path):
    code = "from semscale_export.cache import ensure_exported; ensure_exported('owner/name')"
    for setting in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        environment = os.environ | {"HF_HOME": str(tmp_path), "SEMSCALE_CACHE": str(tmp_path)} | setting
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30)
        message = done.stderr.splitlines()[-1]
        assert "ModelError: owner/name: the Hugging Face hub could not be reached and nothing is cached" in message
        assert "--model demo" in message
        assert "folder" in message


def test_name_that_is_neither_folder_nor_hub_id():
    with pytest.raises(ModelError, match="neither an existing folder nor a hub id"):
        find_checkpoint("./no/such/folder")


def test_cached_hub_model_works_without_network(tiny_checkpoint, tmp_path, monkeypatch):
    hub_cache(tmp_path, tiny_checkpoint, "main", monkeypatch)
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    assert load_spec(cache.ensure_exported("owner/tiny") / "text").name == "owner/tiny"


def test_hub_revision_is_part_of_the_name(tiny_checkpoint, tmp_path, monkeypatch):
    hub_cache(tmp_path, tiny_checkpoint, "refs/pr/1", monkeypatch)
    found = find_checkpoint("owner/tiny@refs/pr/1")
    assert found.name == "owner/tiny@refs/pr/1"
    assert found.files() == find_checkpoint("owner/tiny", revision="refs/pr/1").files()
    with pytest.raises(ModelError, match="nothing is cached"):
        find_checkpoint("owner/tiny")


def hub_cache(folder, checkpoint, revision, monkeypatch):
    """Lay `checkpoint` out as the hub's own cache has owner/tiny, and cut the network."""
    from huggingface_hub import constants

    commit = "0" * 40
    repository = folder / "models--owner--tiny"
    shutil.copytree(checkpoint, repository / "snapshots" / commit)
    (reference := repository / "refs" / revision).parent.mkdir(parents=True)
    reference.write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("semscale_export.checkpoint.hub_answers", lambda model, revision: False)


def test_exported_folder_is_returned_as_it_is(tiny_export, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path))
    assert cache.ensure_exported(str(tiny_export)) == tiny_export
    assert list(tmp_path.iterdir()) == []


def test_cache_is_by_content(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    first = cache.ensure_exported(str(copied))
    moved = copied.rename(tmp_path / "moved")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "export_checkpoint", lambda *_: pytest.fail("exported again"))
        assert cache.ensure_exported(str(moved)) == first
    keys = {cache.cache_key(find_checkpoint(str(moved)))}
    for name in ("config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "model.safetensors"):
        with (moved / name).open("ab") as file:
            file.write(b"\n")
        keys.add(cache.cache_key(find_checkpoint(str(moved))))
    monkeypatch.setattr(cache, "RECIPE", cache.RECIPE + 1)
    keys.add(cache.cache_key(find_checkpoint(str(moved))))
    assert len(keys) == 7


def test_two_processes_may_export_the_same_model(copied, tiny_export, tmp_path, monkeypatch):
    def other_was_faster(checkpoint, out):
        shutil.copytree(tiny_export, out)
        raise UsageError("appeared")

    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "export_checkpoint", other_was_faster)
    assert (cache.ensure_exported(str(copied)) / "image/model.onnx").is_file()


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMSCALE_CACHE", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == Path("/chosen")
    monkeypatch.delenv("SEMSCALE_CACHE")
    assert cache.cache_folder() == Path("/xdg/semscale")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == tmp_path / ".cache/semscale"


def test_demo_is_the_installed_checkpoint(tiny_checkpoint, tmp_path, monkeypatch):
    import semscale.encoders

    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(semscale.encoders, "__file__", str(tmp_path / "semscale/encoders/__init__.py"))
    with pytest.raises(ModelError, match="no demo encoder"):
        cache.ensure_exported("demo")
    shutil.copytree(tiny_checkpoint, tmp_path / "semscale/demo/checkpoint")
    assert load_spec(cache.ensure_exported("demo") / "image").name == "demo"
